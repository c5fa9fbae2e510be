"""How `bundle.yaml` declares names of its own, and which names those may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airbundle.bundle.fields import AnyScalar, Field, MapOf, Record, Text
from airbundle.bundle.own_names import VALUE_LIMIT, OwnName, make_own_name
from airbundle.bundle.reading import Values
from airbundle.bundle.template import PLACEHOLDERS
from airbundle.errors import UsageError


def _refuse_reserved(name: str) -> None:
    if name in PLACEHOLDERS:
        raise UsageError(
            f"site.{name} is known to every bundle",
            hint="take another name; what it stands for has a field of its own in the site file",
        )


OWN_NAME = Text(
    "a name: a letter, then letters, digits, '_' and '-', at most 63, such as turn_address",
    r"[A-Za-z][A-Za-z0-9_-]{0,62}",
    check=_refuse_reserved,
    limit=63,
)
OWN_NAMES = MapOf(
    OWN_NAME,
    Record(
        "a name of the site",
        {
            "default": Field(AnyScalar(VALUE_LIMIT), "What it stands for where the site says nothing"),
            "example": Field(
                AnyScalar(VALUE_LIMIT), "What it could stand for; the site must tell, and scans fill it in"
            ),
            "description": Field(Text("text of one line", r"[^\n\r\x00]+", limit=500), "What it is, for operators"),
        },
        one_of=("default", "example"),
    ),
)


def read_own_names(found: Mapping[str, Any]) -> tuple[OwnName, ...]:
    """Turn read records (`OWN_NAMES`) into names."""
    return tuple(make_own_name(name, values.body) for name, values in found.items() if isinstance(values, Values))
