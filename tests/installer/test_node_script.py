"""The script for nodes, run by real shells on a directory in the place of a node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from airbundle.installer.mirrors import RUNTIMES, Mirrored, node_setup
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


def script(
    directory: Path, registry: Mirrored = REGISTRY, runtime: str = "containerd", address: str = "10.0.0.5"
) -> Path:
    """Write the script."""
    path = directory / "nodes.sh"
    path.write_text(node_script(node_setup(runtime, registry), url=registry.url, name="reg.site", address=address))
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
    """Run the script and kill it after some seconds; a program that it was just running comes to its own end."""
    command: list[str | Path] = ["sh", path, doing]
    env = {**os.environ, "ROOT": str(node)}
    reading, held = os.pipe()
    with open(reading, "rb") as ended:
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, pass_fds=[held]) as process:
            os.close(held)
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
        assert not ended.read()  # nobody has it open any more


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_plan_tells_what_apply_then_does(tmp_path: Path, node: Path, runtime: str, shell: list[str]) -> None:
    before, path = listing(node), script(tmp_path, runtime=runtime)
    code, said = run(node, path, "plan", shell)
    assert (code, listing(node)) == (0, before)
    told = [line.split()[1:] for line in said.splitlines() if line.startswith("plan ")]
    assert told.pop() == ["end"]
    assert run(node, path, "apply", shell)[0] == 0
    after = listing(node)
    for doing, name in told:
        inside = name.lstrip("/")
        assert after[inside] != before.get(inside), doing
        assert {"create": inside not in before, "replace": f"{inside}.before-airbundle" in after, "hosts": True}[doing]
    code, said = run(node, path, "plan", shell)
    doings = {line.split()[1] for line in said.splitlines() if line.startswith("plan ")}
    assert doings - {"restart"} == {"keep", "end"}


def test_a_plan_tells_of_what_changes_goes_and_is_refused(tmp_path: Path, node: Path) -> None:
    run(node, script(tmp_path), "apply")
    (node / CERTS / "docker.io/hosts.toml").write_text("changed")
    said = run(node, script(tmp_path, SMALLER), "plan")[1].splitlines()
    assert f"plan change /{CERTS}/docker.io/hosts.toml" in said
    assert f"plan remove /{CERTS}/quay.io/hosts.toml" in said
    shared = node / "etc/rancher/k3s/registries.yaml"
    shared.parent.mkdir(parents=True)
    shared.write_text("mirrors: {}\n")
    assert "plan refuse /etc/rancher/k3s/registries.yaml" in run(node, script(tmp_path, runtime="k3s"), "plan")[1]


SYSTEMCTL = """\
#!/bin/sh
case $1 in
is-active) [ "$3" = k3s ] ;;
show) cat "$STARTS" ;;
restart) echo "restarted $2" >>"$STARTS.log"; echo "$(cat "$STARTS")x" >"$STARTS" ;;
esac
"""


def test_a_restart_is_owed_until_the_service_has_started_anew(
    tmp_path: Path, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL)
    (tmp_path / "bin/systemctl").chmod(0o755)
    starts = tmp_path / "starts"
    starts.write_text("first\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STARTS", str(starts))
    path = script(tmp_path, runtime="k3s")
    assert run(node, path, "restart") == (0, "no restart is to be done\n")
    run(node, path, "apply")
    assert "plan restart k3s k3s-agent" in run(node, path, "plan")[1]
    assert run(node, path, "restart") == (0, "restart  k3s\n")
    assert "plan restart" not in run(node, path, "plan")[1]
    assert run(node, path, "restart") == (0, "no restart is to be done\n")
    run(node, script(tmp_path, SMALLER, "k3s"), "apply")
    starts.write_text("by somebody else\n")
    assert "plan restart" not in run(node, path, "plan")[1]
    assert (tmp_path / "starts.log").read_text() == "restarted k3s\n"


CONFIG = """\
version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path=""
  [plugins."io.containerd.grpc.v1.cri".registry.configs]
[plugins."io.containerd.transfer.v1.local"]
    config_path = ""
"""
NEWER = """\
version = 3
[plugins.'io.containerd.transfer.v1.local']
  config_path = ''
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = ''
"""


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("config", [CONFIG, NEWER], ids=["1.x", "2.x"])
def test_containerd_is_told_to_read_mirrors_where_it_reads_none(
    tmp_path: Path, node: Path, config: str, shell: list[str]
) -> None:
    file, path = node / "etc/containerd/config.toml", script(tmp_path)
    file.write_text(config)
    file.chmod(0o600)
    assert "plan change /etc/containerd/config.toml" in run(node, path, "plan", shell)[1]
    assert file.read_text() == config
    assert "written  /etc/containerd/config.toml: config_path" in run(node, path, "apply", shell)[1]
    lines = file.read_text().splitlines()
    changed = [number for number, line in enumerate(config.splitlines()) if line != lines[number]]
    assert changed == [2 if config == CONFIG else 4]
    assert lines[changed[0]].startswith('config_path = "/etc/containerd/certs.d" # airbundle, was:')
    assert (len(lines), file.stat().st_mode & 0o777) == (len(config.splitlines()), 0o600)
    assert "config.toml" not in run(node, path, "plan", shell)[1]
    assert "ok       config_path of containerd" in run(node, script(tmp_path, address=""), "check", shell)[1]
    # What others change in it meanwhile stays.
    file.write_text(file.read_text() + "[debug]\n")
    said = run(node, path, "undo", shell)[1]
    assert "then:    restart what runs here of: containerd" in said
    assert file.read_text() == config + "[debug]\n"


def test_a_configuration_without_the_line_is_told(tmp_path: Path, node: Path) -> None:
    file, path = node / "etc/containerd/config.toml", script(tmp_path, address="127.0.0.1")
    file.write_text('[plugins."io.containerd.transfer.v1.local"]\n  config_path = ""\n')
    assert "config.toml" not in run(node, path, "plan")[1]
    assert "reach config /etc/containerd/config.toml" in run(node, path, "reach")[1]


def test_whether_the_registry_is_reached_is_told_before_anything_is_written(tmp_path: Path, node: Path) -> None:
    before, path = listing(node), script(tmp_path, address="127.0.0.1")
    config = node / "etc/containerd/config.toml"
    code, said = run(node, path, "reach")
    assert (code, listing(node)) == (0, before)
    lines = said.splitlines()
    assert lines[0].startswith("reach config ")
    assert lines[1].startswith("reach curl ")
    assert lines[-1] == "reach end"
    config.write_text('    config_path = "/etc/containerd/certs.d"\n')
    assert "reach config" not in run(node, path, "reach")[1]


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
