"""Release keys: ECDSA P-256 over SHA-256 and nothing else (design §6).

Signing is an interface that is found by URI, so that an HSM or a KMS can come later without a change anywhere else
(`SCHEMES`). Signatures are deterministic (RFC 6979): equal bytes and an equal key give an equal signature.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airbundle.crypto.keyfile import read_private_file
from airbundle.crypto.pkcs8 import decode_private_key, describe_key, encode_private_key, pem_label
from airbundle.errors import UsageError

Passphrase = Callable[[], bytes]
"""Called at most once, and only when a key turns out to be encrypted."""

_LONGEST_SIGNATURE = 80  # a DER P-256 signature has 72 bytes at most


class PublicKey:
    """The public half of a release key.

    Attributes:
        pem: SPKI PEM, in the one form `cryptography` and openssl write.
        key_id: `sha256:<hex of the DER SPKI>`.
    """

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        self._key = key
        self.der = key.public_bytes(serialization.Encoding.DER, spki)
        self.pem = key.public_bytes(serialization.Encoding.PEM, spki)
        self.key_id = "sha256:" + hashlib.sha256(self.der).hexdigest()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Tell whether `signature` (DER ECDSA) is this key's over SHA-256 of `data`."""
        if len(signature) > _LONGEST_SIGNATURE:
            return False
        try:
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.key_id == self.key_id

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id})"


class Signer(Protocol):
    """Something that signs with a private key that it never shows."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""

    def sign(self, data: bytes) -> bytes:
        """Return the DER ECDSA P-256 signature over SHA-256 of `data`; equal data, equal bytes."""


class FileSigner:
    """A signer whose private key came from a file and lives in this process."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = PublicKey(key.public_key())
        try:
            self._scheme = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        except (TypeError, UnsupportedAlgorithm):
            # An old system-wide library. A random signature would break "equal lock, equal key: equal bytes".
            raise UsageError(
                "signing needs a `cryptography` that can make deterministic signatures (44 or newer)",
                hint="pip install 'cryptography>=44'; verifying works with this one",
            ) from None

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """Return the DER signature over SHA-256 of `data`."""
        return self._key.sign(data, self._scheme)

    def __repr__(self) -> str:
        return f"FileSigner({self._public.key_id})"


def load_public_key(pem: bytes, *, what: str = "public key") -> PublicKey:
    """Read a public key.

    Args:
        pem: SPKI PEM (`-----BEGIN PUBLIC KEY-----`).
        what: the thing, for errors.

    Raises:
        UsageError: it is something else, or a key of another kind.
    """
    label = pem_label(pem)
    if label != "PUBLIC KEY":
        hint = "`airbundle key public KEY` writes it" if label.endswith("PRIVATE KEY") else ""
        raise UsageError(f"{what}: found {label or 'no PEM'}, expected a PUBLIC KEY in PEM", hint=hint)
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{what}: the PEM does not hold a public key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{what}: found {describe_key(key)}, expected ECDSA P-256")
    return PublicKey(key)


def generate_key(passphrase: bytes) -> tuple[bytes, bytes]:
    """Make a new release key.

    Args:
        passphrase: encrypts the private half; not empty.

    Returns:
        Private key (encrypted PKCS#8 PEM) and public key (SPKI PEM).

    Raises:
        UsageError: the passphrase is empty.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    return encode_private_key(key, passphrase), PublicKey(key.public_key()).pem


def load_signer(uri: str, passphrase: Passphrase) -> Signer:
    """Open a signing key.

    Args:
        uri: `PATH` or `file:PATH`: encrypted PKCS#8, plain PKCS#8 or cosign.key. Other schemes: see `SCHEMES`.
        passphrase: asked only for an encrypted key.

    Raises:
        UsageError: no such file, another format, a wrong passphrase, or a scheme that is not supported.
        NoPermission: the file may not be read.
    """
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", uri)
    scheme = found.group(1).lower() if found else "file"
    if found and scheme not in SCHEMES and "://" not in uri:
        return _file_signer(uri, passphrase)  # a path that happens to hold a colon
    try:
        load = SCHEMES[scheme]
    except KeyError:
        known = ", ".join(sorted(f"{name}:" for name in SCHEMES))
        raise UsageError(f"key {uri!r}: no such scheme; there are {known}") from None
    return load(uri, passphrase)


def _file_signer(uri: str, passphrase: Passphrase) -> Signer:
    path = Path(_file_path(uri))
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint="`airbundle key generate -o FILE` makes a release key")
    return FileSigner(decode_private_key(read_private_file(path), passphrase, what=f"key {path}"))


def _file_path(uri: str) -> str:
    if not uri.startswith("file:"):
        return uri
    if not uri.startswith("file://"):
        return uri[len("file:") :]
    host, slash, path = uri[len("file://") :].partition("/")
    if host not in {"", "localhost"} or not slash:
        raise UsageError(f"key {uri!r} names a host", hint="write file:PATH or file:///PATH")
    return unquote(slash + path)


def _not_yet(uri: str, _passphrase: Passphrase) -> Signer:
    scheme = uri.partition(":")[0].lower()
    raise UsageError(
        f"key {scheme}:…: keys behind {scheme}: are not supported yet",
        hint="use a key file now; support comes in by `airbundle.crypto.keys.SCHEMES`, without other changes",
    )


SCHEMES: Mapping[str, Callable[[str, Passphrase], Signer]] = {
    "file": _file_signer,
    "pkcs11": _not_yet,
    "awskms": _not_yet,
    "gcpkms": _not_yet,
    "azurekms": _not_yet,
    "hashivault": _not_yet,
}
"""URI scheme → what opens it. A new kind of key is one more line here."""
