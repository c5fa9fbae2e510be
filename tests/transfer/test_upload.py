from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, Refused, RemoteError, Unreachable
from airbundle.transfer import upload as upload_module
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository
from airbundle.transfer.settings import HttpSettings
from tests.support.registries import Registry
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

LARGE = bytes(range(256)) * 9_000  # over 2 MiB: PATCH and PUT
SMALL = b"small" * 100  # PUT alone


sizes = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


def described(data: bytes) -> Descriptor:
    return Descriptor("application/x", "sha256:" + hashlib.sha256(data).hexdigest(), len(data))


class Source:
    """Bytes as a BlobReader; gives at most 100,000 bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        piece = self.data[offset : offset + min(len(buffer), 100_000)]
        buffer[: len(piece)] = piece
        return len(piece)


@dataclass
class Pushee:
    """The push half of a registry, which does what it should unless `fault` answers in its place."""

    fault: Callable[[Turn, str], bool] = lambda turn, step: False
    blobs: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    moves: int = 0
    answer_ranges: bool = True
    extra: dict[str, str] = field(default_factory=dict)

    def script(self, turn: Turn, n: int) -> None:
        path, _, query = turn.path.partition("?")
        step = turn.command if turn.command != "HEAD" else "HEAD"
        if self.fault(turn, step):
            return
        if turn.command == "HEAD":
            digest = path.rpartition("/")[2]
            turn.reply(200 if digest in self.blobs else 404)
        elif turn.command == "POST":
            identifier = f"s{len(self.sessions)}"
            self.sessions[identifier] = bytearray()
            turn.reply(202, b"", {**self._location(identifier), **self.extra})
        else:
            self._session(turn, path, query)

    def _location(self, identifier: str) -> dict[str, str]:
        self.moves += 1
        return {"Location": f"/v2/x/blobs/uploads/{identifier}?_state={self.moves}%3D"}

    def _session(self, turn: Turn, path: str, query: str) -> None:
        identifier = path.rpartition("/")[2]
        session = self.sessions.get(identifier)
        if session is None or f"_state={self.moves}%3D" not in query:
            turn.reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        elif turn.command == "DELETE":
            del self.sessions[identifier]
            turn.reply(204)
        elif turn.command == "GET":
            turn.reply(204, b"", {**self._location(identifier), "Range": f"0-{max(0, len(session) - 1)}"})
        elif turn.command == "PATCH":
            self._patch(turn, identifier, session)
        else:
            session += turn.seen.body
            digest = "sha256:" + hashlib.sha256(session).hexdigest()
            if f"digest={digest.replace(':', '%3A')}" not in query:
                turn.reply(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.blobs[digest] = bytes(session)
            del self.sessions[identifier]
            turn.reply(201)

    def _patch(self, turn: Turn, identifier: str, session: bytearray) -> None:
        first = int(str(turn.headers["Content-Range"]).partition("-")[0])
        if first != len(session):
            turn.reply(416, b"", {**self._location(identifier), "Range": f"0-{max(0, len(session) - 1)}"})
            return
        session += turn.seen.body
        headers = self._location(identifier)
        if self.answer_ranges:
            headers["Range"] = f"0-{len(session) - 1}"
        turn.reply(202, b"", headers)


@contextmanager
def pushing(pushee: Pushee, patience: HttpSettings = FAST) -> Iterator[tuple[Repository, FaultServer]]:
    with fault_server(pushee.script) as server:
        with RegistryClient(Registries().with_registry(server.url), side="site", settings=patience) as client:
            yield client.repository(f"{server.host}/x"), server


def once(step: str, action: Callable[[Turn], None], *, times: int = 1) -> Callable[[Turn, str], bool]:
    left = [times]

    def fault(turn: Turn, at: str) -> bool:
        if at == step and left[0]:
            left[0] -= 1
            action(turn)
            return True
        return False

    return fault


def always(step: str, status: int, body: bytes = b"") -> Callable[[Turn, str], bool]:
    return once(step, lambda turn: turn.reply(status, body), times=1_000_000)


def steps(server: FaultServer) -> list[str]:
    return [seen.method for seen in server.requests]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ["HEAD", "POST", "PUT"]),
        (SMALL, ["HEAD", "POST", "PUT"]),
        (LARGE, ["HEAD", "POST", "PATCH", "PUT"]),
    ],
    ids=["empty", "small", "large"],
)
def test_push(data: bytes, expected: list[str]) -> None:
    pushee, told = Pushee(), list[int]()
    with pushing(pushee) as (repository, server):
        assert repository.push_blob(described(data), Source(data), advance=told.append) is True
        assert steps(server) == expected
        assert repository.push_blob(described(data), Source(data)) is False
    assert pushee.blobs == {described(data).digest: data}
    assert sum(told) == len(data)


def test_a_check_can_be_spared() -> None:
    with pushing(Pushee()) as (repository, server):
        repository.push_blob(described(SMALL), Source(SMALL), check=False)
    assert steps(server) == ["POST", "PUT"]


def test_a_patch_tells_its_range() -> None:
    with pushing(Pushee()) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert server.requests[2].header("Content-Range") == f"0-{len(LARGE) - 1}"
    assert server.requests[2].header("Content-Length") == str(len(LARGE))


@sizes
@pytest.mark.parametrize("step", ["POST", "PATCH", "PUT", "HEAD"])
@pytest.mark.parametrize("fault", [500, 503, 429, "reset"])
def test_faults_at_each_step(data: bytes, step: str, fault: int | str) -> None:
    def action(turn: Turn) -> None:
        turn.reply(fault) if isinstance(fault, int) else turn.reset()

    pushee, told = Pushee(once(step, action, times=3)), list[int]()
    with pushing(pushee) as (repository, _):
        assert repository.push_blob(described(data), Source(data), advance=told.append)
    assert list(pushee.blobs.values()) == [data]
    assert sum(told) == len(data)


def test_goes_on_where_the_registry_says() -> None:
    """The registry keeps the half of a PATCH that arrived, and says so: only the rest is sent again."""
    pushee = Pushee()

    def half(turn: Turn) -> None:
        pushee.sessions["s0"] += turn.seen.body[:1_000_000]
        turn.reset()

    pushee.fault = once("PATCH", half)
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server) == ["HEAD", "POST", "PATCH", "GET", "PATCH", "PUT"]
    assert server.requests[4].header("Content-Range") == f"1000000-{len(LARGE) - 1}"
    assert list(pushee.blobs.values()) == [LARGE]


def test_416_asks_how_far_it_got() -> None:
    pushee = Pushee(once("PATCH", lambda turn: turn.reply(416)))
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server) == ["HEAD", "POST", "PATCH", "GET", "PATCH", "PUT"]


def test_a_registry_that_took_less_than_was_sent() -> None:
    pushee = Pushee()

    def less(turn: Turn) -> None:
        pushee.sessions["s0"] += turn.seen.body[:500_000]
        turn.reply(202, b"", {**pushee._location("s0"), "Range": "0-499999"})

    pushee.fault = once("PATCH", less)
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert server.requests[3].header("Content-Range") == f"500000-{len(LARGE) - 1}"


def test_a_registry_that_claims_more_than_was_sent() -> None:
    pushee = Pushee()

    def more(turn: Turn) -> None:
        turn.reply(202, b"", {**pushee._location("s0"), "Range": f"0-{len(LARGE) + 5}"})

    pushee.fault = once("PATCH", more)
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server)[-3:] == ["POST", "PATCH", "PUT"]


def test_a_lost_session_begins_again() -> None:
    pushee = Pushee(once("PUT", lambda turn: turn.reply(404)))
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server) == ["HEAD", "POST", "PATCH", "PUT", "HEAD", "POST", "PATCH", "PUT"]


def test_a_finish_whose_answer_was_lost() -> None:
    pushee = Pushee()

    def finish_and_reset(turn: Turn) -> None:
        pushee.blobs[described(LARGE).digest] = LARGE
        pushee.sessions.clear()
        turn.reset()

    pushee.fault = once("PUT", finish_and_reset)
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server) == ["HEAD", "POST", "PATCH", "PUT", "GET", "HEAD"]


def test_a_session_that_is_always_lost_is_given_up() -> None:
    pushee = Pushee(always("PUT", 404))
    with pushing(pushee, replace(FAST, retry_time=0.2)) as (repository, _), pytest.raises(Unreachable, match="lost"):
        repository.push_blob(described(LARGE), Source(LARGE))


def test_413_makes_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "PIECE", 1 << 21)
    monkeypatch.setattr(upload_module, "SMALL", 1000)

    def limit(turn: Turn, step: str) -> bool:
        if step == "PATCH" and len(turn.seen.body) > 600_000:
            turn.reply(413, b"<html>too large</html>", {"Content-Type": "text/html"})
            return True
        return False

    pushee = Pushee(limit, extra={"OCI-Chunk-Min-Length": "4096"})
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert list(pushee.blobs.values()) == [LARGE]
    assert max(len(seen.body) for seen in server.requests if seen.method == "PATCH") == len(LARGE)
    assert len(server.requests[-2].body) <= 600_000


def test_413_that_no_piece_is_small_enough_for() -> None:
    pushee = Pushee(always("PATCH", 413))
    with pushing(pushee) as (repository, _), pytest.raises(Refused, match="answered 413") as caught:
        repository.push_blob(described(LARGE), Source(LARGE))
    assert "client_max_body_size" in caught.value.hint
    assert caught.value.exit_code == 6


def test_the_least_size_of_a_piece_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "PIECE", 100_000)
    monkeypatch.setattr(upload_module, "SMALL", 1000)
    pushee = Pushee(once("PATCH", lambda turn: turn.reply(413)), extra={"OCI-Chunk-Min-Length": "700000"})
    with pushing(pushee) as (repository, server):
        repository.push_blob(described(LARGE), Source(LARGE))
    patches = [len(seen.body) for seen in server.requests if seen.method == "PATCH"][1:]
    assert patches == [700_000, 700_000, 700_000, len(LARGE) - 2_100_000]


@sizes
def test_a_source_of_other_bytes_finishes_nothing(data: bytes) -> None:
    pushee = Pushee()
    with pushing(pushee) as (repository, server):
        for wrong in (b"X" + data[1:], data[:-1]):
            with pytest.raises(DigestMismatch, match="the source") as caught:
                repository.push_blob(described(data), Source(wrong))
            assert caught.value.exit_code == 5
    assert "PUT" not in steps(server)
    assert pushee.blobs == {}
    assert pushee.sessions == {}  # cancelled


def test_an_error_of_the_source_is_its_own() -> None:
    class Broken(Source):
        def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
            if offset > 1_000_000:
                raise ConnectionResetError("the source's own trouble")
            return super().read_into(digest, offset, buffer)

    pushee = Pushee()
    with pushing(pushee) as (repository, server), pytest.raises(ConnectionResetError, match="own trouble"):
        repository.push_blob(described(LARGE), Broken(LARGE))
    assert steps(server).count("PATCH") <= 1
    assert pushee.blobs == {}


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("https://{host}/v2/x/blobs/uploads/s0?a=b%2Fc", "/v2/x/blobs/uploads/s0?a=b%2Fc&digest="),
        ("http://127.0.0.1:1/elsewhere?q", "/elsewhere?q&digest="),
        ("s0", "/v2/x/blobs/uploads/s0?digest="),
        ("//{host}/y", "/y?digest="),
    ],
)
def test_locations(location: str, path: str) -> None:
    """Relative or absolute, with another scheme or port: the host stays, and the query."""

    def script(turn: Turn, n: int) -> None:
        if turn.command == "POST":
            turn.reply(202, b"", {"Location": location.format(host=turn.headers["Host"])})
        else:
            turn.reply(201 if turn.command == "PUT" else 404)

    with fault_server(script) as server:
        with RegistryClient(Registries().with_registry(server.url), settings=FAST) as client:
            client.repository(f"{server.host}/x").push_blob_bytes(SMALL)
        assert server.paths("PUT")[0].startswith(path)


@pytest.mark.parametrize("location", ["https://evil.test/x", "ftp://x/", "http://u:p@127.0.0.1/", "/a b", ""])
def test_bad_locations(location: str) -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(202 if turn.command == "POST" else 404, b"", {"Location": location} if location else {})

    with fault_server(script) as server:
        with RegistryClient(Registries().with_registry(server.url), settings=FAST) as client:
            with pytest.raises(RemoteError, match=re.escape("push blob: 127.0.0.1:")):
                client.repository(f"{server.host}/x").push_blob_bytes(SMALL)
    assert steps(server) == ["HEAD", "POST"]


@pytest.mark.parametrize(("status", "words"), [(403, "DENIED"), (405, "UNSUPPORTED"), (507, "FULL"), (400, "BAD")])
def test_refusals(status: int, words: str) -> None:
    body = f'{{"errors":[{{"code":"{words}","message":"no"}}]}}'.encode()
    pushee = Pushee(always("POST", status, body))
    with pushing(pushee) as (repository, server), pytest.raises(RemoteError, match=f"answered {status} {words}: no"):
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server) == ["HEAD", "POST"]


def test_a_full_disk_in_the_middle() -> None:
    body = b'{"errors":[{"code":"UNKNOWN","detail":"write /var/x: no space left on device"}]}'
    pushee = Pushee(always("PATCH", 500, body))
    with pushing(pushee) as (repository, server), pytest.raises(Refused, match="no space left") as caught:
        repository.push_blob(described(LARGE), Source(LARGE))
    assert steps(server) == ["HEAD", "POST", "PATCH", "DELETE"]
    assert "free space" in caught.value.hint


def test_a_mount_that_becomes_a_push_uses_its_session() -> None:
    pushee = Pushee()
    with pushing(pushee) as (repository, server):
        assert repository.mount(described(LARGE).digest, "other") is False
        repository.push_blob(described(LARGE), Source(LARGE), check=False)
    assert steps(server) == ["POST", "PATCH", "PUT"]
    assert list(pushee.blobs.values()) == [LARGE]


def test_a_real_registry_from_a_cut_upload(plain_registry: Registry) -> None:
    """registry:2 takes no half PATCH: the upload begins again and ends well."""

    class Flaky(Source):
        broken = False

        def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
            if offset > 1_000_000 and not self.broken:
                self.broken = True
                client.http._bulk.close()  # the line breaks while the PATCH is under way
                client.http._bulk._closed = False
            return super().read_into(digest, offset, buffer)

    with RegistryClient(Registries().with_registry(plain_registry.url), settings=FAST) as client:
        repository = client.repository(f"{plain_registry.host}/upload/cut")
        assert repository.push_blob(described(LARGE), Flaky(LARGE))
        assert repository.read_blob(described(LARGE).digest, len(LARGE)) == LARGE
