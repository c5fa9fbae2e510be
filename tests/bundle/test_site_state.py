"""The state of a site, carried back: what is not as `status --json` writes it is refused, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.site_state import STATE_LIMIT, SiteState, parse_site_state
from airbundle.bundle.statement import Base
from airbundle.errors import DocumentError

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
TEXT: st.SearchStrategy[str] = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.isprintable)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
NUMBERS = st.integers(0, (1 << 53) - 1)
BASES = st.builds(Base, TEXT, TEXT, NUMBERS, DIGESTS)
SIZES = st.integers(0, 10**15 - 1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | DIGESTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


def document(bundles: Any = (), blobs: Any = (), **more: Any) -> bytes:
    body = {"apiVersion": "airbundle.dev/v1", "kind": "StatusResult", "errors": [], "healthy": True}
    return json.dumps({**body, "bundles": bundles, "blobs": blobs, **more}).encode()


def parse(raw: bytes) -> SiteState:
    return parse_site_state(raw, where="state.json")


def bundle(**changed: Any) -> dict[str, Any]:
    return {"name": "shop", "version": "1", "serial": 5, "statement": DIGEST, "images": 3, **changed}


@given(
    st.lists(BASES, max_size=4), st.dictionaries(DIGESTS, SIZES, max_size=5), st.dictionaries(TEXT, JSON, max_size=2)
)
def test_what_a_site_tells_is_read(bundles: list[Base], blobs: dict[str, int], more: dict[str, Any]) -> None:
    more = {f"x-{key}": value for key, value in more.items()}
    state = parse(document([base.to_json() for base in bundles], [list(pair) for pair in blobs.items()], **more))
    assert state.bundles == tuple(bundles)
    assert state.blobs == blobs


@given(JSON, JSON)
def test_anything_else_is_refused_and_nothing_worse(bundles: Any, blobs: Any) -> None:
    try:
        state = parse(document(bundles, blobs))
    except DocumentError:
        return
    assert len(state.bundles) == len(bundles)
    assert len(state.blobs) <= len(blobs)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_document(raw: bytes) -> None:
    with pytest.raises(DocumentError, match=r"state\.json"):
        parse(raw)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_document_that_was_damaged_on_its_way(position: int, junk: bytes) -> None:
    raw = document([bundle()], [[DIGEST, 5], [OTHER, 6]])
    position %= len(raw)
    try:
        state = parse(raw[:position] + junk + raw[position + len(junk) :])
    except DocumentError:
        return
    assert len(state.bundles) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b"{}",
        document(apiVersion="airbundle.dev/v2"),
        document(kind="Lock"),
        document(bundles=None),
        document(blobs={}),
        document([bundle(name="")]),
        document([bundle(name="x" * 256)]),
        document([bundle(name="\x1b[2J")]),
        document([bundle(version=7)]),
        document([bundle(serial=-1)]),
        document([bundle(serial=1 << 53)]),
        document([bundle(serial=True)]),
        document([bundle(serial=1.0)]),
        document([bundle(statement="sha256:../../x")]),
        document([bundle(statement=None)]),
        document(blobs=[[DIGEST]]),
        document(blobs=[[DIGEST, 1, 2]]),
        document(blobs=[[DIGEST, -1]]),
        document(blobs=[[DIGEST, 10**15]]),
        document(blobs=[[DIGEST, "1"]]),
        document(blobs=[[DIGEST, 1], [DIGEST, 2]]),
        document(blobs=[[5, 1]]),
        document(blobs=[[[DIGEST], 1]]),
        document(blobs=["sha256:"]),
        document(blobs=[0] * 1_000_001),
        document()[:-1] + b', "blobs": []}',
        b" " * (STATE_LIMIT + 1),
    ],
    ids=lambda raw: f"{len(raw)} bytes",
)
def test_other_forms_are_refused_with_what_was_found(raw: bytes) -> None:
    with pytest.raises(DocumentError, match=r"state\.json") as caught:
        parse(raw)
    assert "airbundle status --json" in caught.value.hint
    assert len(caught.value.findings) <= 20


def test_the_newest_bundle_of_the_name_is_the_base() -> None:
    bases = [Base("shop", "1", 5, DIGEST), Base("shop", "2", 7, OTHER), Base("other", "9", 99, DIGEST)]
    state = SiteState(tuple(bases), {})
    assert state.newest("shop") == bases[1]
    assert state.newest("unheard-of") == bases[2]
    assert SiteState((), {}).newest("shop") is None
