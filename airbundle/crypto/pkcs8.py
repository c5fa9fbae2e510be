"""Private keys as PEM: PKCS#8, encrypted with PBES2 (RFC 5958, RFC 8018 §6.2), and cosign's own envelope.

`cryptography` writes encrypted PKCS#8 with 2,048 rounds of PBKDF2, which a graphics card guesses passphrases against
by the million. The envelope is written here instead, with `ROUNDS`; every OpenSSL since 1.0 reads it.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from airbundle.crypto.cosign_key import COSIGN_LABELS, open_cosign_key
from airbundle.errors import UsageError

ROUNDS = 600_000
"""Rounds of PBKDF2-HMAC-SHA256 for people's passphrases (OWASP's figure); about 0.2 s."""

RANDOM_ROUNDS = 10_000
"""Rounds for passphrases of 256 random bits: nobody guesses those at any speed."""

_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----")
_NIST_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SMALLEST_RSA = 2048
_ENCRYPTED, _PLAIN = "ENCRYPTED PRIVATE KEY", "PRIVATE KEY"
_log = logging.getLogger(__name__)


def decode_private_key(pem: bytes, passphrase: Callable[[], bytes], *, what: str) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 private key.

    Args:
        pem: encrypted PKCS#8, plain PKCS#8 (with a warning), or a cosign.key.
        passphrase: asked only when the key is encrypted.
        what: the thing, for errors; never holds key material.

    Raises:
        UsageError: another format, or another kind of key; or the passphrase is wrong, or the envelope is damaged,
            which can't be told apart.
    """
    key = _decode(pem, passphrase, what)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(
            f"{what}: found {describe_key(key)}, expected ECDSA P-256", hint="`airbundle key generate` makes one"
        )
    return key


def decode_certificate_key(
    pem: bytes, passphrase: Callable[[], bytes], *, what: str
) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """Read the private key of a certificate: ECDSA on a NIST curve, or RSA of 2048 bits and more.

    Arguments and errors are those of `decode_private_key`; other people's CAs have other keys than ours.
    """
    key = _decode(pem, passphrase, what)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _NIST_CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _SMALLEST_RSA:
        return key
    raise UsageError(f"{what}: found {describe_key(key)}, expected ECDSA P-256, P-384, P-521 or RSA of 2048 bits")


def is_encrypted(pem: bytes) -> bool:
    """Tell whether the first PEM block is a key that a passphrase protects."""
    return pem_label(pem) in COSIGN_LABELS | {_ENCRYPTED}


def _decode(pem: bytes, passphrase: Callable[[], bytes], what: str) -> object:
    label = pem_label(pem)
    if label in COSIGN_LABELS:
        return _load_der(open_cosign_key(_body(pem, label, what), passphrase(), what=what), what)
    if label == _ENCRYPTED:
        return _load_encrypted(pem, passphrase(), what)
    if label == _PLAIN:
        _log.warning("%s is not encrypted: whoever reads the file can sign with it", what)
        return _load_der(_body(pem, label, what), what)
    raise UsageError(
        f"{what}: found {label or 'no PEM'}, expected an ENCRYPTED PRIVATE KEY (PKCS#8) or a cosign.key",
        hint="this is the half that sites have: signing takes the private one, such as release.key"
        if label == "PUBLIC KEY"
        else "`openssl pkcs8 -topk8 -in OLD -out NEW` makes PKCS#8 of an older format",
    )


def encode_private_key(key: ec.EllipticCurvePrivateKey, passphrase: bytes, *, rounds: int = ROUNDS) -> bytes:
    """Return `key` as encrypted PKCS#8 PEM: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC.

    Raises:
        UsageError: the passphrase is empty.
    """
    if not passphrase:
        raise UsageError("an empty passphrase protects nothing", hint="give one of 12 characters or more")
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, vector = os.urandom(16), os.urandom(16)
    secret = hashlib.pbkdf2_hmac("sha256", passphrase, salt, rounds, 32)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    return _pem(_ENCRYPTED, _sequence(_pbes2(salt, rounds, vector), _tlv(_OCTETS, sealed)))


def pem_label(pem: bytes) -> str:
    """Return the label of the first PEM block, empty when there is none."""
    found = _LABEL.search(pem)
    return found.group(1).decode() if found else ""


def describe_key(key: object) -> str:
    """Name a key's kind for an error: `RSA`, `ECDSA secp384r1`."""
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        return f"ECDSA {key.curve.name}"
    return type(key).__name__.lstrip("_").replace("PrivateKey", "").replace("PublicKey", "")


def _load_encrypted(pem: bytes, passphrase: bytes, what: str) -> object:
    try:
        return serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's text is dropped on purpose: it says nothing a person can act on.
        raise UsageError(
            f"{what}: the passphrase does not open the key, or the file is damaged",
            hint="check the passphrase; `openssl pkey -in FILE -noout` asks for it, too",
        ) from None


def _load_der(der: bytes, what: str) -> object:
    try:
        return serialization.load_der_private_key(der, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{what}: found no PKCS#8 private key inside the PEM") from None


def _body(pem: bytes, label: str, what: str) -> bytes:
    found = re.search(rf"-----BEGIN {label}-----\s(.*?)-----END {label}-----".encode(), pem, re.DOTALL)
    try:
        if found is None:
            raise ValueError("no end")
        return base64.b64decode(b"".join(found.group(1).split()), validate=True)
    except ValueError:
        raise UsageError(f"{what}: the PEM is cut off or not base64") from None


# The few shapes of DER that an EncryptedPrivateKeyInfo needs (X.690 §8).
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_NULL = bytes.fromhex("0500")
_OID_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_OID_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_OID_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_OID_AES_256_CBC = bytes.fromhex("060960864801650304012a")


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(_SEQUENCE, b"".join(parts))


def _pbes2(salt: bytes, rounds: int, vector: bytes) -> bytes:
    count = _tlv(_INTEGER, rounds.to_bytes(rounds.bit_length() // 8 + 1, "big"))
    derive = _sequence(_OID_PBKDF2, _sequence(_tlv(_OCTETS, salt), count, _sequence(_OID_HMAC_SHA256, _NULL)))
    return _sequence(_OID_PBES2, _sequence(derive, _sequence(_OID_AES_256_CBC, _tlv(_OCTETS, vector))))


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
