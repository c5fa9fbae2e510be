"""cosign.key: a PKCS#8 key in NaCl's secretbox under scrypt, as JSON in PEM.

Spec: go-securesystemslib `encrypted/encrypted.go`, used by sigstore's `cryptoutils`. Read only: the keys that
airbundle makes are PKCS#8, which openssl reads, too.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from airbundle.errors import UsageError

COSIGN_LABELS = frozenset({"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"})

_MEMORY_LIMIT = 512 * 1024 * 1024
"""Most bytes scrypt may take. cosign's own keys take 64 MiB (N 65536, r 8); a hostile file could ask for terabytes."""
_MOST_PARALLEL = 16
_KEY_SIZE, _NONCE_SIZE = 32, 24


@dataclass(frozen=True)
class _Envelope:
    cost: int
    block: int
    parallel: int
    salt: bytes
    nonce: bytes
    sealed: bytes


def open_cosign_key(body: bytes, passphrase: bytes, *, what: str) -> bytes:
    """Return the PKCS#8 DER inside a cosign key.

    Args:
        body: the bytes inside the PEM: JSON.
        passphrase: what cosign calls COSIGN_PASSWORD; may be empty.
        what: the file, for errors.

    Raises:
        UsageError: not the JSON that cosign writes, a wrong passphrase, damaged, or PyNaCl is missing.
    """
    envelope = _read(body, what)
    try:
        # Only the connected side signs, so this stays out of what the site needs.
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError:
        raise UsageError(f"{what}: reading a cosign key needs PyNaCl", hint="pip install 'airbundle[build]'") from None
    derive = Scrypt(salt=envelope.salt, length=_KEY_SIZE, n=envelope.cost, r=envelope.block, p=envelope.parallel)
    try:
        return bytes(SecretBox(derive.derive(passphrase)).decrypt(envelope.sealed, envelope.nonce))
    except CryptoError:
        raise UsageError(
            f"{what}: the passphrase does not open the key, or the file is damaged",
            hint="it is the passphrase that cosign asked for (COSIGN_PASSWORD)",
        ) from None


def _read(body: bytes, what: str) -> _Envelope:
    try:
        document = json.loads(body)
        kdf, cipher = document["kdf"], document["cipher"]
        names = (kdf["name"], cipher["name"])
        if names != ("scrypt", "nacl/secretbox"):
            raise UsageError(f"{what}: found {names!r}, expected scrypt and nacl/secretbox")
        cost, block, parallel = (_number(kdf["params"][name]) for name in ("N", "r", "p"))
        envelope = _Envelope(
            cost, block, parallel, _bytes(kdf["salt"]), _bytes(cipher["nonce"]), _bytes(document["ciphertext"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{what}: the PEM does not hold the JSON of a cosign key") from None
    power_of_two = cost > 1 and cost & (cost - 1) == 0
    if not power_of_two or 128 * cost * block > _MEMORY_LIMIT or parallel > _MOST_PARALLEL:
        raise UsageError(
            f"{what}: scrypt parameters N={cost} r={block} p={parallel} are out of bounds",
            hint=f"N is a power of two, and scrypt may take {_MEMORY_LIMIT >> 20} MiB at most",
        )
    if len(envelope.nonce) != _NONCE_SIZE:
        raise UsageError(f"{what}: found a nonce of {len(envelope.nonce)} bytes, expected {_NONCE_SIZE}")
    return envelope


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("not a positive number")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("not text")
    return base64.b64decode(value, validate=True)
