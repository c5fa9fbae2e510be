"""External mode: a certificate signing request goes out, a certificate comes in (RFC 2986; design §6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from airbundle.crypto.authority import load_server_key
from airbundle.crypto.ca import check_issuing
from airbundle.crypto.certificate import (
    CertificateKey,
    alternative_names,
    check_chain,
    check_key,
    describe,
    is_ca,
    is_self_signed,
    load_chain,
    name_constraints,
    to_pem,
    utc_now,
)
from airbundle.crypto.names import Address, first_refused, parse_name, parse_names, permitted_names
from airbundle.crypto.pkcs8 import decode_certificate_key
from airbundle.crypto.profile import ca_extensions, ca_subject, server_extensions, server_subject
from airbundle.errors import UsageError, VerificationError

_log = logging.getLogger(__name__)


def request_ca(name: str, permitted: Iterable[str], key: bytes, passphrase: Callable[[], bytes]) -> bytes:
    """Return a CSR (PEM) for a CA below another organisation's, with the constraints we ask for.

    Args:
        name: its common name.
        permitted: as for `create_ca`.
        key: the encrypted private key, PEM.
        passphrase: of the key.

    Raises:
        UsageError: a name or constraint is none, or the passphrase is wrong.
    """
    private = decode_certificate_key(key, passphrase, what="CA key")
    return _request(ca_subject(name), ca_extensions(permitted_names(permitted), 0), private)


def request_server(names: Iterable[str], key: bytes) -> bytes:
    """Return a CSR (PEM) for a server.

    Args:
        names: DNS names and addresses.
        key: its unencrypted private key, PEM.

    Raises:
        UsageError: a name is none.
    """
    wanted = parse_names(names)
    return _request(server_subject(wanted), server_extensions(wanted), load_server_key(key))


def accept_ca(chain: bytes, key: bytes, passphrase: Callable[[], bytes], *, now: datetime | None = None) -> bytes:
    """Check the certificate that came back for `request_ca`; return the chain as PEM.

    Args:
        chain: the certificate, then those above it up to the root.
        key: the private key that the CSR was made with.
        passphrase: of the key.

    Raises:
        VerificationError: no CA, for another key, ended, out of order, or without its root.
    """
    certificates = load_chain(chain, what="certificate")
    if name_constraints(certificates[0]) is None:
        _log.warning("the CA certificate has no name constraints: whoever has its key can speak for any name")
    check_issuing(certificates, now=now or utc_now())
    check_key(certificates[0], decode_certificate_key(key, passphrase, what="CA key"), what="certificate")
    return to_pem(certificates)


def accept_server(
    chain: bytes, key: bytes, *, names: Sequence[str] = (), now: datetime | None = None
) -> tuple[bytes, bytes]:
    """Check the certificate that came back for `request_server`.

    Args:
        chain: the certificate, then those above it up to the root.
        key: the private key that the CSR was made with.
        names: what it must be good for.

    Returns:
        What the server sends (without the root), and the root; PEM.

    Raises:
        VerificationError: a CA's, for another key, for other names, ended, out of order, or without its root.
    """
    certificates = load_chain(chain, what="certificate")
    first = certificates[0]
    if is_ca(first):
        raise VerificationError(
            f"{describe(first).subject} is a CA, expected a server's certificate",
            hint="the file begins with the server's certificate, then its issuer; a CA is imported after `csr --ca`",
        )
    check_key(first, load_server_key(key), what="certificate")
    check_chain(certificates, what="certificate", now=now or utc_now())
    constraints = [found for found in map(name_constraints, certificates) if found is not None]
    refused = first_refused(_readable(alternative_names(first)), constraints)
    if refused is not None:
        raise VerificationError(f"the certificate is for {refused[0]}, but its CA may only issue for {refused[1]}")
    missing = [name for name in names if not covers(alternative_names(first), name)]
    if missing:
        raise VerificationError(
            f"the certificate lacks {', '.join(missing)}; it is for {', '.join(alternative_names(first)) or 'no name'}",
            hint="some CAs drop the names of a request: ask for them as subjectAltName",
        )
    if len(certificates) < 2 or not is_self_signed(certificates[-1]):
        raise VerificationError(
            f"the chain ends with {describe(certificates[-1]).subject}; its issuer is missing",
            hint="append the certificates up to the root: it is what clients trust",
        )
    return to_pem([each for each in certificates if not is_self_signed(each)]), to_pem(certificates[-1:])


def covers(have: Iterable[str], name: str) -> bool:
    """Tell whether a certificate with the names `have` is good for `name` (RFC 6125: `*.` stands for one label)."""
    wanted = parse_name(name)
    found = _readable(have)
    if wanted in found or not isinstance(wanted, str):
        return wanted in found
    return "*." + wanted.partition(".")[2] in found


def _readable(names: Iterable[str]) -> list[str | Address]:
    """Return those names that are names of servers; another organisation's certificate may have others, too."""
    found = []
    for name in names:
        try:
            found.append(parse_name(name))
        except UsageError:
            continue
    return found


def _request(subject: x509.Name, extensions: list[tuple[x509.ExtensionType, bool]], key: CertificateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
