"""The script for nodes, run by real shells on a directory in the place of a node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from airbundle.installer.mirrors import Mirrored, node_setup
from airbundle.installer.node_script import node_script
from tests.support.process import program

CA = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
REGISTRY = Mirrored("https://reg.site:5443", "", ("docker.io", "quay.io"), CA)
SMALLER = Mirrored("https://reg.site:5443", "", ("docker.io",), CA)
CERTS = "etc/containerd/certs.d"
SHELLS = (["dash"], ["bash", "--posix"], ["busybox", "sh"])


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node on which somebody has set up things before."""
    root = tmp_path / "node"
    (root / CERTS / "quay.io").mkdir(parents=True)
    (root / CERTS / "quay.io/hosts.toml").write_text("somebody else's\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n10.0.0.9 other # not ours")
    return root


def listing(root: Path) -> dict[str, str]:
    """Return all that is below a directory."""
    return {str(path.relative_to(root)): path.read_text() if path.is_file() else "" for path in sorted(root.rglob("*"))}


def script(directory: Path, registry: Mirrored = REGISTRY, runtime: str = "containerd") -> Path:
    """Write the script."""
    path = directory / "nodes.sh"
    path.write_text(node_script(node_setup(runtime, registry), url=registry.url, name="reg.site", address="10.0.0.5"))
    return path


def run(root: Path, path: Path, doing: str, shell: tuple[str, ...] | list[str] = ("sh",)) -> tuple[int, str]:
    """Run the script on a node."""
    command = [program(shell[0], shell[0]), *shell[1:], path, doing]
    done = subprocess.run(
        command, env={**os.environ, "ROOT": str(root)}, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_apply_check_and_undo(tmp_path: Path, node: Path, shell: list[str]) -> None:
    before, path = listing(node), script(tmp_path)
    code, said = run(node, path, "apply", shell)
    assert code == 0, said
    applied = listing(node)
    assert applied[f"{CERTS}/docker.io/ca.crt"] == CA
    assert applied[f"{CERTS}/quay.io/hosts.toml.before-airbundle"] == "somebody else's\n"
    assert applied["etc/hosts"].splitlines()[-1] == "10.0.0.5 reg.site # airbundle"
    assert run(node, path, "apply", shell)[1].count("as it is") == 7
    assert listing(node) == applied
    code, said = run(node, path, "check", shell)
    assert code == 1  # there is no registry at that name
    assert (said.count("ok   "), "WRONG    https://reg.site:5443" in said or "no curl" in said) == (7, True)
    code, said = run(node, path, "undo", shell)
    assert code == 0, said
    assert listing(node) == {**before, "etc/hosts": before["etc/hosts"] + "\n"}
    assert run(node, path, "undo", shell) == (0, "nothing to undo\n")


def test_check_names_what_is_not_so(tmp_path: Path, node: Path) -> None:
    path = script(tmp_path)
    run(node, path, "apply")
    (node / CERTS / "docker.io/hosts.toml").write_text("changed")
    (node / CERTS / "quay.io/ca.crt").unlink()
    code, said = run(node, path, "check")
    assert code == 1
    assert "WRONG    /etc/containerd/certs.d/docker.io/hosts.toml" in said
    assert "WRONG    /etc/containerd/certs.d/quay.io/ca.crt" in said
    run(node, path, "apply")
    assert "WRONG    /etc" not in run(node, path, "check")[1]


def test_a_later_script_takes_away_what_it_does_not_have(tmp_path: Path, node: Path) -> None:
    before = listing(node)
    run(node, script(tmp_path), "apply")
    later = script(tmp_path, SMALLER)
    run(node, later, "apply")
    found = listing(node)
    assert found[f"{CERTS}/quay.io/hosts.toml"] == "somebody else's\n"
    assert f"{CERTS}/quay.io/ca.crt" not in found
    run(node, later, "undo")
    assert listing(node) == {**before, "etc/hosts": before["etc/hosts"] + "\n"}


def test_settings_of_others_in_a_file_for_all_are_never_replaced(tmp_path: Path, node: Path) -> None:
    shared = node / "etc/rancher/k3s/registries.yaml"
    shared.parent.mkdir(parents=True)
    shared.write_text("mirrors: {}\n")
    code, said = run(node, script(tmp_path, runtime="k3s"), "apply")
    assert code == 1
    assert "REFUSED  /etc/rancher/k3s/registries.yaml" in said
    assert '"rewrite"' in said
    assert shared.read_text() == "mirrors: {}\n"


def test_killed_at_any_moment_it_goes_on_and_back(tmp_path: Path, node: Path) -> None:
    before, path = listing(node), script(tmp_path)
    whole = tmp_path / "whole"
    shutil.copytree(node, whole)
    run(whole, path, "apply")
    notes = "etc/airbundle/node"
    for attempt in range(20):
        killed(node, path, "apply", 0.004 * attempt)
        if attempt % 4 == 3:
            assert run(node, path, "apply")[0] == 0
            assert {**listing(node), notes: ""} == {**listing(whole), notes: ""}
        if attempt % 2:
            killed(node, path, "undo", 0.004 * attempt)
            assert run(node, path, "undo")[0] == 0
            assert {**listing(node), "etc/hosts": ""} == {**before, "etc/hosts": ""}
            assert (node / "etc/hosts").read_text().split() == before["etc/hosts"].split()


def killed(node: Path, path: Path, doing: str, after: float) -> None:
    """Run the script and kill it after some seconds."""
    command: list[str | Path] = ["sh", path, doing]
    with subprocess.Popen(command, env={**os.environ, "ROOT": str(node)}, stdout=subprocess.DEVNULL) as process:
        time.sleep(after)
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("word", ["", "remove"])
def test_wrong_usage_changes_nothing(tmp_path: Path, node: Path, word: str) -> None:
    before = listing(node)
    code, said = run(node, script(tmp_path), word)
    assert (code, "usage:" in said) == (2, True)
    assert listing(node) == before


def test_an_apply_that_only_began_leaves_nothing(tmp_path: Path, node: Path) -> None:
    before = listing(node)
    (node / "etc/airbundle").mkdir()
    assert run(node, script(tmp_path), "undo") == (0, "nothing to undo\n")
    assert listing(node) == before
