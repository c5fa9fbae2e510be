"""An opened CA: it issues and renews for servers, renews itself, and signs its successor. Spec: RFC 5280."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from airbundle.crypto.certificate import (
    CertificateInfo,
    CertificateKey,
    describe,
    is_self_signed,
    load_chain,
    name_constraints,
    to_pem,
    utc_now,
)
from airbundle.crypto.names import Address, NameConstraints, first_refused, parse_names
from airbundle.crypto.pkcs8 import ROUNDS, encode_private_key
from airbundle.crypto.profile import (
    BACKDATED,
    CA_DAYS,
    ISSUER_DAYS,
    LONGEST_CA_DAYS,
    LONGEST_SERVER_DAYS,
    PATH_LENGTH,
    SERVER_DAYS,
    PublicHalf,
    ca_extensions,
    ca_subject,
    server_extensions,
    server_subject,
    sign_certificate,
)
from airbundle.errors import UsageError


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate with its private key.

    Attributes:
        chain: PEM: the certificate, then intermediates; a server's is without the root, clients have it.
        key: PEM, unencrypted: servers start unattended.
    """

    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"IssuedCertificate({len(self.chain)} bytes)"


class Authority:
    """An opened CA: its chain, and the key that signs.

    Attributes:
        chain: the issuing certificate, then each one's issuer up to the root.
    """

    def __init__(self, chain: Sequence[x509.Certificate], key: CertificateKey) -> None:
        self.chain = tuple(chain)
        self._key = key

    @property
    def chain_pem(self) -> bytes:
        """The issuing certificate and those above it, PEM."""
        return to_pem(self.chain)

    @property
    def root_pem(self) -> bytes:
        """The root, PEM: what clients trust."""
        return to_pem(self.chain[-1:])

    @property
    def info(self) -> CertificateInfo:
        """The issuing certificate, described."""
        return describe(self.chain[0])

    @property
    def common_name(self) -> str:
        """The common name of the issuing certificate, empty without one."""
        found = self.chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if found else ""

    @property
    def constraints(self) -> tuple[NameConstraints, ...]:
        """The name constraints of each CA of the chain that has any."""
        return tuple(found for found in map(name_constraints, self.chain) if found is not None)

    def __repr__(self) -> str:
        return f"Authority({self.info.subject})"

    def seal(self, passphrase: bytes, rounds: int = ROUNDS) -> bytes:
        """Return the private key as encrypted PKCS#8 PEM.

        Raises:
            UsageError: the passphrase is empty, or the key isn't one that airbundle makes.
        """
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise UsageError("this CA's key came from elsewhere: keep the file it came in")
        return encode_private_key(self._key, passphrase, rounds=rounds)

    def issue(
        self,
        names: Iterable[str],
        *,
        days: int = SERVER_DAYS,
        key: bytes | None = None,
        now: datetime | None = None,
    ) -> IssuedCertificate:
        """Issue a server certificate.

        Args:
            names: DNS names (`*.` allowed) and addresses.
            days: 1 to 825; it never outlives this CA.
            key: an unencrypted private key (PEM) to keep; without it a new one is made.

        Raises:
            UsageError: a name is outside the constraints or is none; `days` out of bounds; the CA has ended.
        """
        wanted = parse_names(names)
        pem = new_server_key() if key is None else key
        public = load_server_key(pem).public_key()
        return IssuedCertificate(self._issue(wanted, public, days, now or utc_now()), pem)

    def renew(self, certificate: bytes, *, days: int = SERVER_DAYS, now: datetime | None = None) -> bytes:
        """Issue a server certificate again, for the same names and the same key; return its chain (PEM).

        Raises:
            UsageError: it doesn't parse, is a CA's, or has names that this CA may not issue.
        """
        old = load_chain(certificate, what="certificate to renew")[0]
        info = describe(old)
        if info.is_ca:
            raise UsageError(f"{info.subject} is a CA", hint="`airbundle ca renew --ca` renews the CA itself")
        public = old.public_key()
        if not isinstance(public, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
            raise UsageError(f"{info.subject} has a key that is neither ECDSA nor RSA")
        return self._issue(parse_names(info.names), public, days, now or utc_now())

    def renew_self(self, *, days: int = CA_DAYS, now: datetime | None = None) -> Authority:
        """Return this CA with a new self-signed certificate: same key, name and constraints, a new term.

        What it has issued goes on to verify, under the old certificate and under the new.

        Raises:
            UsageError: somebody else issued it.
        """
        old = self.chain[0]
        if not is_self_signed(old):
            raise UsageError(
                f"{self.info.subject} was issued by {self.info.issuer}, who alone can renew it",
                hint="`airbundle ca csr --ca`, have it signed again, `airbundle ca import`",
            )
        constraints = name_constraints(old) or NameConstraints()
        length = _path_length(old)
        certificate = sign_certificate(
            old.subject,
            self._key.public_key(),
            ca_extensions(constraints, PATH_LENGTH if length is None else length),
            term=ca_term(days, now),
            issuer=None,
            key=self._key,
        )
        return Authority([certificate], self._key)

    def cross_sign(self, successor: Authority, *, now: datetime | None = None) -> Authority:
        """Return `successor` below this CA: with its own key, and a certificate by this one.

        What that issues verifies for clients that trust only this CA, and for those that trust only the successor.

        Raises:
            UsageError: this CA has ended, or may not have CAs below it (path length 0).
        """
        old, new = self.chain[0], successor.chain[0]
        if _path_length(old) == 0:
            raise UsageError(
                f"{self.info.subject} may not sign another CA (path length 0)",
                hint="give all clients the new CA's certificate first, then replace this CA",
            )
        begin = (now or utc_now()) - BACKDATED
        crossed = sign_certificate(
            new.subject,
            successor._key.public_key(),
            ca_extensions(name_constraints(new) or NameConstraints(), 0),
            term=(begin, min(self._last_day(now or utc_now()), new.not_valid_after_utc)),
            issuer=old,
            key=self._key,
        )
        return Authority([crossed, *self.chain], successor._key)

    def issue_ca(self, name: str, *, days: int = ISSUER_DAYS, now: datetime | None = None) -> IssuedCertificate:
        """Issue a CA below this one, with a key of its own, for a program that issues by itself (cert-manager).

        It may issue for no more than this one, and has no room for a CA below itself.

        Args:
            name: its common name, up to 64 characters.
            days: how long it lives; it never outlives this CA.

        Returns:
            Its certificate with all above it, the root as well: such programs tell clients the last one as their CA.

        Raises:
            UsageError: this CA has ended, or may not have CAs below it (path length 0); `days` out of bounds.
        """
        if not has_room(self.chain):
            raise UsageError(
                f"{self.info.subject} may not sign another CA (path length 0)",
                hint="have it signed with path length 1, or bring a ClusterIssuer of your own",
            )
        moment = now or utc_now()
        key = ec.generate_private_key(ec.SECP256R1())
        begin, end = ca_term(days, moment)
        certificate = sign_certificate(
            ca_subject(name),
            key.public_key(),
            ca_extensions(name_constraints(self.chain[0]) or NameConstraints(), 0),
            term=(begin, min(end, self._last_day(moment))),
            issuer=self.chain[0],
            key=self._key,
        )
        return IssuedCertificate(to_pem([certificate, *self.chain]), _unencrypted(key))

    def _issue(self, names: Sequence[str | Address], public: PublicHalf, days: int, now: datetime) -> bytes:
        if not 0 < days <= LONGEST_SERVER_DAYS:
            raise UsageError(f"found {days} days, expected 1 to {LONGEST_SERVER_DAYS} for a server's certificate")
        refused = first_refused(names, self.constraints)
        if refused is not None:
            raise UsageError(
                f"{refused[0]} is outside of what {self.info.subject} may issue for: {refused[1]}",
                hint="constraints are fixed when a CA is made: `airbundle ca rotate --permit …` makes a successor",
            )
        certificate = sign_certificate(
            server_subject(names),
            public,
            server_extensions(names),
            term=(now - BACKDATED, min(now + timedelta(days=days), self._last_day(now))),
            issuer=self.chain[0],
            key=self._key,
        )
        return to_pem([certificate, *(each for each in self.chain if not is_self_signed(each))])

    def _last_day(self, now: datetime) -> datetime:
        last = min(each.not_valid_after_utc for each in self.chain)
        if last <= now:
            raise UsageError(
                f"{self.info.subject} ended at {last:%Y-%m-%d %H:%M} UTC", hint="`airbundle ca renew --ca`"
            )
        return last


def has_room(chain: Sequence[x509.Certificate]) -> bool:
    """Tell whether the first certificate of a CA's chain may have a CA below it: every path length leaves room."""
    lengths = [(place, _path_length(each)) for place, each in enumerate(chain)]
    return all(length is None or length > place for place, length in lengths)


def new_server_key() -> bytes:
    """Return a new unencrypted P-256 private key, PKCS#8 PEM."""
    return _unencrypted(ec.generate_private_key(ec.SECP256R1()))


def _unencrypted(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_server_key(pem: bytes) -> CertificateKey:
    """Read the unencrypted private key of a server.

    Raises:
        UsageError: it is none.
    """
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise UsageError("the server's key does not parse as an unencrypted private key") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise UsageError("the server's key is neither ECDSA nor RSA")
    return key


def ca_term(days: int, now: datetime | None) -> tuple[datetime, datetime]:
    """Return the term of a CA that begins now.

    Raises:
        UsageError: `days` is out of bounds.
    """
    if not 0 < days <= LONGEST_CA_DAYS:
        raise UsageError(f"found {days} days, expected 1 to {LONGEST_CA_DAYS} for a CA")
    moment = now or utc_now()
    return moment - BACKDATED, moment + timedelta(days=days)


def _path_length(certificate: x509.Certificate) -> int | None:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
