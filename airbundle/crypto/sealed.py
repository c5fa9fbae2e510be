"""Sealed files: bytes that only a passphrase opens, and in which no bit can be changed unnoticed (docs/support.md).

```
offset  size
     0    16   "airbundle-sealed"
    16     1   version: 1
    17     1   scrypt: binary logarithm of N
    18     1   scrypt: r
    19     1   scrypt: p
    20     4   zero
    24     8   size of the content in bytes, big-endian
    32    16   scrypt: salt
    48    12   nonce
    60     4   zero
    64    32   proof: HMAC-SHA256 under the second key over the 64 bytes before
    96     …   content and 16 bytes of tag: AES-256-GCM under the first key; the 96 bytes before are authenticated, too
  last    32   SHA-256 of all bytes before, in every version
```

scrypt (RFC 7914) of passphrase and salt gives 64 bytes: the first key, the second key. Three ways to fail are told
apart: the digest at the end finds damage before anybody is asked for a passphrase, the proof a wrong passphrase, the
tag a forgery. Who alters salt, costs or proof on purpose and corrects the digest makes the passphrase a wrong one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from airbundle.errors import HostError, UsageError, VerificationError

SEALED_LIMIT = 128 * 1024 * 1024
"""Most bytes of content: it is held in memory as a whole."""

COST = 17
"""Binary logarithm of scrypt's N: 128 MiB and about half a second for each guess (OWASP's figure)."""

_MAGIC = b"airbundle-sealed"
_VERSION = 1
_HEAD = struct.Struct(">16s B B B B 4x Q 16s 12s 4x")
_PROOF_SIZE = _DIGEST_SIZE = 32
_TAG_SIZE = 16
_CONTENT = _HEAD.size + _PROOF_SIZE
_SMALLEST = _CONTENT + _TAG_SIZE + _DIGEST_SIZE
OVERHEAD = _SMALLEST
"""How many bytes a sealed file has more than its content."""

_BLOCK, _PARALLEL = 8, 1
_MEMORY_LIMIT = 512 * 1024 * 1024
"""Most bytes that scrypt may take when a file is opened: a hostile one could ask for terabytes."""
_MOST_PARALLEL = 16


def seal(content: bytes, passphrase: bytes, *, cost: int = COST) -> bytes:
    """Return a sealed file.

    Args:
        content: at most `SEALED_LIMIT` bytes.
        passphrase: opens it.
        cost: binary logarithm of scrypt's N.

    Raises:
        UsageError: the passphrase is empty, or the content too long.
    """
    if not passphrase:
        raise UsageError("an empty passphrase protects nothing", hint="give one of 12 characters or more")
    if len(content) > SEALED_LIMIT:
        raise UsageError(f"{len(content)} bytes are more than the {SEALED_LIMIT} that can be sealed")
    salt, nonce = os.urandom(16), os.urandom(12)
    head = _HEAD.pack(_MAGIC, _VERSION, cost, _BLOCK, _PARALLEL, len(content), salt, nonce)
    key, second = _keys(passphrase, salt, cost, _BLOCK, _PARALLEL)
    head += _proof(second, head)
    body = head + AESGCM(key).encrypt(nonce, content, head)
    return body + hashlib.sha256(body).digest()


def check_sealed(data: bytes, *, what: str) -> None:
    """Check all that can be checked without the passphrase.

    Args:
        data: the file.
        what: its name, for errors.

    Raises:
        VerificationError: it is none, cut off, or damaged.
        UsageError: a newer airbundle wrote it.
    """
    if data[: len(_MAGIC)] != _MAGIC:
        raise VerificationError(f"{what}: is no sealed file of airbundle's, or its beginning is damaged")
    if len(data) < _SMALLEST or hashlib.sha256(data[:-_DIGEST_SIZE]).digest() != data[-_DIGEST_SIZE:]:
        raise VerificationError(
            f"{what}: is damaged or cut off: its bytes do not have the digest at its end",
            hint="fetch it again from where it is kept, or use another one",
        )
    if data[16] > _VERSION:
        raise UsageError(
            f"{what}: has version {data[16]}, expected {_VERSION} at most", hint="open it with a newer airbundle"
        )
    _read_head(data, what)


def unseal(data: bytes, passphrase: bytes, *, what: str) -> bytes:
    """Return the content of a sealed file.

    Args:
        data: the file.
        passphrase: that it was sealed with.
        what: its name, for errors.

    Raises:
        VerificationError: it is none, cut off, damaged, or forged.
        UsageError: the passphrase is wrong; a newer airbundle wrote it.
        HostError: the host lacks the memory for scrypt.
    """
    check_sealed(data, what=what)
    cost, block, parallel, salt, nonce = _read_head(data, what)
    key, second = _keys(passphrase, salt, cost, block, parallel)
    head = data[:_CONTENT]
    if not hmac.compare_digest(_proof(second, head[: _HEAD.size]), head[_HEAD.size :]):
        raise UsageError(f"{what}: the passphrase does not open it", hint="it is the one that it was sealed with")
    try:
        return AESGCM(key).decrypt(nonce, data[_CONTENT:-_DIGEST_SIZE], head)
    except InvalidTag:
        raise VerificationError(f"{what}: its content is not what was sealed") from None


def _read_head(data: bytes, what: str) -> tuple[int, int, int, bytes, bytes]:
    """Return scrypt's costs (binary logarithm of N, r, p), salt and nonce."""
    _, version, cost, block, parallel, size, salt, nonce = _HEAD.unpack_from(data)
    zeros = data[20:24] + data[60:64]
    within = 0 < cost < 32 and block and 128 * block << cost <= _MEMORY_LIMIT and 0 < parallel <= _MOST_PARALLEL
    if version != _VERSION or any(zeros) or not within or size != len(data) - OVERHEAD or size > SEALED_LIMIT:
        raise VerificationError(f"{what}: its head says what no sealed file says")
    return cost, block, parallel, salt, nonce


def _keys(passphrase: bytes, salt: bytes, cost: int, block: int, parallel: int) -> tuple[bytes, bytes]:
    try:
        made = Scrypt(salt=salt, length=64, n=1 << cost, r=block, p=parallel).derive(passphrase)
    except MemoryError:
        raise HostError(
            f"the passphrase's key takes {128 * block << cost >> 20} MiB of memory, which this host does not give",
            hint="end what needs memory, or use another host",
        ) from None
    return made[:32], made[32:]


def _proof(key: bytes, head: bytes) -> bytes:
    return hmac.digest(key, head, "sha256")
