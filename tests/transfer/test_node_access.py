"""Ways to a node, all by one contract: here this host and ssh; pods are tried in tests/site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.deploy.nodes import SshHost
from airbundle.errors import SiteError
from airbundle.transfer import node_access
from airbundle.transfer.node_access import LocalNode, answer_of, runner
from airbundle.transfer.node_access_ssh import SshNodes
from tests.support.node_contract import Way, check_contract, reader
from tests.support.sshd import Sshd, run_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with run_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def by_ssh(server: Sshd, options: tuple[str, ...] = ()) -> SshNodes:
    return SshNodes({"node-1": SshHost("127.0.0.1", "root", server.port)}, options=options or server.options)


def test_this_host_keeps_the_contract(tmp_path: Path) -> None:
    check_contract(Way(LocalNode(), "node-1", str(tmp_path), reader))


def test_ssh_keeps_the_contract(tmp_path: Path, sshd: Sshd) -> None:
    check_contract(Way(by_ssh(sshd), "node-1", str(tmp_path), reader))


@pytest.mark.parametrize("shell", ["/bin/bash -c", "/usr/bin/busybox sh -c"])
def test_ssh_into_a_login_shell_that_greets(tmp_path: Path, shell: str) -> None:
    greeting = tmp_path / "shell"
    greeting.write_text(f'#!/bin/sh\necho Welcome to node-1\necho "to all" >&2\nexec {shell} "$SSH_ORIGINAL_COMMAND"\n')
    greeting.chmod(0o755)
    with run_sshd(tmp_path, str(greeting)) as server:
        check_contract(Way(by_ssh(server), "node-1", str(tmp_path), reader))


def test_what_ssh_refuses_is_told(sshd: Sshd) -> None:
    with pytest.raises(SiteError, match="Host key verification failed") as caught:
        by_ssh(sshd, sshd.strange).run("node-1", b"true", "apply")
    assert caught.value.outcome == "unchanged"
    with pytest.raises(SiteError, match="names no host for it"):
        by_ssh(sshd).run("node-2", b"true", "apply")
    nobody = SshNodes({"node-1": SshHost("127.0.0.1", "nobody", sshd.port)}, options=sshd.options)
    with pytest.raises(SiteError, match=r"ssh to nobody@.* could not run the script"):
        nobody.run("node-1", b"true", "apply")


def test_half_a_script_does_not_run(tmp_path: Path) -> None:
    import subprocess

    made = tmp_path / "made"
    script = f"touch {made}\nrm -rf {tmp_path}/important".encode()
    done = subprocess.run(["sh", "-c", runner(script, "apply")], input=script[:-9], capture_output=True, check=False)
    assert not made.exists()
    with pytest.raises(SiteError, match="did not arrive whole"):
        answer_of("node-1", done.returncode, done.stdout.decode(), why="")


def test_a_script_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_access, "TIMEOUT", 0.5)
    with pytest.raises(SiteError, match="did not end within"):
        LocalNode().run("node-1", b"sleep 60", "apply")
