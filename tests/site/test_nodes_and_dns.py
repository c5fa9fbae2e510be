"""Steps `nodes` and `dns` on a sealed cluster of two nodes: unchanged names pull, the zone is served, all is undone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.installer.bundles import content, make_key, sign_and_write
from tests.support.images import tiny_image
from tests.support.sealed import AIRBUNDLE, CHECKOUT, Site

STATE = "/var/lib/airbundle"
IMAGES = {"docker.io/library/redis:7.2": tiny_image("redis"), "quay.io/a/tool:1": tiny_image("tool")}
SITE_YAML = """\
apiVersion: airbundle.dev/v1
kind: Site
metadata: {name: berlin-1}
domain: shop.internal
nodes: {runtime: containerd, access: ACCESS}
dns:
  zone: shop.internal
  records: {www: 10.1.2.3, "*.apps": 10.1.2.4, mail: www.shop.internal}
"""


@dataclass
class Operator:
    """A bundle, its key and a site file on the operator's host."""

    site: Site
    root: Path
    access: str = "daemonset"
    before: dict[str, str] = field(default_factory=dict)

    def write(self, name: str = "site.yaml", text: str = SITE_YAML) -> Path:
        path = self.root / name
        path.write_text(text.replace("ACCESS", self.access))
        return path

    def step(self, *words: str, site_yaml: str = "site.yaml") -> dict[str, Any]:
        """Run a step's method; see tests.site.stepping."""
        files = [str(self.root / name) for name in ("test.airbundle", "key.pub", site_yaml)]
        command = [sys.executable, "-m", "tests.site.stepping", STATE, *files, *words]
        answer: dict[str, Any] = json.loads(self.site.host(*command, cwd=CHECKOUT).stdout.splitlines()[-1])
        return answer

    def install(self) -> None:
        """Bring up the registry on the operator's host; again, it does nothing."""
        words = (self.root / "test.airbundle", "--key", self.root / "key.pub", "--domain", "shop.internal")
        self.site.airbundle("install", *words)

    def listing(self) -> dict[str, str]:
        """Return all below /etc of both nodes, and CoreDNS's configuration."""
        find = "cd /etc && find . -type f ! -name '*.lock' -exec sha256sum {} + | sort -k2; find . -type d | sort"
        nodes = {f"node{number}": self.site.node(number, "sh", "-c", find).stdout for number in (1, 2)}
        return {**nodes, "dns": json.dumps(self.site.get("configmap", "coredns", "-n", "kube-system")["data"])}


def make_operator(site: Site, root: Path) -> Operator:
    """Give an operator a bundle, its key and a site file."""
    key = make_key(root, "key")
    sign_and_write(root / "test.airbundle", content(IMAGES, signer=key.signer), key)
    operator = Operator(site, root)
    operator.write()
    return operator


@pytest.fixture(scope="module")
def operator(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    if not site.sealed:
        pytest.skip("changes nodes and DNS of the cluster: only where it is ours")
    operator = make_operator(site, tmp_path_factory.mktemp("operator"))
    operator.before = operator.listing()
    yield operator
    site.host(*AIRBUNDLE, "uninstall", "--yes", check=False)


@pytest.fixture
def installed(operator: Operator) -> Operator:
    """The same, with the registry there."""
    operator.install()
    return operator


def pulls(site: Site, node: str, image: str) -> str:
    """Make a pod on a node from an image; return the reason of its end: StartError means that it was pulled."""
    name = f"pull-{node}-{time.monotonic_ns()}"
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "Always", "command": ["/none"]}],
        },
    }
    site.apply(json.dumps(body))
    try:
        while True:
            state = site.get("pod", name)["status"].get("containerStatuses", [{}])[0].get("state", {})
            if "terminated" in state or state.get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff"):
                return str((state.get("terminated") or state["waiting"])["reason"])
            time.sleep(0.2)
    finally:
        site.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--wait=false")


def test_from_plan_to_undo(operator: Operator) -> None:
    site = operator.site
    # Before anything is installed: what stands in the way, and what would be done.
    assert operator.step("findings", "nodes") == {"findings": [], "told": []}
    plan = operator.step("plan", "nodes")["plan"]
    for node in site.nodes:
        assert ["create", f"{node} /etc/containerd/certs.d/docker.io/hosts.toml"] in [each[:2] for each in plan]
        (hosts,) = (each[2] for each in plan if each[:2] == ["change", f"{node} /etc/hosts"])
        assert hosts.endswith(" registry.shop.internal # airbundle")
    assert any("registry.shop.internal:5443/v2/docker.io" in each[2] for each in plan)
    assert operator.listing() == operator.before
    operator.install()

    # All nodes are set up, this host itself and the other by a pod; again, there is nothing to do.
    answer = operator.step("run", "nodes")
    assert answer.get("changed") is True, answer
    assert any(line.startswith("node2: written  /etc/containerd") for line in answer["told"])
    assert operator.step("plan", "nodes")["plan"] == []
    assert operator.step("run", "nodes")["changed"] is False
    assert operator.step("findings", "nodes")["findings"] == []
    for node in site.nodes:
        for image in IMAGES:
            assert pulls(site, node, image) == "StartError"
        assert pulls(site, node, "docker.io/library/none:1") == "ErrImagePull"

    # What somebody changed is found and mended.
    site.node(2, "sh", "-c", "echo >> /etc/containerd/certs.d/quay.io/hosts.toml")
    changed = [["change", "node2 /etc/containerd/certs.d/quay.io/hosts.toml"]]
    assert [each[:2] for each in operator.step("plan", "nodes")["plan"]] == changed
    assert operator.step("run", "nodes")["changed"] is True

    # And back.
    assert operator.step("undo", "node1") == {"changed": True, "access": "local", "told": []}
    assert operator.step("undo", "node2")["access"] == "daemonset"
    assert operator.step("undo", "node2")["changed"] is False
    assert pulls(site, "node2", "quay.io/a/tool:1") == "ErrImagePull"
    errands = ("pods,configmaps", "-n", "kube-system", "-l", "airbundle.dev/part=errand")
    assert site.get(*errands)["items"] == []
    after = operator.listing()
    assert after["node2"] == operator.before["node2"]


def test_what_nodes_lack_is_found_before_anything_changes(installed: Operator) -> None:
    operator = installed
    operator.write("ssh.yaml", SITE_YAML.replace("ACCESS", "ssh, hosts: [root@10.203.0.99]"))
    findings = operator.step("findings", "nodes", site_yaml="ssh.yaml")["findings"]
    assert [(each["code"], each["where"], each.get("severity")) for each in findings] == [
        ("node-host", "nodes.hosts", "warning"),
        ("node-access", "node2", "error"),
    ]
    assert (
        "no way to this node" in operator.step("plan", "nodes", site_yaml="ssh.yaml")["error"]["findings"][0]["message"]
    )
    operator.write("k3s.yaml", SITE_YAML.replace("runtime: containerd", "runtime: k3s"))
    codes = [each["code"] for each in operator.step("findings", "nodes", site_yaml="k3s.yaml")["findings"]]
    assert codes == ["node-runtime", "node-runtime"]
    # A firewall between node 2 and the registry, and a containerd that reads no mirrors.
    operator.site.node(2, "iptables", "-I", "OUTPUT", "-p", "tcp", "--dport", "5443", "-j", "DROP")
    operator.site.node(2, "sh", "-c", "sed -i.was /config_path/d /etc/containerd/config.toml")
    try:
        found = operator.step("findings", "nodes")["findings"]
    finally:
        operator.site.node(2, "iptables", "-D", "OUTPUT", "-p", "tcp", "--dport", "5443", "-j", "DROP")
        operator.site.node(2, "mv", "/etc/containerd/config.toml.was", "/etc/containerd/config.toml")
    assert [(each["code"], each["where"]) for each in found] == [("node-containerd", "node2"), ("node-reach", "node2")]
    assert "firewall" in found[1]["hint"]


def test_killed_at_any_moment_it_goes_on(installed: Operator) -> None:
    """What a killed run left in the cluster is swept by the next one, and both nodes are as they should be."""
    operator, site = installed, installed.site
    words = [str(operator.root / name) for name in ("test.airbundle", "key.pub", "site.yaml")]
    errands = ("pods,configmaps", "-n", "kube-system", "-l", "airbundle.dev/part=errand")
    for moment in (2.0, 4.0, 7.0):
        command = (sys.executable, "-m", "tests.site.stepping", STATE, *words, "run", "nodes")
        running = site.start("env", "-C", CHECKOUT, *command)
        time.sleep(moment)
        running.kill()
        running.wait()
        if moment == 4.0:
            continue  # twice in a row
        answer = operator.step("run", "nodes")
        assert "changed" in answer, answer
        assert operator.step("plan", "nodes")["plan"] == []
        assert site.get(*errands)["items"] == []
        for node in site.nodes:
            assert operator.step("undo", node)["changed"] is True
    assert operator.listing()["node2"] == operator.before["node2"]


def test_by_hand(installed: Operator) -> None:
    operator = installed
    operator.write("manual.yaml", SITE_YAML.replace("ACCESS", "manual"))
    plan = operator.step("plan", "nodes", site_yaml="manual.yaml")["plan"]
    assert ["run", "node2: a person runs nodes/node2.sh apply there", ""] in plan
    answer = operator.step("run", "nodes", site_yaml="manual.yaml")
    assert "node2.sh apply" in answer["error"]["findings"][0]["message"]
    assert [each[1] for each in operator.step("plan", "nodes", site_yaml="manual.yaml")["plan"]] == [plan[-1][1]]
    script = operator.site.host("cat", f"{STATE}/sites/berlin-1/nodes/node2.sh").stdout
    operator.site.node(2, "sh", "-s", "apply", stdin=script)
    answer = operator.step("run", "nodes", site_yaml="manual.yaml")
    assert answer.get("changed") is False, answer
    assert operator.step("plan", "nodes", site_yaml="manual.yaml")["plan"] == []
    operator.site.node(2, "sh", "-s", "undo", stdin=script)
    assert operator.step("undo", "node1")["changed"] is True
    assert operator.step("undo", "node2")["changed"] is False


def lookup(site: Site, name: str) -> str:
    """Return what a pod finds under a name."""
    pod = f"ask-{time.monotonic_ns()}"
    site.kubectl("run", pod, "--image=localhost/probe:1", "--restart=Never", "--", "lookup", name)
    try:
        while site.get("pod", pod)["status"]["phase"] not in ("Succeeded", "Failed"):
            time.sleep(0.2)
        return site.kubectl("logs", pod)
    finally:
        site.kubectl("delete", "pod", pod, "--force", "--grace-period=0", "--wait=false")


def test_the_zone_is_served_and_taken_out_again(installed: Operator) -> None:
    operator = installed
    site, before = operator.site, operator.listing()["dns"]
    assert operator.step("findings", "dns")["findings"] == []
    plan = operator.step("plan", "dns")["plan"]
    assert plan[0][:2] == ["change", "ConfigMap kube-system/coredns"]
    assert "+shop.internal:53 {" in plan[0][2]
    answer = operator.step("run", "dns")
    assert answer.get("changed") is True, answer
    assert "10.203.0.11" in lookup(site, "registry.shop.internal")
    assert "10.1.2.4" in lookup(site, "x.y.apps.shop.internal")
    assert "10.1.2.3" in lookup(site, "mail.shop.internal")
    assert "no such host" in lookup(site, "nothing.shop.internal") or "[]" in lookup(site, "nothing.shop.internal")
    assert "10.96.0.1" in lookup(site, "kubernetes.default.svc.cluster.local")
    hosts = site.host("cat", f"{STATE}/sites/berlin-1/dns/hosts").stdout
    assert "10.203.0.11 registry.shop.internal" in hosts
    assert operator.step("plan", "dns")["plan"] == []
    assert operator.step("run", "dns")["changed"] is False
    # A record changes; what was before us is still what it was.
    operator.write("other.yaml", SITE_YAML.replace("10.1.2.3", "10.1.2.99"))
    assert operator.step("run", "dns", site_yaml="other.yaml")["changed"] is True
    assert "10.1.2.99" in lookup(site, "www.shop.internal")
    kept = json.loads(site.host("cat", f"{STATE}/sites/berlin-1/before/coredns.json").stdout)
    assert json.dumps(kept["data"]) == before
    site.apply(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "coredns", "namespace": "kube-system"},
                "data": kept["data"],
            }
        )
    )


K3S = """
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa
    import /etc/coredns/custom/*.override
    reload
}
import /etc/coredns/custom/*.server
"""
CUSTOM = [
    {"op": "add", "path": "/spec/template/spec/volumes/-", "value": {
        "name": "custom", "configMap": {"name": "coredns-custom", "optional": True}}},
    {"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts/-", "value": {
        "name": "custom", "mountPath": "/etc/coredns/custom", "readOnly": True}},
]  # fmt: skip


def test_the_form_of_k3s(bare_site: Site, tmp_path: Path) -> None:
    operator = make_operator(bare_site, tmp_path)
    operator.install()
    site, names = bare_site, ("-n", "kube-system")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"}}
    site.apply(json.dumps({**manifest, "data": {"Corefile": K3S}}))
    site.kubectl("patch", "deployment", "coredns", *names, "--type=json", "-p", json.dumps(CUSTOM))
    site.kubectl("rollout", "status", "deployment/coredns", *names, "--timeout=120s")
    plan = operator.step("plan", "dns")["plan"]
    assert plan[0][:2] == ["create", "ConfigMap kube-system/coredns-custom"]
    answer = operator.step("run", "dns")
    assert answer.get("changed") is True, answer
    assert "10.203.0.11" in lookup(site, "registry.shop.internal")
    assert site.get("configmap", "coredns", *names)["data"] == {"Corefile": K3S}
    assert list(site.get("configmap", "coredns-custom", *names)["data"]) == ["airbundle-berlin-1.server"]
    assert operator.step("plan", "dns")["plan"] == []
    operator.write("forward.yaml", SITE_YAML + "  forward: [10.0.0.2]\n")
    assert "--resolv-conf" in operator.step("plan", "dns", site_yaml="forward.yaml")["error"]["hint"]


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>/run/site/systemctl.log
case $1 in
is-active) [ "$3" = containerd ] ;;
show) cat /run/site/containerd.pid ;;
restart)
    was=$(cat /run/site/containerd.pid)
    kill $was
    until [ "$(cat /run/site/containerd.pid)" != "$was" ] && ctr version >/dev/null 2>&1; do sleep 0.2; done
    ;;
esac
"""
RESTART = "PATH=$PATH:/usr/local/bin; systemctl restart containerd; rm -f /run/site/systemctl.log"
CERTS = "/etc/containerd/certs.d"


def set_config_path(site: Site, number: int, path: str) -> None:
    """Write a node's `config_path` and restart its containerd."""
    edit = f"sed -i 's|config_path = .*|config_path = \"{path}\"|' /etc/containerd/config.toml; {RESTART}"
    site.node(number, "sh", "-c", edit)


def test_rolling_restarts(installed: Operator) -> None:
    """Containerds that read no mirrors, as they are by default: told to, and restarted one by one."""
    operator, site = installed, installed.site
    for number in (1, 2):
        script = "cat >/usr/local/bin/systemctl && chmod 755 /usr/local/bin/systemctl"
        site.node(number, "sh", "-c", script, stdin=SYSTEMCTL)
        set_config_path(site, number, "")
    operator.write("rolling.yaml", SITE_YAML.replace("access: ACCESS", "access: daemonset, restart: rolling"))
    try:
        plan = [each[:2] for each in operator.step("plan", "nodes", site_yaml="rolling.yaml")["plan"]]
        assert ["change", "node2 /etc/containerd/config.toml"] in plan
        assert plan[-1] == ["restart", "node2: cordon, restart its runtime, uncordon"]
        # Somebody else has cordoned node 1: it stays so.
        site.kubectl("cordon", "node1")
        answer = operator.step("run", "nodes", site_yaml="rolling.yaml")
        assert answer.get("changed") is True, answer
        assert "node2: its runtime was restarted" in answer["told"]
        cordoned = [node["spec"].get("unschedulable", False) for node in site.get("nodes")["items"]]
        assert cordoned == [True, False]
        for number, node in enumerate(site.nodes, 1):
            assert site.node(number, "cat", "/run/site/systemctl.log").stdout.count("restart containerd") == 1
            assert pulls(site, node, "quay.io/a/tool:1") == "StartError"
        assert operator.step("plan", "nodes", site_yaml="rolling.yaml")["plan"] == []
        assert operator.step("run", "nodes", site_yaml="rolling.yaml")["changed"] is False
        told = operator.step("undo", "node1")["told"] + operator.step("undo", "node2")["told"]
        assert [line.partition(": ")[2] for line in told] == [
            f"node{number}: restart what runs here of: containerd" for number in (1, 2)
        ]
        for number in (1, 2):
            assert 'config_path = ""\n' in site.node(number, "cat", "/etc/containerd/config.toml").stdout
    finally:
        site.kubectl("uncordon", "node1")
        for number in (1, 2):
            set_config_path(site, number, CERTS)
            site.node(number, "rm", "-f", "/usr/local/bin/systemctl")


def test_a_coredns_that_cannot_read_it_is_put_back(installed: Operator) -> None:
    operator = installed
    # It goes on with what it read before, and does not start again.
    site, before = operator.site, operator.listing()["dns"]
    broken = json.loads(before)["Corefile"].replace("    errors\n", "    errors\n    no_such_plugin\n")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"}}
    site.apply(json.dumps({**manifest, "data": {"Corefile": broken}}))
    try:
        answer = operator.step("run", "dns")
        assert answer["error"]["outcome"] == "rolled-back"
        assert "does not answer as it is told to" in answer["error"]["message"]
        assert json.loads(operator.listing()["dns"])["Corefile"] == broken
    finally:
        site.apply(json.dumps({**manifest, "data": json.loads(before)}))
