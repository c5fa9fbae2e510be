"""Tests for airbundle.deploy.pins; what images are called is tested with installer.image_pins."""

from __future__ import annotations

import json

import pytest

from airbundle.deploy.pins import Pin, PinTable, parse_pins
from airbundle.errors import DocumentError

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TABLE = PinTable(
    "registry.shop.internal:5443",
    {"docker.io/library/a:1": Pin("docker.io/library/a", "1", ONE, TWO)},
    {"docker.io/library/a": frozenset({ONE, TWO})},
    ("docker.io/x/*",),
)


def test_a_table_that_was_written_is_read_the_same() -> None:
    assert parse_pins(TABLE.to_bytes(), where="pins.json") == TABLE


def test_equal_tables_are_equal_bytes() -> None:
    assert parse_pins(TABLE.to_bytes(), where="pins.json").to_bytes() == TABLE.to_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        b"",
        b"[]",
        {"kind": "Other"},
        {"apiVersion": "airbundle.dev/v9"},
        {"pins": {"a": ["b", "c"]}},
        {"pins": {"a": ["b", "c", ONE, "sha256:../../x"]}},
        {"manifests": {"a": ["no digest"]}},
        {"allowed": 1},
    ],
)
def test_what_is_no_table_is_refused(changed: bytes | dict[str, object]) -> None:
    raw = changed if isinstance(changed, bytes) else json.dumps({**json.loads(TABLE.to_bytes()), **changed}).encode()
    with pytest.raises(DocumentError, match=r"^pins\.json: "):
        parse_pins(raw, where="pins.json")
