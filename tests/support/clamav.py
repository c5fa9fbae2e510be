"""Small ClamAV databases made on the spot. They are of the real form and hold real signatures; nobody signed them.

What that means in practice (ClamAV 1.4): `sigtool --info` and clamscan read a `.cud` made so, and plain `.ndb`
files; a `.cvd` is refused for its missing signature, which only Cisco can make.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

LEVEL = 90
_SIGNATURE = "Airbundle.Test-{number}:0:*:{pattern}"


def make_cvd(
    name: str,
    version: int,
    time: datetime,
    *,
    signatures: int = 1,
    dsig: str = "X",
    plain: bool = False,
    header: Mapping[str, str] | None = None,
    info: Mapping[str, str] | None = None,
    padding: bytes = b"",
) -> bytes:
    """Return a database.

    Args:
        name: such as `daily`.
        time: when it was built, with a time zone.
        signatures: how many; each matches `AIRBUNDLE-TEST-<number>`.
        plain: the tar is not gzipped, as in a `.cld`.
        header, info: fields that the header, or its copy inside, has instead: time, version, signatures, level, md5.
        padding: more bytes to carry, for a size.
    """
    lines = [
        _SIGNATURE.format(number=number, pattern=f"AIRBUNDLE-TEST-{number}".encode().hex())
        for number in range(signatures)
    ]
    database = ("\n".join(lines) + "\n").encode()
    fields = {
        "time": f"{time:%d} {_month(time)} {time:%Y %H-%M %z}",
        "version": str(version),
        "signatures": str(signatures),
        "level": str(LEVEL),
        "md5": "X",
        "dsig": "X",
        "builder": "airbundle",
        "seconds": str(int(time.timestamp())),
    }
    inside = _header({**fields, **(info or {})})
    inside += f"\n{name}.ndb:{len(database)}:{hashlib.sha256(database).hexdigest()}\n"
    members = {"COPYING": b"Made for tests.\n", f"{name}.info": inside.encode(), f"{name}.ndb": database}
    if padding:
        members[f"{name}.ftm"] = padding
    body = _tar(members)
    if not plain:
        body = gzip.compress(body, mtime=0)
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    outside = _header({**fields, "md5": md5, "dsig": dsig, **(header or {})})
    return outside.encode().ljust(512) + body


def make_cdiff(version: int, *, size: int = 1) -> bytes:
    """Return a patch to `version`; without meaning inside."""
    return f"ClamAV-Diff:{version}:{size}:".encode() + gzip.compress(b"CLOSE\n", mtime=0) + b":X"


def make_sign(data: bytes) -> bytes:
    """Return a `.sign` of `data` by a key made on the spot: its form is right, nobody trusts its signer."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airbundle tests")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(certificate, key, hashes.SHA512())
    der = builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary])
    return b"#clamsign-1.0\n230::pkcs7-pem:" + base64.b64encode(der) + b"\n"


def _month(time: datetime) -> str:
    return "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[time.month - 1]


def _header(fields: Mapping[str, str]) -> str:
    names = ("time", "version", "signatures", "level", "md5", "dsig", "builder", "seconds")
    return ":".join(["ClamAV-VDB", *(fields[name] for name in names)])


def _tar(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
