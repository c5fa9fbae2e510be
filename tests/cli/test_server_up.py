"""A command that needs airbundle's server finds it down, as after a reboot without systemd: it starts it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.server_up import is_down, start_again
from airbundle.installer.service import Service
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT
from airbundle.transfer.local import port_problem
from tests.cli.test_install import Site
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.images import tiny_image


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    made = content({"docker.io/library/app:1": tiny_image("app")})
    return sign_and_write(tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle", made, key)


@pytest.fixture
def down(tmp_path: Path, key: Key, bundle: Path) -> Iterator[Site]:
    """A host whose server was killed, and at whose site two versions were deployed."""
    made = Site(tmp_path, key)
    code, report = made.install(bundle)
    assert code == 0, report
    state = StateDirectory(made.state)
    (held,) = state.read().bundles
    berlin = SiteState(state, "berlin")
    for number, version in enumerate(("1.0.0", "1.1.0"), 1):
        statement = held.statement if number == 1 else "sha256:" + "0" * 64
        berlin.write(Deployment(number, "test", version, number, statement, "2026", complete=True))
    os.killpg(made.server_pid(), signal.SIGKILL)
    while Service.of(state).running() or port_problem("127.0.0.1", made.port):
        time.sleep(0.05)
    yield made
    code, document = made.run("uninstall", "--keep-cluster")
    assert code == 0, document


def test_it_runs_again_as_it_was(down: Site) -> None:
    state = StateDirectory(down.state)
    assert is_down(state)
    before = state.path("server", "config.json").read_bytes()
    assert start_again(state, "test", SILENT)
    assert down.get("/v2/") == b"{}"
    assert not is_down(state) and not start_again(state, "test", SILENT)
    assert state.path("server", "config.json").read_bytes() == before
    last = Journal(state.journal).read()[-1]
    assert (last.step, last.event, last.info["started"]) == ("serve", "done", True)
    code, status = down.run("status")
    assert [each["code"] for each in status["findings"]] == ["cluster"], (code, status)  # there is none


def test_what_was_never_installed_is_not_started(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    assert not is_down(state) and not start_again(state, "test", SILENT)
    assert not state.root.exists()


def test_rollback_starts_it(down: Site) -> None:
    code, answer = down.run("rollback", "--dry-run")
    assert (code, is_down(StateDirectory(down.state))) == (6, True)
    code, answer = down.run("rollback")
    assert code == 6 and "no install has reached its cluster yet" in answer["errors"][0]["message"]
    assert down.get("/v2/") == b"{}"


def test_why_it_cannot_be_started_is_told_with_the_next_step(down: Site) -> None:
    with socket.create_server(("127.0.0.1", down.port)):
        code, answer = down.run("rollback")
        assert (code, answer["outcome"]) == (6, "unchanged")
        (error,) = answer["errors"]
        assert "server at https://" in error["message"] and "could not be started" in error["message"]
        assert f"can't listen at 127.0.0.1:{down.port}" in error["message"]
        assert "run the same command again" in error["hint"]
        with pytest.raises(SiteError, match="could not be started"):
            start_again(StateDirectory(down.state), "test", SILENT)
