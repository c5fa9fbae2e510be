"""Manifests from outside: read as they are meant, or refused with a reason; never anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.oci import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, parse_manifest
from airbundle.errors import VerificationError
from tests.bundle.documents import DIGEST

BLOB = {"mediaType": "application/x", "digest": DIGEST, "size": 3}
IMAGE: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": BLOB, "layers": [BLOB]}
INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [BLOB]}


def refusal(body: Any, media_type: str = "") -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(VerificationError) as caught:
        parse_manifest(raw, media_type, what="h.example/x")
    assert caught.value.problem.startswith("h.example/x: ")
    return caught.value.problem


def test_a_manifest_and_an_index() -> None:
    image = parse_manifest(json.dumps(IMAGE).encode(), what="x")
    assert image.blobs == (Descriptor("application/x", DIGEST, 3),) * 2
    assert parse_manifest(json.dumps(INDEX).encode(), OCI_INDEX, what="x").is_index


def test_absurd_numbers_are_refused_before_they_are_converted() -> None:
    assert parse_manifest(json.dumps({**IMAGE, "x": 10**99}).encode(), what="x").blobs
    assert "not JSON: 10000000000000000000… is no JSON value" in refusal({**IMAGE, "x": 10**100})


def test_helm_manifests_have_no_media_type_of_their_own() -> None:
    body = {key: value for key, value in IMAGE.items() if key != "mediaType"}
    assert parse_manifest(json.dumps(body).encode(), DOCKER_MANIFEST, what="x").media_type == DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotations": ["x"]}, "annotations"),
        ({"annotations": 5}, "annotations"),
        ({"annotations": {"x": 5}}, "annotations"),
        ({"artifactType": ["x"]}, "artifactType"),
        ({"mediaType": ["x"]}, "mediaType"),
        ({"config": None}, "config"),
        ({"schemaVersion": 3}, "schemaVersion"),
        ({"schemaVersion": "2"}, "schemaVersion"),
        ({"schemaVersion": 2.5}, "schemaVersion"),
        ({"schemaVersion": 1}, "schema 1"),
        ({"manifests": []}, "CVE-2021-41190"),
        ({"layers": {}}, "layers is a list"),
        ({"layers": [{**BLOB, "size": True}]}, "size"),
        ({"layers": [{**BLOB, "artifactType": 5}]}, "artifactType"),
    ],
)
def test_fields_that_are_not_as_they_must_be(change: dict[str, Any], words: str) -> None:
    assert words in refusal({**IMAGE, **change})


def test_a_manifest_without_a_config_is_refused_before_a_registry_does() -> None:
    assert "config" in refusal({key: value for key, value in IMAGE.items() if key != "config"})


@pytest.mark.parametrize("raw", [b'{"schemaVersion": NaN}', b'{"a": Infinity}', b'{"a": 1, "a": 2}', b"\xff", b""])
def test_what_only_some_parsers_take_is_refused(raw: bytes) -> None:
    assert "not JSON" in refusal(raw) or "twice" in refusal(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "artifactType", "annotations"]
    + [f"{outer}.{field}" for outer in ("config", "layers.0") for field in (*BLOB, "annotations", "platform", "urls")]
)


@given(places, json_values)
def test_any_value_anywhere_is_read_or_refused(place: str, value: object) -> None:
    body: Any = json.loads(json.dumps(IMAGE))
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = body
    for part in way:
        inner = inner[part]
    inner[last] = value
    try:
        parse_manifest(json.dumps(body).encode(), what="x")
    except VerificationError as error:
        assert error.problem.startswith("x: ")
