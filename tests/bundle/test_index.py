from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.index import (
    encode_index,
    kind_of,
    make_root,
    parse_index,
    read_roots,
    ref_of,
    root_order,
    total_of,
)
from airbundle.bundle.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, canonical_json
from airbundle.errors import VerificationError

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
TEXT: st.SearchStrategy[str] = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda text: text.isprintable()
)
ROOTS = st.lists(
    st.builds(
        make_root,
        st.sampled_from(["image", "chart", "file", "signature", "referrer"]),
        TEXT,
        st.builds(Descriptor, st.sampled_from([OCI_MANIFEST, OCI_INDEX]), DIGESTS, st.integers(0, 1 << 50)),
        st.integers(0, 10**18),
        st.text("abc/", max_size=5),
    ),
    unique_by=lambda root: (kind_of(root), ref_of(root)),
    max_size=8,
)
ROOT = make_root("image", "docker.io/library/redis:7", Descriptor(OCI_MANIFEST, "sha256:" + "a" * 64, 5), 99)


@given(ROOTS)
def test_an_index_survives_its_bytes(roots: list[Descriptor]) -> None:
    raw = encode_index(roots)
    found = parse_index(raw)
    assert [root.to_json() for root in found] == [root.to_json() for root in roots]
    assert encode_index(found) == raw == canonical_json(json.loads(raw))


@given(ROOTS)
def test_rows_say_what_descriptors_say(roots: list[Descriptor]) -> None:
    raw = encode_index(roots)
    told = [(kind_of(root), ref_of(root), total_of(root), root.digest, root.media_type, root.size) for root in roots]
    rows = read_roots(raw)
    assert [row[:-1] for row in rows] == told
    assert [row.artifact_type for row in rows] == [root.artifact_type for root in parse_index(raw)]


def test_a_root_tells_what_it_is() -> None:
    (root,) = parse_index(encode_index([ROOT]))
    assert (kind_of(root), ref_of(root), total_of(root)) == ("image", "docker.io/library/redis:7", 99)


def test_images_come_first_and_referrers_last() -> None:
    kinds = ["referrer", "tool", "signature", "image", "clamav", "chart"]
    ordered = sorted(kinds, key=lambda kind: root_order(kind, ""))
    assert ordered == ["image", "chart", "clamav", "tool", "signature", "referrer"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schemaVersion":2', '"schemaVersion":2,"x":1'),
        ('"schemaVersion":2', '"schemaVersion": 2'),
        ('"dev.airbundle.size":"99"', '"dev.airbundle.size":"099"'),
        ('"dev.airbundle.size":"99"', '"dev.airbundle.size":"-9"'),
        ('"dev.airbundle.size":"99"', '"dev.airbundle.size":"٣"'),
        ('"dev.airbundle.kind":"image"', '"dev.airbundle.kind":"chart"'),
        ('"dev.airbundle.kind":"image"', '"dev.airbundle.kind":""'),
        ('"dev.airbundle.kind":"image",', ""),
        ('"io.containerd.image.name":"docker.io', '"io.containerd.image.name":"evil.io'),
        (OCI_MANIFEST, "application/octet-stream"),
        ('"size":5', '"size":5,"urls":["https://evil"]'),
        ('"size":5', '"size":"5"'),
        ("a" * 64, "../x"),
        ('"dev.airbundle.kind":"image"', '"dev.airbundle.kind":"\\u001b[2J"'),
        ('"dev.airbundle.kind":"image"', '"dev.airbundle.kind":"\\ud800"'),
    ],
)
def test_other_forms_are_refused(old: str, new: str) -> None:
    raw = encode_index([ROOT])
    assert old.encode() in raw
    with pytest.raises(VerificationError, match=r"index\.json"):
        parse_index(raw.replace(old.encode(), new.encode(), 1))


@pytest.mark.parametrize("junk", [",", " ", "{}", "{},", "\n", "\x00", "x", '{"annotations":{', "]", "é"])
@pytest.mark.parametrize(
    "place", ['[{"annotations"', ',{"annotations"', '],"mediaType":"application/vnd.oci.image.index']
)
def test_nothing_stands_beside_the_roots(junk: str, place: str) -> None:
    other = make_root("chart", "x", Descriptor(OCI_MANIFEST, "sha256:" + "b" * 64, 5), 99, "a/b")
    raw = encode_index([ROOT, other])
    assert raw.count(place.encode()) == 1
    at = raw.index(place.encode()) + (not place.startswith("]"))
    with pytest.raises(VerificationError, match=r"expected a root as airbundle writes it|not the index of a bundle"):
        parse_index(raw[:at] + junk.encode() + raw[at:])


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"manifests":{}}', b'{"manifests":[1]}', b"[" * 99999],
    ids=lambda raw: f"{len(raw)} bytes",
)
def test_no_index_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError, match=r"index\.json"):
        parse_index(raw)


def test_a_root_that_stands_twice_is_refused() -> None:
    with pytest.raises(VerificationError, match="twice"):
        parse_index(encode_index([ROOT, ROOT]))
