from __future__ import annotations

import re
from dataclasses import replace

import pytest

from airbundle.errors import DigestMismatch, Refused, RemoteError, Unreachable
from airbundle.transfer import upload as upload_module
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registry import RegistryClient
from tests.support.registries import Registry
from tests.transfer.pushee import LARGE, SMALL, Pushee, Source, always, described, once, pushing, steps
from tests.transfer.servers import FAST, Turn, fault_server

sizes = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


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
