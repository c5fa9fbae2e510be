"""Names at the site: where each root of a bundle lies at the private registry (design §5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airbundle.bundle.digest import is_digest
from airbundle.bundle.reference import site_repository
from airbundle.errors import UsageError, VerificationError

SERVED_ONLY = frozenset({"clamav", "file", "ca", "tool", "release"})
"""Kinds that no registry client asks for: the server offers them under paths of their own."""

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST = 255


@dataclass(frozen=True)
class SiteName:
    """Where a root lies at the private registry; without a tag it is known by its digest or its subject."""

    repository: str
    tag: str = ""


def site_name(ref: str, prefix: str = "") -> SiteName:
    """Map a name in the bundle to the private registry.

    Args:
        ref: `host[:port]/path[:tag][@digest]`, or `local/NAME:VERSION` for local charts; its normal form.
        prefix: what repositories at the registry begin with.

    Raises:
        VerificationError: `ref` gives no legal repository or tag.
    """
    name, _, digest = ref.partition("@")
    slash, colon = name.rfind("/"), name.rfind(":")
    tag = ""
    if colon > slash:
        # A version's `+` is no character of a tag; helm writes `_`.
        name, tag = name[:colon], name[colon + 1 :].replace("+", "_")
    repository = site_repository(name, prefix)
    legal = (
        "/" in name
        and len(repository) <= _LONGEST
        and _REPOSITORY.fullmatch(repository)
        and (not tag or _TAG.fullmatch(tag))
        and (not digest or is_digest(digest))
    )
    if not legal:
        raise VerificationError(f"{ref!r} in the bundle's index.json gives no legal name at a registry")
    return SiteName(repository, tag)


def check_prefix(prefix: str) -> str:
    """Return `prefix` without outer slashes.

    Raises:
        UsageError: repositories can't begin with it.
    """
    prefix = prefix.strip("/")
    if prefix and not _REPOSITORY.fullmatch(prefix):
        raise UsageError(
            f"--prefix {prefix!r}: repositories can't begin with it",
            hint="use lower-case letters and digits, joined by '.', '_', '-' and '/'",
        )
    return prefix
