"""The real cvdupdate against servers on loopback: databases over HTTP, versions over DNS."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import socketserver
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

import dns.message
import dns.rrset
import pytest

from airbundle.bundle.clamav import dns_text
from airbundle.bundle.inventory import ClamavRequest
from airbundle.errors import Busy, RemoteError, UsageError, VerificationError
from airbundle.transfer.clamav import ClamavCollection, collect_databases
from airbundle.transfer.cvdupdate import find_cvdupdate, update_databases
from tests.support.clamav import make_cdiff, make_cvd, make_sign
from tests.transfer.servers import FaultServer, Turn, fault_server

NOW = datetime.now(timezone.utc)
ALL = ("main", "daily", "bytecode")
FIELDS = {"main": 1, "daily": 2, "bytecode": 7}


@dataclass
class Upstream:
    """What database.clamav.net would have, and what current.cvd.clamav.net would say."""

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    server: FaultServer | None = None

    def publish(self, name: str, version: int) -> None:
        database = make_cvd(name, version, NOW - timedelta(days=1))
        self.versions[name] = version
        self.files[f"{name}.cvd"] = database
        self.files[f"{name}-{version}.cvd.sign"] = make_sign(database)
        self.files[f"{name}-{version}.cdiff"] = make_cdiff(version)

    def answer(self, turn: Turn, _: int) -> None:
        name = urlsplit(turn.path).path.lstrip("/")
        if name in self.refuse:
            turn.reply(self.refuse[name], b"", {"Retry-After": "3600"})
        elif name in self.files:
            turn.reply(200, self.files[name])
        else:
            turn.reply(404)

    def resolve(self, wire: bytes) -> bytes:
        question = dns.message.from_wire(wire)
        response = dns.message.make_response(question)
        text = dns_text(self.versions, time=NOW)
        response.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "TXT", f'"{text}"'))
        return response.to_wire()

    @property
    def downloads(self) -> list[str]:
        assert self.server is not None
        return [urlsplit(seen.path).path.lstrip("/") for seen in self.server.requests]


class _DnsTurn(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _DnsServer)
        self.wfile.write(self.server.upstream.resolve(self.rfile.read()))


class _DnsServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    upstream: Upstream


@contextmanager
def dns_server(upstream: Upstream) -> Iterator[int]:
    """Answer DNS queries on a free port, which is given."""
    with _DnsServer(("127.0.0.1", 0), _DnsTurn) as server:
        server.upstream = upstream
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


# cvdupdate can be told a nameserver, but not its port, and port 53 is not for everybody to listen on.
OTHER_PORT = """\
import os
import dns.resolver
reset = dns.resolver.Resolver.reset
def with_port(self):
    reset(self)
    self.port = int(os.environ["TEST_DNS_PORT"])
dns.resolver.Resolver.reset = with_port
"""


@pytest.fixture(name="upstream")
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    upstream = Upstream()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OTHER_PORT)
    with fault_server(upstream.answer) as files, dns_server(upstream) as port:
        upstream.server = files
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        monkeypatch.setenv("TEST_DNS_PORT", str(port))
        monkeypatch.setenv("CVDUPDATE_NAMESERVER", "127.0.0.1")
        # Whatever else it asks for (PyPI, whether it is current) fails at once.
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("https_proxy", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield upstream


@pytest.fixture(name="state")
def prepared(tmp_path: Path, upstream: Upstream) -> Path:
    """A state directory in which cvdupdate knows the server on loopback in place of ClamAV's."""
    assert upstream.server is not None
    state = tmp_path / "state"
    state.mkdir()
    databases = {
        f"{name}.cvd": {
            "url": f"{upstream.server.url}/{name}.cvd",
            "retry after": 0,
            "last modified": 0,
            "last checked": 0,
            "DNS field": position,
            "local version": 0,
            "CDIFFs": [],
        }
        for name, position in FIELDS.items()
    }
    (state / "state.json").write_text(json.dumps({"dbs": databases, "uuid": "tests"}))
    return state


def collect(state: Path, *databases: str) -> ClamavCollection:
    request = ClamavRequest("cvdupdate", databases or ALL)
    return collect_databases(request, source=None, custom=[], state=state, now=NOW)


def kept(state: Path, name: str) -> int:
    version = json.loads((state / "state.json").read_text())["dbs"][f"{name}.cvd"]["local version"]
    assert isinstance(version, int)
    return version


def test_fetches_all_databases_and_keeps_its_state(upstream: Upstream, state: Path) -> None:
    for name, version in (("main", 62), ("daily", 27001), ("bytecode", 335)):
        upstream.publish(name, version)
    names = sorted(file.name for file in collect(state).files)
    assert names == [
        "bytecode-335.cdiff",
        "bytecode-335.cvd.sign",
        "bytecode.cvd",
        "daily-27001.cdiff",
        "daily-27001.cvd.sign",
        "daily.cvd",
        "main-62.cdiff",
        "main-62.cvd.sign",
        "main.cvd",
    ]
    assert kept(state, "daily") == 27001
    before = len(upstream.downloads)
    assert sorted(file.name for file in collect(state).files) == names
    # What is there is not fetched again; only signatures that upstream lacks are asked for.
    assert not [name for name in upstream.downloads[before:] if name.endswith(".cvd")]


def test_only_what_is_asked_for_is_fetched(upstream: Upstream, state: Path) -> None:
    upstream.publish("daily", 27001)
    assert {file.family for file in collect(state, "daily").files} == {"daily"}
    assert all(name.startswith("daily") for name in upstream.downloads)


def test_the_next_day_patches_are_added(upstream: Upstream, state: Path) -> None:
    upstream.publish("daily", 27001)
    collect(state, "daily")
    upstream.publish("daily", 27002)
    files = {file.name: file for file in collect(state, "daily").files}
    assert files["daily.cvd"].info["version"] == "27002"
    assert {"daily-27001.cdiff", "daily-27002.cdiff", "daily-27002.cvd.sign"} <= set(files)


def test_counted_errors_are_an_error_that_says_why(upstream: Upstream, state: Path) -> None:
    upstream.publish("daily", 27001)
    upstream.refuse["daily.cvd"] = 429
    with pytest.raises(RemoteError, match="too frequently") as caught:
        collect(state, "daily")
    assert caught.value.exit_code == 4
    before = len(upstream.downloads)
    with pytest.raises(RemoteError, match="cooldown"):
        collect(state, "daily")
    assert len(upstream.downloads) == before, "the cool-down that it remembers is kept"


def test_without_dns_nothing_is_fetched(upstream: Upstream, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.publish("daily", 27001)
    monkeypatch.setenv("CVDUPDATE_NAMESERVER", "nonsense")
    with pytest.raises(RemoteError, match="DNS query failed") as caught:
        collect(state, "daily")
    assert "CVDUPDATE_NAMESERVER" in caught.value.hint
    assert not upstream.downloads


def test_what_it_fetched_is_verified_and_damage_is_forgotten(upstream: Upstream, state: Path) -> None:
    upstream.publish("daily", 27001)
    whole = upstream.files["daily.cvd"]
    upstream.files["daily.cvd"] = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(VerificationError):
        collect(state, "daily")
    assert not (state / "database" / "daily.cvd").exists()
    upstream.files["daily.cvd"] = whole
    assert "daily.cvd" in {file.name for file in collect(state, "daily").files}


def test_its_state_is_for_its_owner(upstream: Upstream, tmp_path: Path) -> None:
    assert upstream.server is not None
    with pytest.raises(RemoteError):
        # Its own addresses, which the proxy of these tests refuses.
        update_databases(["daily"], tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert {"config.json", "state.json", "lock"} <= {path.name for path in (tmp_path / "new").iterdir()}


def test_one_run_at_a_time(state: Path) -> None:
    with (state / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another run"):
            update_databases(["daily"], state)


def test_it_has_three_databases(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cvdupdate has no database unofficial"):
        update_databases(["daily", "unofficial"], tmp_path)


def test_it_is_run_as_a_module_where_it_is_installed() -> None:
    assert find_cvdupdate() == [sys.executable, "-m", "cvdupdate"]


def test_else_it_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="cvdupdate is not installed"):
        find_cvdupdate()
    program = tmp_path / "cvd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_cvdupdate() == [str(program)]
