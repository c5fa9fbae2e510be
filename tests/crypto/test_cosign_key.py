from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.crypto.keys import FileSigner, load_public_key
from airbundle.crypto.pkcs8 import decode_private_key
from airbundle.errors import UsageError

# Made by `cosign generate-key-pair` (3.1.3) for this test alone; the passphrase is PASSWORD.
COSIGN_KEY = b"""\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJnMXRyNDFNWkdQUmZCM0dBaThMRGErNVp6QllqV3ZP
WXoxTGdtZ1VFMnVZPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJCOXpZL3FUbWowMlhDTUdTQ3p0R3huUGkwVW1HYzhFVCJ9LCJj
aXBoZXJ0ZXh0IjoiWWtUa29vSEFKKzFob1VQOVI0L0lVdzF0MzUvMXZtSjJjaDVp
bTNTY3d1UkI5c3EyWDFQYVNhcTVhcHJCbDltamZ2dFpoTGlFV3JIRDAwRDlQZmRk
em53S044cFh0eXhZVkxXVWZTQ01WN1BMSy9ydUdOZCtMa2Jyc0o1WHdxb2dTVzhx
cDdHWW95KzZOeUtncWhhVjlwRk9rUjMyZEFPTVB1MzNGVll6aHBrZzA4YzFXU1dP
eVFnTkVTc05HKytaYnBkalZhU1BBRUd1MHc9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
"""
COSIGN_PUB = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEzRtLMS3/VLDkhFI+czInqrU/VhA
kuSmoZ7XLZwMk7rHmnjp7QdR2ZO1C3teii5zfjeyXb8ioR+3RQ8mjlQuFA==
-----END PUBLIC KEY-----
"""
PASSWORD = b"open sesame"


def envelope() -> Any:
    return json.loads(base64.b64decode(b"".join(COSIGN_KEY.splitlines()[1:-1])))


def pem(document: object, label: str = "ENCRYPTED SIGSTORE PRIVATE KEY") -> bytes:
    body = base64.b64encode(json.dumps(document).encode()).decode()
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def load(data: bytes, passphrase: bytes = PASSWORD) -> FileSigner:
    return FileSigner(decode_private_key(data, lambda: passphrase, what="cosign.key"))


def test_a_real_cosign_key() -> None:
    signer = load(COSIGN_KEY)
    assert signer.public_key == load_public_key(COSIGN_PUB)
    assert signer.public_key.verify(signer.sign(b"data"), b"data")


def test_the_label_of_older_cosigns() -> None:
    assert load(pem(envelope(), "ENCRYPTED COSIGN PRIVATE KEY")).public_key == load_public_key(COSIGN_PUB)


def test_wrong_passphrase() -> None:
    with pytest.raises(UsageError, match="passphrase does not open"):
        load(COSIGN_KEY, b"open barley")


@pytest.mark.parametrize(
    ("name", "value"),
    [("N", 1 << 30), ("N", 65535), ("N", 1), ("r", 1 << 20), ("p", 1000)],
)
def test_parameters_that_would_exhaust_the_host(name: str, value: int) -> None:
    document = envelope()
    document["kdf"]["params"][name] = value
    with pytest.raises(UsageError, match="out of bounds"):
        load(pem(document))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kdf", "name"), "argon2"),
        (("cipher", "name"), "aes"),
        (("cipher", "nonce"), "AAAA"),
        (("kdf", "params", "N"), True),
        (("kdf", "params", "p"), 0),
        (("kdf", "salt"), 5),
        (("ciphertext",), "not base64!"),
    ],
)
def test_envelopes_of_another_form(path: tuple[str, ...], value: object) -> None:
    document = envelope()
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(UsageError):
        load(pem(document))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kdf", "name", "params", "N", "r", "p", "salt", "cipher", "nonce"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(document=json_values)
def test_any_json_ends_in_our_errors(document: object) -> None:
    with pytest.raises(UsageError):
        load(pem(document))
