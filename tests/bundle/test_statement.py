from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.statement import (
    SIGNATURES_SIZE,
    STATEMENT_LIMIT,
    Base,
    Contents,
    Statement,
    decode_signatures,
    encode_signatures,
    parse_statement,
    parse_time,
)
from airbundle.errors import VerificationError

DIGEST = "sha256:" + "ab" * 32
SUBJECTS = {
    "index.json": (DIGEST, 1),
    "airbundle/lock.json": (DIGEST, 2),
    "airbundle/toc.json": (DIGEST, 3),
}
CONTENTS = Contents(size=70_000, blobs=4)
STATEMENT = Statement(
    "messenger", "1.4.0", 1767225600, "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z", SUBJECTS, CONTENTS
)

TEXT: st.SearchStrategy[str] = st.text(st.characters(codec="utf-8"), max_size=30).filter(
    lambda text: text.isprintable()
)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
NUMBERS = st.integers(0, (1 << 53) - 1)
TIMES = st.datetimes().map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"))
SUBJECT = st.tuples(DIGESTS, NUMBERS)


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    subjects = {name: draw(SUBJECT) for name in SUBJECTS}
    if draw(st.booleans()):
        subjects["installer"] = draw(SUBJECT)
    by_statement = st.builds(Base, TEXT, TEXT, NUMBERS, DIGESTS)
    by_lock = st.builds(Base, TEXT, TEXT, NUMBERS, st.just(""), DIGESTS)
    base = draw(st.none() | by_statement | by_lock)
    contents = draw(st.builds(Contents, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
    expires = draw(TIMES | st.just(""))
    allowed = tuple(sorted(draw(st.sets(TEXT, max_size=3))))
    return Statement(draw(TEXT), draw(TEXT), draw(NUMBERS), draw(TIMES), expires, subjects, contents, base, allowed)


@given(statements())
def test_a_statement_survives_its_bytes(statement: Statement) -> None:
    raw = statement.to_bytes()
    assert parse_statement(raw) == statement
    assert parse_statement(raw).raw == raw


def test_it_is_an_in_toto_statement() -> None:
    body = json.loads(STATEMENT.to_bytes())
    assert body["_type"] == "https://in-toto.io/Statement/v1"
    assert body["predicateType"] == "https://airbundle.dev/bundle/v1"
    assert body["subject"][0] == {
        "name": "airbundle/lock.json",
        "digest": {"sha256": "ab" * 32},
        "annotations": {"size": 2},
    }
    assert [subject["name"] for subject in body["subject"]] == sorted(SUBJECTS)


@given(statements(), st.data())
def test_altered_bytes_are_another_statement_or_none(statement: Statement, data: st.DataObject) -> None:
    raw = bytearray(statement.to_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert parse_statement(bytes(raw)) != statement
    except VerificationError:
        pass


def altered(**changes: Any) -> bytes:
    body = json.loads(STATEMENT.to_bytes())
    for path, value in changes.items():
        target = body
        *parents, last = path.split("__")
        for key in parents:
            target = target[int(key) if key.isdigit() else key]
        target[int(last) if last.isdigit() else last] = value
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        STATEMENT.to_bytes() + b" ",
        STATEMENT.to_bytes()[:-1],
        STATEMENT.to_bytes().replace(b'"name": "messenger"', b'"name": "messenger",\n  "name": "messenger"'),
        altered(_type="https://in-toto.io/Statement/v0.1"),
        altered(predicateType="https://airbundle.dev/bundle/v2"),
        altered(predicate=[]),
        altered(predicate__name=1),
        altered(predicate__name="x" * 256),
        altered(predicate__name="\x1b[2J"),
        STATEMENT.to_bytes().replace(b"messenger", b"\\ud800"),
        altered(predicate__created="٢٠٢٦-01-01T00:00:00Z"),
        altered(predicate__serial=-1),
        altered(predicate__serial=1.5),
        altered(predicate__serial=True),
        altered(predicate__serial=1 << 53),
        altered(predicate__created="yesterday"),
        altered(predicate__created="2026-13-01T00:00:00Z"),
        altered(predicate__expires="2026-01-01"),
        altered(predicate__more="x"),
        altered(predicate__contents={"size": 70_000, "blobs": 4}),
        altered(predicate__contents__size=-1),
        altered(predicate__contents__blobs="4"),
        altered(predicate__contents__more=1),
        altered(predicate__allowedMissing="x"),
        altered(predicate__allowedMissing=["b", "a"]),
        altered(predicate__allowedMissing=["a", "a"]),
        altered(predicate__allowedMissing=[1]),
        altered(predicate__allowedMissing=[f"{number:03}" for number in range(101)]),
        altered(predicate__base={"name": "x"}),
        altered(predicate__base=7),
        altered(predicate__base={"name": "x", "version": "1", "serial": 1}),
        altered(predicate__base={"name": "x", "version": "1", "serial": 1, "lock": "sha256:0"}),
        altered(predicate__base={"name": "x", "version": "1", "serial": 1, "lock": DIGEST, "statement": DIGEST}),
        altered(subject={}),
        altered(subject=[]),
        altered(subject__0="x"),
        altered(subject__0__name="manifest.json"),
        altered(subject__0__digest__sha256="../../etc/passwd"),
        altered(subject__0__digest__sha512="ab"),
        altered(subject__0__annotations__size="2"),
        altered(subject__0__annotations={}),
    ],
    ids=lambda raw: f"{len(raw)} bytes",
)
def test_other_forms_are_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError, match=r"airbundle/statement\.json"):
        parse_statement(raw)


def test_a_subject_too_many_is_refused() -> None:
    body = json.loads(STATEMENT.to_bytes())
    body["subject"].append({"name": "extra", "digest": {"sha256": "ab" * 32}, "annotations": {"size": 2}})
    with pytest.raises(VerificationError, match="subjects"):
        parse_statement((json.dumps(body, indent=1, sort_keys=True) + "\n").encode())


def test_a_statement_is_bounded() -> None:
    with pytest.raises(VerificationError, match="more than"):
        parse_statement(b" " * (STATEMENT_LIMIT + 1))


def test_a_newer_format_says_so() -> None:
    with pytest.raises(VerificationError) as caught:
        parse_statement(altered(predicateType="https://airbundle.dev/bundle/v2"))
    assert "newer" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01 00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:00+00:00",
        "0000-01-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:59:60Z",
        "٢٠٢٦-01-01T00:00:00Z",
    ],
)
def test_times_have_one_form(text: str) -> None:
    with pytest.raises(VerificationError, match="no time"):
        parse_time(text)


def test_never_expires() -> None:
    assert STATEMENT.expiry is not None
    assert parse_statement(altered(predicate__expires="")).expiry is None


SIGNATURES = st.lists(st.tuples(DIGESTS, st.binary(min_size=6, max_size=80)), max_size=6, unique=True)


@given(SIGNATURES)
def test_signatures_survive_their_member(signatures: list[tuple[str, bytes]]) -> None:
    member = encode_signatures(signatures)
    assert len(member) == SIGNATURES_SIZE
    assert decode_signatures(member) == sorted(signatures)
    assert encode_signatures(reversed(signatures)) == member


@given(SIGNATURES, st.data())
def test_altered_signatures_are_others_or_none(signatures: list[tuple[str, bytes]], data: st.DataObject) -> None:
    raw = bytearray(encode_signatures(signatures))
    used = len(bytes(raw).rstrip(b"\0"))
    raw[data.draw(st.integers(0, min(used + 10, SIGNATURES_SIZE - 1)))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert decode_signatures(bytes(raw)) != sorted(signatures)
    except VerificationError:
        pass


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"sha256:" + b"ab" * 32 + b" AAAA",
        b"sha256:" + b"ab" * 32 + b" AAA\n",
        b"sha256:" + b"ab" * 32 + b" AAAB==\n",
        b"sha256:" + b"ab" * 32 + b"  AAAA\n",
        b"sha256:" + b"AB" * 32 + b" AAAA\n",
        b"sha256:" + b"ab" * 32 + b" AAAA\r\n",
        b"sha256:" + b"ab" * 32 + b" AAAA\n\n",
        b"sha256:" + b"bb" * 32 + b" AAAA\nsha256:" + b"ab" * 32 + b" AAAA\n",
        2 * (b"sha256:" + b"bb" * 32 + b" AAAA\n"),
    ],
)
def test_signatures_have_one_form(text: bytes) -> None:
    with pytest.raises(VerificationError, match="airbundle/signatures"):
        decode_signatures(text.ljust(SIGNATURES_SIZE, b"\0"))


def test_signatures_have_one_size() -> None:
    with pytest.raises(VerificationError):
        decode_signatures(b"")
    with pytest.raises(VerificationError):
        decode_signatures(bytes(SIGNATURES_SIZE + 1))


def test_too_many_signatures_are_refused() -> None:
    with pytest.raises(VerificationError, match="do not fit"):
        encode_signatures((f"sha256:{number:064x}", b"x" * 70) for number in range(1000))
