"""Going on with an upload that an earlier run began."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from airbundle.errors import DigestMismatch, Interrupted
from airbundle.transfer import upload_session
from airbundle.transfer.upload_session import Session, UploadPlace
from airbundle.transfer.wire import Url
from tests.transfer.pushee import LARGE, Pushee, Source, always, described, once, pushing, steps
from tests.transfer.servers import Turn

HALF = 1_000_000
BLOB = described(LARGE)
SECRET = "_state=7%3D"


@pytest.fixture(autouse=True)
def _small_blobs_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "WORTH_KEEPING", 1 << 20)


class Record:
    """A record in memory, with what an earlier run left."""

    def __init__(self, *targets: str) -> None:
        self.targets = list(targets)
        self.kept: list[str] = []
        self.places: set[UploadPlace] = set()

    def find(self, place: UploadPlace) -> str | None:
        self.places.add(place)
        return self.targets[0] if self.targets else None

    def keep(self, place: UploadPlace, target: str) -> None:
        self.places.add(place)
        self.kept.append(target)
        self.targets = [target]

    def forget(self, place: UploadPlace) -> None:
        self.places.add(place)
        self.targets = []


def left_behind(have: bytes = LARGE[:HALF]) -> tuple[Pushee, Record]:
    pushee = Pushee(sessions={"s0": bytearray(have)}, moves=7)
    return pushee, Record(f"/v2/x/blobs/uploads/s0?{SECRET}")


def begun_anew(methods: list[str]) -> bool:
    return methods[-3:] == ["POST", "PATCH", "PUT"] and methods.count("POST") == 1


@pytest.mark.parametrize("have", [2, HALF, len(LARGE) - 1, len(LARGE)])
def test_only_the_rest_is_sent(have: int) -> None:
    pushee, record = left_behind(LARGE[:have])
    told, spared = list[int](), list[int]()
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False, advance=told.append, spared=spared.append)
        assert {place.origin for place in record.places} == {server.url}
    assert steps(server) == (["GET", "PATCH", "PUT"] if have < len(LARGE) else ["GET", "PUT"])
    assert sum(len(seen.body) for seen in server.requests) == len(LARGE) - have
    assert pushee.blobs == {BLOB.digest: LARGE}
    assert (sum(told), spared) == (len(LARGE), [have])
    assert record.targets == []


def test_nothing_had_arrived() -> None:
    pushee, record = left_behind(b"")
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert steps(server) == ["GET", "PATCH", "PUT"]


def test_it_is_remembered_while_it_is_sent_and_no_longer() -> None:
    class Killed(Source):
        def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
            if offset >= HALF:
                raise Interrupted
            return super().read_into(digest, offset, buffer)

    pushee, record = Pushee(), Record()
    with pushing(pushee, uploads=record) as (repository, server):
        with pytest.raises(Interrupted):
            repository.push_blob(BLOB, Killed(LARGE), check=False)
        assert record.targets == ["/v2/x/blobs/uploads/s0?_state=1%3D"]
        pushee.sessions["s0"] += LARGE[:HALF]
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert [seen.method for seen in server.requests][-3:] == ["GET", "PATCH", "PUT"]
    assert pushee.blobs == {BLOB.digest: LARGE}
    assert record.targets == []


def test_small_blobs_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "WORTH_KEEPING", len(LARGE) + 1)
    pushee, record = left_behind()
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert steps(server) == ["POST", "PATCH", "PUT"]
    assert record.places == set()


def answer(status: int, **headers: str) -> Callable[[Turn], None]:
    return lambda turn: turn.reply(status, b"", {name.title(): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "action",
    [
        *(answer(status) for status in (200, 202, 400, 401, 403, 404, 405, 410, 416, 429, 500, 503)),
        answer(204),
        answer(204, location="/v2/x/blobs/uploads/s0?_state=7%3D"),
        answer(204, location="/y", range=f"0-{len(LARGE)}"),
        answer(204, location="/y", range="0-999999999999999999"),
        answer(204, location="/y", range="5-10"),
        answer(204, location="/y", range="0--1"),
        answer(204, location="http://evil.test/y", range="0-99"),
        answer(204, location="nothing at all", range="0-99"),
        answer(204, location="/y", range="0-99"),
        answer(307, location="http://evil.test/y"),
        lambda turn: turn.reset(),
    ],
)
@pytest.mark.parametrize("times", [1, 1000])
def test_any_other_answer_begins_anew(action: Callable[[Turn], None], times: int) -> None:
    pushee, record = left_behind()
    pushee.fault = once("GET", action, times=times)
    spared = list[int]()
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False, spared=spared.append)
    assert pushee.blobs == {BLOB.digest: LARGE}
    if not spared[0]:
        assert begun_anew(steps(server)), steps(server)
        assert len(server.requests[-2].body) == len(LARGE)
    assert steps(server).count("GET") <= 4
    assert record.targets == []


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 416, 422, 500, 503])
@pytest.mark.parametrize("step", ["PATCH", "PUT"])
def test_a_refusal_of_the_rest_begins_anew(step: str, status: int) -> None:
    pushee, record = left_behind()

    def refuse(turn: Turn, at: str) -> bool:
        of_old = "/uploads/s0" in turn.path and at == step
        if of_old:
            turn.reply(status)
        return of_old

    pushee.fault = refuse
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert begun_anew(steps(server)), steps(server)
    assert pushee.blobs == {BLOB.digest: LARGE}
    assert record.targets == []


def test_a_rest_that_is_always_cut_begins_anew() -> None:
    pushee, record = left_behind()

    def cut(turn: Turn, at: str) -> bool:
        if "/uploads/s0" in turn.path and at == "PATCH":
            turn.reset()
            return True
        return False

    pushee.fault = cut
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert begun_anew(steps(server)), steps(server)


def test_other_bytes_than_the_source_has_are_sent_anew() -> None:
    pushee, record = left_behind(b"X" * HALF)
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert steps(server) == ["GET", "PATCH", "PUT", "HEAD", "POST", "PATCH", "PUT"]
    assert pushee.blobs == {BLOB.digest: LARGE}


def test_a_line_that_is_cut_again_and_again_is_no_hindrance() -> None:
    pushee, record = left_behind()

    def half(turn: Turn) -> None:
        pushee.sessions["s0"] += turn.seen.body[:150_000]
        turn.reset()

    pushee.fault = once("PATCH", half, times=6)
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert steps(server) == ["GET", "PATCH"] * 7 + ["PUT"]
    assert pushee.blobs == {BLOB.digest: LARGE}


@pytest.mark.parametrize("damaged", [0, HALF + 5])
def test_a_source_of_other_bytes_finishes_nothing(damaged: int) -> None:
    """Also where the damage is in what the registry has and nothing sends again."""
    pushee, record = left_behind()
    data = LARGE[:damaged] + b"?" + LARGE[damaged + 1 :]
    with pushing(pushee, uploads=record) as (repository, server):
        with pytest.raises(DigestMismatch, match="the source"):
            repository.push_blob(BLOB, Source(data), check=False)
    assert "PUT" not in steps(server)
    assert (pushee.sessions, record.targets) == ({}, [])


@pytest.mark.parametrize(
    "target",
    [
        "",
        "x",
        "s0",
        "http://evil.test/s0",
        "//evil.test/s0",
        "@evil.test/",
        "/a b",
        "/a\r\nX: y",
        "/\x00",
        "/" + "x" * 20_000,
    ],
)
def test_what_a_record_says_leads_nowhere_else(target: str) -> None:
    pushee, record = left_behind()
    record.targets = [target]
    with pushing(pushee, uploads=record) as (repository, server):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert begun_anew(steps(server)), steps(server)
    assert all(seen.path.startswith("/") and seen.header("X") is None for seen in server.requests)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize("status", [404, 500])
def test_the_location_is_told_to_nobody(status: int, everything_logged: pytest.LogCaptureFixture) -> None:
    pushee, record = left_behind()
    pushee.fault = always("GET", status, b'{"errors":[{"code":"X","message":"of /v2/x/uploads/s0?_state=7%3D"}]}')
    with pushing(pushee, uploads=record) as (repository, _):
        repository.push_blob(BLOB, Source(LARGE), check=False)
    assert "can't go on" in everything_logged.text
    assert "_state" not in everything_logged.text


def test_the_location_is_in_no_repr() -> None:
    base = Url("http", "h", 80, "/v2/x/blobs/uploads/")
    session = Session(base, UploadPlace("http://h:80", "x", BLOB.digest), BLOB.size, Record(f"/s0?{SECRET}"))
    session.take_up()
    assert session.earlier and session.location is not None
    assert SECRET not in repr(session)
