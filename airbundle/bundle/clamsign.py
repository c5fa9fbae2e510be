"""`.sign` files of ClamAV 1.5 and later: which digest they vouch for (RFC 5652, CMS SignedData).

A `.sign` is text: `#clamsign-1.0`, then lines `<level>:[<level>]:pkcs7-pem:<base64 DER>`. Whose signature it is
can only be told with ClamAV's own certificates, which freshclam and clamd have; here it is checked that the file is
of the right form and vouches for the very bytes that it lies beside.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from airbundle.errors import VerificationError

SIGN_LIMIT = 256 * 1024
_MAGIC = b"#clamsign-1.0"
_LINE = re.compile(rb"[0-9]{1,6}:[0-9]{0,6}:([a-z0-9-]{1,40}):(\S+)")

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_HASHES = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
_OCTETS, _OID, _SEQUENCE, _SET, _TAG0 = 0x04, 0x06, 0x30, 0x31, 0xA0


@dataclass(frozen=True)
class Vouched:
    """What a signer vouches for: `algorithm` as hashlib names it, and the digest in hex."""

    algorithm: str
    digest: str


def parse_sign(raw: bytes, *, what: str) -> list[Vouched]:
    """Return the digests that a `.sign` vouches for; empty when its signatures have no such attribute.

    Raises:
        VerificationError: it is not of the form.
    """
    lines = [line.strip() for line in raw.splitlines() if line.strip()]
    if len(raw) > SIGN_LIMIT or not lines or lines[0] != _MAGIC:
        raise VerificationError(f"{what}: no signature file: found {raw[:20]!r}, expected {_MAGIC.decode()}")
    found: list[Vouched] = []
    for line in (line for line in lines[1:] if not line.startswith(b"#")):
        match = _LINE.fullmatch(line)
        if not match:
            raise VerificationError(f"{what}: found {line[:40]!r}, expected level:[level]:pkcs7-pem:base64")
        if match[1] != b"pkcs7-pem":
            continue  # a form to come; ClamAV skips by level what it does not know
        try:
            found += _signers(base64.b64decode(match[2], validate=True))
        except (binascii.Error, _MalformedError) as error:
            raise VerificationError(f"{what}: the signature is no CMS: {error}") from None
    if len(lines) == 1:
        raise VerificationError(f"{what}: it holds no signature")
    return found


class _MalformedError(Exception):
    """The DER is not what it should be."""


@dataclass(frozen=True)
class _Element:
    tag: int
    body: bytes

    def children(self) -> list[_Element]:
        return list(_elements(self.body))

    def expect(self, tag: int, name: str) -> _Element:
        if self.tag != tag:
            raise _MalformedError(f"{name} has the tag {self.tag:#x}, expected {tag:#x}")
        return self


def _elements(data: bytes) -> Iterator[_Element]:
    position = 0
    while position < len(data):
        if len(data) - position < 2 or data[position] & 0x1F == 0x1F:
            raise _MalformedError("an element is cut off, or has a long tag")
        tag, length = data[position], data[position + 1]
        position += 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or position + count > len(data):
                raise _MalformedError("a length is cut off, or indefinite")
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise _MalformedError("an element is longer than what holds it")
        yield _Element(tag, data[position : position + length])
        position += length


def _only(elements: list[_Element], number: int, name: str) -> _Element:
    if number >= len(elements):
        raise _MalformedError(f"{name} is missing")
    return elements[number]


def _signers(der: bytes) -> Iterator[Vouched]:
    top = list(_elements(der))
    if len(top) != 1:
        raise _MalformedError("there is something after it")
    content = top[0].expect(_SEQUENCE, "ContentInfo").children()
    if _only(content, 0, "contentType").body != _SIGNED_DATA:
        raise _MalformedError("it is no SignedData")
    wrapped = _only(content, 1, "content").expect(_TAG0, "content").children()
    parts = _only(wrapped, 0, "SignedData").expect(_SEQUENCE, "SignedData").children()
    # version, digestAlgorithms, encapContentInfo, [certificates], [crls], signerInfos
    if len(parts) < 4:
        raise _MalformedError("SignedData is not complete")
    infos = parts[-1].expect(_SET, "signerInfos").children()
    if not infos:
        raise _MalformedError("nobody has signed")
    for info in infos:
        yield from _vouched(info.expect(_SEQUENCE, "SignerInfo").children())


def _vouched(signer: list[_Element]) -> Iterator[Vouched]:
    # version, sid, digestAlgorithm, [signedAttrs], signatureAlgorithm, signature
    algorithm = _only(_only(signer, 2, "digestAlgorithm").children(), 0, "digestAlgorithm").expect(_OID, "algorithm")
    attributes = _only(signer, 3, "signedAttrs")
    if attributes.tag != _TAG0:
        return
    name = _HASHES.get(algorithm.body)
    for attribute in attributes.children():
        fields = attribute.expect(_SEQUENCE, "attribute").children()
        if _only(fields, 0, "attribute").body != _MESSAGE_DIGEST:
            continue
        values = _only(fields, 1, "messageDigest").expect(_SET, "messageDigest").children()
        digest = _only(values, 0, "messageDigest").expect(_OCTETS, "messageDigest")
        if name is None:
            raise _MalformedError("it is made with a hash function other than SHA-2")
        yield Vouched(name, digest.body.hex())
