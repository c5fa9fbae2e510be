"""The Synapse module that sends files to ClamAV: against a real clamd, and against peers that misbehave."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messenger.conftest import HOME

MODULE = HOME / "charts" / "media-scan" / "clamav_media.py"
BAD = b"this text counts as a virus in these tests"
PATIENCE = 30.0


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("clamav_media", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clamav_media"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


clamav_media = _load()


def settings(port: int, **changes: Any) -> Any:
    """Return settings for a clamd on this machine."""
    return clamav_media.Settings(**{"host": "127.0.0.1", "port": port, "max_bytes": 4_000_000, **changes})


def scan(path: Path, port: int, *, seconds: float = PATIENCE, **changes: Any) -> str:
    """Scan a file."""
    return str(clamav_media.scan(str(path), settings(port, **changes), time.monotonic() + seconds))


# A real clamd.


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real clamd, whose only signature is that of `BAD`, and which takes streams of 1 MiB at most."""
    program = shutil.which("clamd", path="/usr/sbin:/usr/bin")
    assert program, "clamd is missing: scripts/test installs clamav-daemon"
    home = tmp_path_factory.mktemp("clamd")
    database = home / "db"
    database.mkdir()
    (database / "test.ndb").write_text(f"Messenger.Test:0:*:{BAD.hex()}\n")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    lines = [
        f"DatabaseDirectory {database}",
        f"TemporaryDirectory {home}",
        "TCPAddr 127.0.0.1",
        f"TCPSocket {port}",
        "Foreground yes",
        "StreamMaxLength 1M",
    ]
    (home / "clamd.conf").write_text("\n".join(lines) + "\n")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", home / "clamd.conf"], stdout=log, stderr=log)
    try:
        _wait_for(port, process, home / "log")
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return


def test_a_clean_file_is_clean(clamd: int, tmp_path: Path) -> None:
    file = tmp_path / "clean"
    file.write_bytes(b"nothing to see" * 20_000)
    assert scan(file, clamd) == ""


def test_an_empty_file_is_clean(clamd: int, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert scan(tmp_path / "empty", clamd) == ""


def test_what_clamd_finds_is_told(clamd: int, tmp_path: Path) -> None:
    file = tmp_path / "bad"
    # Across the border of two pieces.
    file.write_bytes(b"x" * (64 * 1024 - 7) + BAD + b"x" * 100_000)
    assert scan(file, clamd) == "Messenger.Test.UNOFFICIAL"


def test_more_than_clamd_takes_is_no_verdict(clamd: int, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"\0" * 3_000_000)
    with pytest.raises(clamav_media.ScannerUnavailable):
        scan(file, clamd)


def test_many_at_once(clamd: int, tmp_path: Path) -> None:
    found: list[str] = []
    files = [tmp_path / str(number) for number in range(12)]
    for number, file in enumerate(files):
        file.write_bytes(b"a" * 200_000 + (BAD if number % 3 == 0 else b""))
    threads = [threading.Thread(target=lambda file=file: found.append(scan(file, clamd))) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [""] * 8 + ["Messenger.Test.UNOFFICIAL"] * 4


# Peers that misbehave.


class Peer:
    """One connection is taken and handed to `talk`."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._talk = talk
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            connection, _ = self._socket.accept()
            with connection:
                self._talk(connection)
        except OSError:
            return

    def close(self) -> None:
        """Stop; whoever waits for the peer gets an end."""
        self._socket.close()


@pytest.fixture
def peer() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Start a peer that talks as told; its port."""
    peers: list[Peer] = []

    def start(talk: Callable[[socket.socket], None]) -> int:
        peers.append(Peer(talk))
        return peers[-1].port

    yield start
    for each in peers:
        each.close()


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            return data
        data += more
    return data


def read_stream(connection: socket.socket) -> bytes:
    """Read what INSTREAM sends, to its end."""
    assert _exactly(connection, 10) == b"zINSTREAM\0"
    data = b""
    while True:
        (length,) = struct.unpack("!I", _exactly(connection, 4))
        if length == 0:
            return data
        data += _exactly(connection, length)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Return a talk that takes everything and answers."""

    def talk(connection: socket.socket) -> None:
        read_stream(connection)
        connection.sendall(answer)

    return talk


Start = Callable[[Callable[[socket.socket], None]], int]


def test_every_byte_arrives(peer: Start, tmp_path: Path) -> None:
    seen: list[bytes] = []
    content = bytes(range(256)) * 1000
    (tmp_path / "f").write_bytes(content)

    def talk(connection: socket.socket) -> None:
        seen.append(read_stream(connection))
        connection.sendall(b"stream: OK\0")

    assert scan(tmp_path / "f", peer(talk)) == ""
    assert seen == [content]


@pytest.mark.parametrize(
    "answer",
    [
        b"stream: OK",  # breaks off
        b"",
        b"INSTREAM size limit exceeded. ERROR\0",
        b"stream: OK FOUND OK\0",
        b"file: OK\0",
        b"stream: OK\0stream: OK\0",
        b"stream:  FOUND\0",
        b"\xff\xfe\0",
        b"stream: OK\n" * 1000,
        b"x" * 100_000,
    ],
)
def test_what_is_no_verdict_is_never_taken_for_clean(peer: Start, tmp_path: Path, answer: bytes) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(clamav_media.ScannerUnavailable):
        scan(tmp_path / "f", peer(answering(answer)))


def test_nobody_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(clamav_media.ScannerUnavailable, match=r"127\.0\.0\.1"):
        scan(tmp_path / "f", port)


def test_a_file_that_is_gone_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(clamav_media.ScannerUnavailable):
        scan(tmp_path / "gone", 1)


@pytest.mark.parametrize("reads", [True, False], ids=["never answers", "never reads"])
def test_a_peer_that_hangs_is_left_when_the_time_is_over(peer: Start, tmp_path: Path, *, reads: bool) -> None:
    release = threading.Event()

    def talk(connection: socket.socket) -> None:
        if reads:
            read_stream(connection)
        release.wait(PATIENCE)

    (tmp_path / "f").write_bytes(b"\0" * (100 if reads else 3_900_000))
    try:
        with pytest.raises(clamav_media.ScannerUnavailable):
            scan(tmp_path / "f", peer(talk), seconds=0.3)
    finally:
        release.set()


def test_a_peer_that_drips_does_not_stretch_the_time(peer: Start, tmp_path: Path) -> None:
    release = threading.Event()

    def talk(connection: socket.socket) -> None:
        read_stream(connection)
        while not release.wait(0.02):
            connection.sendall(b" ")

    (tmp_path / "f").write_bytes(b"abc")
    try:
        with pytest.raises(clamav_media.ScannerUnavailable, match="time"):
            scan(tmp_path / "f", peer(talk), seconds=0.4)
    finally:
        release.set()


def test_a_file_beyond_the_limit_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\0" * 11)
    with pytest.raises(clamav_media.ScannerUnavailable, match="max_bytes"):
        scan(tmp_path / "f", 1, max_bytes=10)


# What Synapse sees. Synapse itself is hundreds of megabytes; these are the few names that the module takes from it.


class SynapseError(Exception):
    """As Synapse's: an answer to the client."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """The part of Synapse's module API that is used."""

    def __init__(self) -> None:
        self.check: Any = None

    def register_spam_checker_callbacks(self, *, check_media_file_for_spam: Any) -> None:
        """Remember the callback."""
        self.check = check_media_file_for_spam

    async def defer_to_threadpool(self, _pool: Any, function: Any, *arguments: Any) -> Any:
        """Run it in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


class Counter:
    """As prometheus_client's."""

    def __init__(self, *_: Any) -> None:
        self.counts: dict[str, int] = {}
        self._result = ""

    def labels(self, result: str) -> Counter:
        """Choose what is counted."""
        self._result = result
        self.counts.setdefault(result, 0)
        return self

    def inc(self) -> None:
        """Count."""
        self.counts[self._result] += 1


@pytest.fixture
def synapse(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the module imports when it is loaded by Synapse."""
    counters: list[Counter] = []
    made: dict[str, Any] = {"counters": counters}

    def module(name: str, **names: Any) -> None:
        found = types.ModuleType(name)
        for key, value in names.items():
            setattr(found, key, value)
        monkeypatch.setitem(sys.modules, name, found)

    def counter(*arguments: Any) -> Counter:
        counters.append(Counter(*arguments))
        return counters[-1]

    def nothing(*_: Any) -> None:
        return None

    pool = types.SimpleNamespace(start=nothing, stop=nothing)
    for parent in ("synapse", "twisted", "twisted.python", "twisted.internet"):
        module(parent)
    module("synapse.module_api", NOT_SPAM="NOT_SPAM")
    module("synapse.module_api.errors", Codes=types.SimpleNamespace(FORBIDDEN="M_FORBIDDEN"), SynapseError=SynapseError)
    module("twisted.python.threadpool", ThreadPool=lambda *_: pool)
    module("twisted.internet.reactor", callWhenRunning=nothing, addSystemEventTrigger=nothing)
    module("prometheus_client", Counter=counter)
    return made


def check(path: Path, port: int, *, thumbnail: object = None, **changes: Any) -> tuple[Any, Api]:
    """Load the module as Synapse does, and let it check a file."""
    api = Api()
    config = clamav_media.ClamavMedia.parse_config(
        {"host": "127.0.0.1", "port": port, "timeout_seconds": 20, **changes}
    )
    clamav_media.ClamavMedia(config, api)
    file, info = types.SimpleNamespace(path=str(path)), types.SimpleNamespace(file_id="abc", thumbnail=thumbnail)
    return asyncio.run(api.check(file, info)), api


def test_clean_and_infected_uploads(synapse: dict[str, Any], clamd: int, tmp_path: Path) -> None:
    (tmp_path / "clean").write_bytes(b"abc")
    (tmp_path / "bad").write_bytes(BAD)
    assert check(tmp_path / "clean", clamd)[0] == "NOT_SPAM"
    assert check(tmp_path / "bad", clamd)[0] == "M_FORBIDDEN"
    assert synapse["counters"][0].counts == {"clean": 1, "infected": 0, "unavailable": 0}
    assert synapse["counters"][1].counts == {"clean": 0, "infected": 1, "unavailable": 0}


def test_without_a_scanner_uploads_are_refused_for_now(synapse: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(SynapseError) as caught:
        check(tmp_path / "f", 1)
    assert caught.value.code == 503
    assert synapse["counters"][0].counts["unavailable"] == 1


@pytest.mark.usefixtures("synapse")
def test_without_a_scanner_uploads_pass_where_the_site_says_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert check(tmp_path / "f", 1, fail_closed=False)[0] == "NOT_SPAM"


@pytest.mark.usefixtures("synapse")
def test_thumbnails_are_made_of_what_was_scanned(tmp_path: Path) -> None:
    assert check(tmp_path / "none", 1, thumbnail=object())[0] == "NOT_SPAM"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "host is None"),
        ({"host": ""}, "host"),
        ({"host": "a", "port": "3310"}, "port is '3310'"),
        ({"host": "a", "port": True}, "port"),
        ({"host": "a", "port": 0}, "from 1 to 65535"),
        ({"host": "a", "timeout_seconds": 0}, "timeout_seconds"),
        ({"host": "a", "timeout_seconds": float("nan")}, "timeout_seconds"),
        ({"host": "a", "max_bytes": -1}, "max_bytes"),
        ({"host": "a", "fail_closed": "no"}, "expected true or false"),
        ({"host": "a", "fail_close": False}, "unknown field 'fail_close'"),
    ],
)
def test_a_wrong_configuration_is_told(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        clamav_media.read_settings(config)


@given(st.text(max_size=200))
def test_only_the_plain_ok_is_clean(answer: str) -> None:
    try:
        name = clamav_media._verdict(answer)
    except clamav_media.ScannerUnavailable:
        return
    assert (name == "") == (answer == "stream: OK")
