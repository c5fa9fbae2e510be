"""What our certificates look like: subjects, extensions and terms of CAs, servers and requests (RFC 5280 §4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Union

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airbundle.crypto.certificate import CertificateKey
from airbundle.crypto.names import Address, NameConstraints, Network
from airbundle.errors import UsageError

PublicHalf = Union[ec.EllipticCurvePublicKey, rsa.RSAPublicKey]

CA_DAYS = 3650
ISSUER_DAYS = 1825
"""Of a CA below the site's: a program in the cluster holds its key, and only an install renews it."""
LONGEST_CA_DAYS = 7300
SERVER_DAYS = 365
LONGEST_SERVER_DAYS = 825
"""Apple's systems refuse certificates of servers that are valid for longer, those of private CAs, too."""

BACKDATED = timedelta(days=1)
"""New certificates begin in the past: clocks of sites without a time server differ, some by a time zone."""

PATH_LENGTH = 1
"""Room for exactly one more CA, which `rotate` needs for its cross-certificate. RFC 5280 would let 0 do for a
successor of the same name, but Go's verifier counts that one, too (docs/decisions/0012)."""

_ORGANISATION = "airbundle"
_LONGEST_COMMON_NAME = 64  # RFC 5280, ub-common-name

_NO_USAGE = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}
_CA_USAGE = x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **_NO_USAGE)
_SERVER_USAGE = x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **_NO_USAGE)


def ca_subject(name: str) -> x509.Name:
    """Return the subject of a CA.

    Raises:
        UsageError: the name is empty, too long, or not printable.
    """
    if not 0 < len(name) <= _LONGEST_COMMON_NAME or not name.isprintable():
        raise UsageError(f"CA name {name!r:.80}: expected 1 to {_LONGEST_COMMON_NAME} printable characters")
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def server_subject(names: Sequence[str | Address]) -> x509.Name:
    """Return the subject of a server: the first DNS name, for people.

    Without a DNS name it is a phrase, because OpenSSL checks an address there against the DNS constraints.
    """
    dns = [name for name in names if isinstance(name, str) and len(name) <= _LONGEST_COMMON_NAME]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns[0] if dns else "airbundle server")])


def ca_extensions(constraints: NameConstraints, path_length: int) -> list[tuple[x509.ExtensionType, bool]]:
    """Return a CA's extensions, each with whether it is critical."""
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_CA_USAGE, True),
        # Some programs trust the OS's anchors for mail and code, too.
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]
    permitted = _subtrees(constraints.dns, constraints.networks)
    excluded = _subtrees(constraints.excluded_dns, constraints.excluded_networks)
    if permitted or excluded:
        found.append((x509.NameConstraints(permitted or None, excluded or None), True))
    return found


def server_extensions(names: Sequence[str | Address]) -> list[tuple[x509.ExtensionType, bool]]:
    """Return a server's extensions, each with whether it is critical."""
    general = [x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name) for name in names]
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_SERVER_USAGE, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName(general), False),
    ]


def sign_certificate(
    subject: x509.Name,
    public: PublicHalf,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    *,
    term: tuple[datetime, datetime],
    issuer: x509.Certificate | None,
    key: CertificateKey,
) -> x509.Certificate:
    """Make one certificate.

    Args:
        subject, public: whose it is.
        extensions: each with whether it is critical; the key identifiers are added.
        term: from when and until when, UTC.
        issuer: the issuing certificate; None signs itself.
        key: the issuer's private key.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(term[0])
        .not_valid_after(term[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_authority_key(issuer, key), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256())


def _authority_key(issuer: x509.Certificate | None, key: CertificateKey) -> x509.AuthorityKeyIdentifier:
    """Return the issuer's key identifier; a CA that isn't ours may have formed its own in another way."""
    if issuer is not None:
        try:
            found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)
        except x509.ExtensionNotFound:
            pass
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _subtrees(dns: Sequence[str], networks: Sequence[Network]) -> list[x509.GeneralName]:
    return [*map(x509.DNSName, dns), *map(x509.IPAddress, networks)]
