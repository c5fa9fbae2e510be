"""The lock as a file: one form, and everything that is wrong with it is told at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.lock import Lock, LockedRoot, parse_lock
from airbundle.bundle.oci import OCI_MANIFEST, Descriptor
from airbundle.errors import DocumentError
from tests.bundle.documents import DIGEST

ROOT = LockedRoot("image", "h.example/x:1", "x:1", "registry", "h.example/x", Descriptor(OCI_MANIFEST, DIGEST, 7))
LOCK = Lock("m", "1", DIGEST, 5, "1970-01-01T00:00:05Z", "", (ROOT,), local={"values.yaml": DIGEST})


def refusal(body: Any) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parse_lock(json.dumps(body).encode())
    return caught.value


def test_what_is_written_is_what_is_read() -> None:
    assert parse_lock(LOCK.to_bytes()) == LOCK


def test_a_lock_without_digests_of_local_files_is_read() -> None:
    body = LOCK.to_json()
    del body["local"]
    assert parse_lock(json.dumps(body).encode()).local == {}


@pytest.mark.parametrize("serial", [None, "5", True, -1, 5.0, 10**30])
def test_a_serial_is_a_time(serial: object) -> None:
    assert "serial" in str(refusal({**LOCK.to_json(), "serial": serial}).findings[0])


def test_an_entry_that_stands_twice_is_refused() -> None:
    error = refusal({**LOCK.to_json(), "roots": [ROOT.to_json(), ROOT.to_json()]})
    assert "image h.example/x:1 twice" in str(error.findings[0])


def test_all_findings_are_told_at_once() -> None:
    part = {"name": "a.whl", "digest": DIGEST, "size": -1}
    body = {**LOCK.to_json(), "serial": "x", "local": {"a": "b"}, "installer": {"parts": [part]}}
    found = " ".join(str(finding) for finding in refusal(body).findings)
    assert all(word in found for word in ("serial", "local.a", "installer.parts[0]"))


def test_a_lock_of_another_version_of_airbundle_is_told_apart_from_a_damaged_one() -> None:
    error = refusal({**LOCK.to_json(), "apiVersion": "airbundle.dev/v2"})
    assert "another version of airbundle" in error.problem
    assert "airbundle.dev/v2" in str(error.findings[0])


def test_merge_marks_and_doubled_keys_are_refused() -> None:
    raw = LOCK.to_bytes()
    for damaged in (
        b"<<<<<<< HEAD\n" + raw,
        raw.replace(b'"serial": 5', b'"serial": 5,\n "serial": 6'),
        raw[:-9],
        b"",
    ):
        with pytest.raises(DocumentError) as caught:
            parse_lock(damaged)
        assert "airbundle lock" in caught.value.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([*LOCK.to_json(), "roots.0", "roots.0.descriptor", "roots.0.info", "metadata.name"]), json_values
)
def test_any_value_anywhere_is_read_or_refused(place: str, value: object) -> None:
    body: Any = json.loads(LOCK.to_bytes())
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner: Any = body
    for part in way:
        inner = inner[part]
    inner[last] = value
    try:
        lock = parse_lock(json.dumps(body).encode())
    except DocumentError:
        return
    assert parse_lock(lock.to_bytes()) == lock
