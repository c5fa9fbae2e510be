"""Secrets out of two states of an object at once, so that it still shows which of them changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airbundle.bundle.redaction import HIDDEN, is_secret_name, redact_text, redact_value

CHANGED = f"{HIDDEN} (changed)"
_MISSING = object()
_DATA = frozenset({"data", "stringData"})
_REFERENCE = re.compile(r"(?i)(?:name|ref|reference|kind|type|class|policy|mode|version|provider|issuer|namespace)s?$")
"""Fields whose names speak of a secret, and which hold none: `secretName`, `passwordSecretRef`."""
_DEPTH = 60


def hide_both(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two states of an object without their secrets; one that changes is `… (changed)` in the second.

    Args:
        old, new: the object, as JSON has it; an empty one for one that isn't there.
    """
    return _hide_object(old, new, False), _hide_object(new, old, True)


def _hide_object(body: Mapping[str, Any], other: Mapping[str, Any], mark: bool) -> dict[str, Any]:
    secret = body.get("kind") == "Secret"
    return {
        name: _hide(value, other.get(name, _MISSING), mark, secret and name in _DATA) for name, value in body.items()
    }


def _hide(value: Any, other: Any, mark: bool, secret: bool, depth: int = 0) -> Any:
    """Return a value without secrets.

    Args:
        value, other: it, and what stands in its place in the other state.
        mark: say where the other one is another secret.
        secret: all of it is.
    """
    if depth > _DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        others = other if isinstance(other, Mapping) else {}
        # Variables: {name: PASSWORD, value: …}.
        named = is_secret_name(str(value.get("name"))) and "value" in value
        return {
            name: _hide(
                each,
                others.get(name, _MISSING),
                mark,
                secret or _is_secret(str(name), each) or (named and name == "value"),
                depth + 1,
            )
            for name, each in value.items()
        }
    if isinstance(value, list):
        listed = other if isinstance(other, list) else []
        flags = [each == HIDDEN != own for each, own in zip(redact_value(value), value)]  # what follows `--password`
        return [
            _hide(each, listed[number] if number < len(listed) else _MISSING, mark, secret or flags[number], depth + 1)
            for number, each in enumerate(value)
        ]
    shown = _shown(value, secret)
    if mark and other is not _MISSING and value not in (shown, other) and shown == _shown(other, secret):
        return CHANGED if shown == HIDDEN else f"{shown}\n{CHANGED}"
    return shown


def _is_secret(name: str, value: Any) -> bool:
    """Tell whether a field holds a secret itself, and does not only name one or lead to one."""
    return not isinstance(value, Mapping) and is_secret_name(name) and not _REFERENCE.search(name)


def _shown(value: Any, secret: bool) -> Any:
    if secret and not isinstance(value, bool) and value not in (None, ""):
        return HIDDEN
    return redact_text(value) if isinstance(value, str) else value
