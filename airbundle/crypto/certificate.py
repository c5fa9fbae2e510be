"""Certificates as PEM: reading, describing, chains, and whether a key belongs to one. Spec: RFC 5280."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Union

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from airbundle.crypto.names import NameConstraints, Network
from airbundle.errors import UsageError, VerificationError

CertificateKey = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]

_LONGEST_CHAIN = 16
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class CertificateInfo:
    """What a certificate says.

    Attributes:
        subject, issuer: RFC 4514 text.
        serial, fingerprint: lower-case hex; the fingerprint is SHA-256 of the DER.
        not_before, not_after: UTC.
        names: DNS names and addresses of the SAN.
        is_ca: basic constraints.
        permitted: the name constraints as text; empty without.
    """

    subject: str
    issuer: str
    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    is_ca: bool
    permitted: str

    def days_left(self, now: datetime | None = None) -> int:
        """Return whole days until it ends; negative when it has ended."""
        return (self.not_after - (now or utc_now())) // timedelta(days=1)

    def life_left(self, now: datetime | None = None) -> float:
        """Return which part of its life is left: 1 when it begins, 0 or less when it has ended."""
        return (self.not_after - (now or utc_now())) / (self.not_after - self.not_before)


def certificate_info(pem: bytes, *, what: str = "certificate") -> CertificateInfo:
    """Describe the first certificate in `pem`.

    Raises:
        UsageError: there is none, or it doesn't parse.
    """
    return describe(load_chain(pem, what=what)[0])


def utc_now() -> datetime:
    """Return the time, aware, in whole seconds: certificates have no others."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def describe(certificate: x509.Certificate) -> CertificateInfo:
    """Describe a certificate."""
    constraints = name_constraints(certificate)
    return CertificateInfo(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        fingerprint=fingerprint(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        names=alternative_names(certificate),
        is_ca=is_ca(certificate),
        permitted=str(constraints) if constraints else "",
    )


def load_chain(pem: bytes, *, what: str) -> list[x509.Certificate]:
    """Read one or more certificates, in the file's order; text between them is skipped.

    Raises:
        UsageError: none, more than 16, or one that doesn't parse.
    """
    blocks = _BLOCK.findall(pem)
    if not 0 < len(blocks) <= _LONGEST_CHAIN:
        raise UsageError(
            f"{what}: found {len(blocks)} certificates in PEM, expected 1 to {_LONGEST_CHAIN}",
            hint="`openssl x509 -inform DER -in FILE` makes PEM of DER; of PKCS#7: `openssl pkcs7 -print_certs`",
        )
    try:
        certificates = [x509.load_pem_x509_certificate(block) for block in blocks]
        for certificate in certificates:
            # Extensions parse late; a malformed one is to be found here.
            _ = certificate.extensions, certificate.subject, certificate.issuer
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise UsageError(f"{what}: a certificate in it does not parse: {error}") from None
    return certificates


def to_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as PEM, one after the other."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return SHA-256 of the DER in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def is_ca(certificate: x509.Certificate) -> bool:
    """Tell whether basic constraints make it a CA."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def alternative_names(certificate: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """Return DNS names and addresses of the SAN as text."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def name_constraints(certificate: x509.Certificate) -> NameConstraints | None:
    """Return the name constraints, as far as they are about DNS names and addresses; None without."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    dns, networks = _by_kind(found.permitted_subtrees)
    excluded_dns, excluded_networks = _by_kind(found.excluded_subtrees)
    return NameConstraints(dns, networks, excluded_dns, excluded_networks)


def _by_kind(subtrees: list[x509.GeneralName] | None) -> tuple[tuple[str, ...], tuple[Network, ...]]:
    dns = tuple(each.value.lower() for each in subtrees or () if isinstance(each, x509.DNSName))
    addresses = [each.value for each in subtrees or () if isinstance(each, x509.IPAddress)]
    return dns, tuple(each for each in addresses if not hasattr(each, "packed"))


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Tell whether it is signed by its own key: a trust anchor."""
    return signed_by(certificate, certificate)


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer`'s name and key signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def check_chain(chain: Sequence[x509.Certificate], *, what: str, now: datetime | None = None) -> None:
    """Check that each certificate is signed by the next, that all but the first are CAs, and, with `now`, the dates.

    Raises:
        VerificationError: says which certificate, and what is wrong with it.
    """
    for place, certificate in enumerate(chain):
        subject = certificate.subject.rfc4514_string()
        if now is not None:
            check_dates(certificate, what=what, now=now)
        if place and not is_ca(certificate):
            raise VerificationError(f"{what}: {subject} issues in the chain, but is no CA")
        if place and not signed_by(chain[place - 1], certificate):
            raise VerificationError(
                f"{what}: {chain[place - 1].subject.rfc4514_string()} is not signed by {subject}, which follows it",
                hint="the order is: certificate, then each one's issuer, up to the root",
            )


def check_dates(certificate: x509.Certificate, *, what: str, now: datetime) -> None:
    """Check that `now` lies within the certificate's term.

    Raises:
        VerificationError: it doesn't.
    """
    subject = certificate.subject.rfc4514_string()
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        raise VerificationError(f"{what}: {subject} ended at {end:%Y-%m-%d %H:%M} UTC")
    if begin > now:
        raise VerificationError(
            f"{what}: {subject} begins only at {begin:%Y-%m-%d %H:%M} UTC", hint="look at this host's clock"
        )


def check_key(certificate: x509.Certificate, key: CertificateKey, *, what: str) -> None:
    """Check that `key` is the private half of the certificate's.

    Raises:
        VerificationError: it isn't.
    """
    if certificate.public_key() != key.public_key():
        raise VerificationError(
            f"{what}: {certificate.subject.rfc4514_string()} is for another key",
            hint="a certificate fits only the key whose CSR it was made from",
        )


def same_key(csr: bytes, certificate: bytes) -> bool:
    """Tell whether a certificate is for the key of a request; False when the request does not parse."""
    try:
        requested = x509.load_pem_x509_csr(csr).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return load_chain(certificate, what="certificate")[0].public_key() == requested
