"""Where the values of a site's Secrets come from, and what such a Secret looks like. Nothing here is ever logged."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.bundle.site import SiteSecret
from airbundle.deploy.dig import mapping, text
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.trust import MANAGED, MANAGER

MADE = "airbundle.dev/site-secret"
"""Label of a Secret that was made from a site file: data that lies in volumes may need what it holds."""
LENGTH = 32
"""Characters of a random value: 190 bits."""
VALUE_LIMIT = 1 << 20
"""Most bytes of a value; the API takes 1 MiB for a whole Secret."""
_ALPHABET = string.ascii_letters + string.digits  # passes through URLs, shells and YAML as it is


@dataclass(frozen=True)
class Source:
    """Where a value comes from: `random`, `prompt`, `env` or `file`, with length, name or path."""

    kind: str
    argument: str = ""


def parse_source(written: str) -> Source:
    """Read what a site file says of a key; it was validated when the file was read."""
    kind, _, argument = written.partition(":")
    return Source(kind, argument)


def random_value(source: Source) -> bytes:
    """Return a new value of letters and digits."""
    length = int(source.argument or LENGTH)
    return "".join(secrets.choice(_ALPHABET) for _ in range(length)).encode()


def secret_key(secret: SiteSecret) -> ObjectKey:
    """Return what names a Secret in the cluster."""
    return ObjectKey("v1", "Secret", secret.namespace, secret.name)


def missing_keys(secret: SiteSecret, live: Mapping[str, Any] | None) -> list[str]:
    """Return the keys that a Secret of the cluster lacks; one that is there counts, whatever its value."""
    there = mapping(live, "data")
    return [key for key in secret.keys if key not in there]


def new_secret(secret: SiteSecret, values: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the Secret to create."""
    metadata = {"name": secret.name, "namespace": secret.namespace, "labels": {MANAGED: MANAGER, MADE: "true"}}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": _coded(values)}


def with_values(live: Mapping[str, Any], values: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a Secret of the cluster with further keys; those it has stay as they are."""
    return {**live, "data": {**_coded(values), **mapping(live, "data")}}


def is_made(live: Mapping[str, Any]) -> bool:
    """Tell whether a Secret of the cluster was made from a site file."""
    return live.get("kind") == "Secret" and text(live, "metadata", "labels", MADE) == "true"


def told_keys(secret: SiteSecret, keys: Sequence[str]) -> str:
    """Return what a plan tells of new keys: their names and where the values come from, as the lines of a diff."""
    return "".join(f"+  {key}: <{parse_source(secret.keys[key]).kind}>\n" for key in keys)


def _coded(values: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in values.items()}
