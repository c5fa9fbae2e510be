"""installer.site.node_plan: what would change on a node, with what is written there."""

from __future__ import annotations

from airbundle.deploy.node_answers import NodePlan
from airbundle.installer.mirrors import NodeSetup
from airbundle.installer.node_script import hosts_line
from airbundle.installer.site.node_plan import changes_on
from airbundle.installer.site.node_scripts import Given
from airbundle.installer.site.step import Change

FILES = {"/etc/x/hosts.toml": "server = 1\n", "/etc/x/ca.crt": "a certificate\n"}


def given(line: str = "") -> Given:
    return Given(NodeSetup("containerd", FILES), b"", "https://registry.test:5443", line)


def test_each_file_is_told_with_what_is_written() -> None:
    plan = NodePlan((("create", "/etc/x/hosts.toml"), ("create", "/etc/x/ca.crt"), ("remove", "/etc/x/old")))
    assert changes_on("node-1", plan, given(), rolling=False) == [
        Change("node-1 /etc/x/hosts.toml", "create", "--- \n+++ /etc/x/hosts.toml\n@@ -0,0 +1 @@\n+server = 1"),
        Change("node-1 /etc/x/ca.crt", "create"),
        Change("node-1 /etc/x/old", "delete"),
    ]


def test_the_line_of_etc_hosts_is_told() -> None:
    plan = NodePlan((("hosts", "/etc/hosts"),))
    (change,) = changes_on("node-1", plan, given(hosts_line("registry.test", "10.0.0.5")), rolling=False)
    assert change.diff.splitlines()[-1] == "+10.0.0.5 registry.test # airbundle"
    (change,) = changes_on("node-1", plan, given(hosts_line("registry.test", "")), rolling=False)
    assert change.diff.splitlines()[-1] == "-our line, which ends in # airbundle"
