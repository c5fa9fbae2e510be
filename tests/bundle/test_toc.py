from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.oci import canonical_json
from airbundle.bundle.toc import Toc, parse_toc
from airbundle.errors import VerificationError

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
BLOBS = st.lists(st.tuples(DIGESTS, st.integers(0, 10**15 - 1)), unique_by=lambda blob: blob[0], max_size=20)


@st.composite
def tocs(draw: st.DrawFn) -> Toc:
    blobs = draw(BLOBS)
    cut = draw(st.integers(0, len(blobs)))
    return Toc(tuple(blobs[:cut]), draw(st.integers(0, cut)), tuple(blobs[cut:]))


@given(tocs())
def test_a_toc_survives_its_bytes(toc: Toc) -> None:
    assert parse_toc(toc.to_bytes()) == toc


@given(tocs())
def test_its_bytes_are_canonical_json(toc: Toc) -> None:
    raw = toc.to_bytes()
    body = json.loads(raw)
    assert canonical_json(body) == raw
    assert body["blobs"] == [[digest[7:], size] for digest, size in toc.blobs]
    assert (body["kind"], body["metadata"]) == ("Toc", toc.metadata)


@given(tocs(), st.data())
def test_altered_bytes_are_another_toc_or_none(toc: Toc, data: st.DataObject) -> None:
    raw = bytearray(toc.to_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert parse_toc(bytes(raw)) != toc
    except VerificationError:
        pass


@given(st.binary(max_size=200))
def test_noise_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_toc(raw)


GOOD = Toc((("sha256:" + "a" * 64, 1), ("sha256:" + "b" * 64, 2)), 1).to_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"metadata":1', b'"metadata":3'),
        (b'"metadata":1', b'"metadata":01'),
        (b'"metadata":1', b'"metadata":-1'),
        (b'"metadata":1', b'"metadata":1,"x":1'),
        (b",2]", b",02]"),
        (b",2]", b",-2]"),
        (b",2]", b",2.0]"),
        (b",2]", b",1000000000000000]"),
        (b",2]", b", 2]"),
        (b"a" * 64, b"A" * 64),
        (b"a" * 64, b"a" * 63),
        (b"b" * 64, b"a" * 64),
        (b"airbundle.dev/v1", b"airbundle.dev/v2"),
        (b'"external":[]', b'"external":[],"external":[]'),
        (b'"external":[]', b'"external":[["' + b"b" * 64 + b'",2]]'),
        (b'],["', b']["'),
        (b'],["', b'],,["'),
    ],
)
def test_other_forms_are_refused(old: bytes, new: bytes) -> None:
    assert old in GOOD
    with pytest.raises(VerificationError, match=r"airbundle/toc\.json"):
        parse_toc(GOOD.replace(old, new, 1))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(VerificationError):
        parse_toc(GOOD + b"\n")
