"""Digests: checked by grammar before they become a path or a URL (OCI image spec, descriptor.md; CVE-2024-3727)."""

from __future__ import annotations

import hashlib
import re

from airbundle.errors import DigestMismatch, VerificationError

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: object) -> bool:
    """Tell whether `text` is a digest in the form `sha256:<64 lower-case hex>`."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def parse_digest(text: object, *, what: str = "digest") -> str:
    """Return `text` when it is a sha256 digest.

    Args:
        text: what should be a digest; anything from outside.
        what: the thing it belongs to, for the error.

    Raises:
        VerificationError: it isn't one, or is of another algorithm.
    """
    if isinstance(text, str) and _SHA256.fullmatch(text):
        return text
    shown = repr(text)[:100]
    raise VerificationError(f"{what}: {shown} is no digest; expected sha256:<64 lower-case hex digits>")


def hex_of(digest: str) -> str:
    """Return the 64 hex digits of a digest."""
    return digest[7:]


def sha256(data: bytes | bytearray | memoryview) -> str:
    """Return the digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check(data: bytes, digest: str, *, what: str, size: int | None = None) -> None:
    """Check that `data` has `digest` (and `size` in bytes, if given).

    Raises:
        DigestMismatch: it hasn't; names `what`, found and expected.
    """
    if size is not None and len(data) != size:
        raise DigestMismatch(f"{what}: found {len(data)} bytes, expected {size}")
    found = sha256(data)
    if found != digest:
        raise DigestMismatch(f"{what}: found digest {found}, expected {digest}")
