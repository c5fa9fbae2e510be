"""Release keys for tests: the same every time, so that signatures are, too. Worth nothing outside of them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from airbundle.crypto.keys import FileSigner
from airbundle.crypto.pkcs8 import encode_private_key

PASSPHRASE = b"correct horse"
FIRST = FileSigner(ec.derive_private_key(0x1111222233334444, ec.SECP256R1()))
SECOND = FileSigner(ec.derive_private_key(0x5555666677778888, ec.SECP256R1()))


def signature(signer: FileSigner, data: bytes) -> tuple[str, bytes]:
    """Return key id and signature over `data`."""
    return signer.public_key.key_id, signer.sign(data)


def key_files(directory: Path, number: int = 0x1111222233334444) -> tuple[Path, Path]:
    """Write a private key (its passphrase is `PASSPHRASE`) and its public half; return both paths."""
    key = ec.derive_private_key(number, ec.SECP256R1())
    private, public = directory / f"{number:x}.key", directory / f"{number:x}.pub"
    private.write_bytes(encode_private_key(key, PASSPHRASE, rounds=10))
    private.chmod(0o600)
    public.write_bytes(FileSigner(key).public_key.pem)
    return private, public
