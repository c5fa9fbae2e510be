"""A glance at a lock: what `inspect` shows of 10,000 entries, without an object for each and its parts.

What has another form than a lock's is left out. Whoever acts on a lock reads it whole (`lock_reader`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from airbundle.bundle.lock import LOCK_LIMIT
from airbundle.bundle.oci import parse_json
from airbundle.bundle.own_names import OwnName, parse_own_name


class LockGlance:
    """A lock's entries as they stand in its JSON.

    Args:
        raw: its bytes, bound by a statement.
        where: its name, for errors.

    Raises:
        VerificationError: it is no JSON.
    """

    def __init__(self, raw: bytes, where: str) -> None:
        body = _mapping(parse_json(raw, what=where, limit=LOCK_LIMIT))
        self.installer_version = _text(_mapping(body.get("installer")).get("version"))
        self._body = body

    @cached_property
    def _roots(self) -> dict[tuple[str, str], dict[str, Any]]:
        roots = [root for root in _list(self._body.get("roots")) if isinstance(root, dict)]
        return {(_text(root.get("kind")), _text(root.get("ref"))): root for root in roots}

    @property
    def site(self) -> list[OwnName]:
        """The names of its own that the bundle asks of each site."""
        found = (parse_own_name(name, body) for name, body in _mapping(self._body.get("site")).items())
        return [each for each in found if each is not None]

    def __contains__(self, root: tuple[str, str]) -> bool:
        """Tell whether it has an entry of this kind and name."""
        return root in self._roots

    def origin(self, root: tuple[str, str]) -> str:
        """Return where the bytes of (kind, name) come from."""
        return _text(self._roots[root].get("origin"))

    def info(self, root: tuple[str, str]) -> dict[str, str]:
        """Return the facts for people about (kind, name)."""
        return {key: _text(value) for key, value in _mapping(self._roots[root].get("info")).items()}

    def platforms(self, root: tuple[str, str]) -> list[str]:
        """Return what is carried of an index, or what was asked for; nothing of a root that has no entry."""
        body = self._roots.get(root, {})
        carried = _carried(_list(body["children"])) if "children" in body else []
        if carried or "platforms" not in body:
            return carried
        return list(map(_text, _list(body["platforms"])))


def _carried(children: list[Any]) -> list[str]:
    platforms = [_mapping(_mapping(child).get("platform")) for child in children]
    told = [_platform(platform) for platform in platforms if platform and platform.get("os") != "unknown"]
    return list(dict.fromkeys(told))


def _platform(body: Mapping[str, Any]) -> str:
    parts = (_text(body.get(name)) for name in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if part)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
