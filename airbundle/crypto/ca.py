"""The internal CA (design §6): makes itself, issues for servers, renews, and hands over to a successor.

A CA is name-constrained, and good for TLS only. Everything is ECDSA P-256 with SHA-256, unless somebody brings a CA of
another kind. PEM in, PEM out; where it lies on disk is `installer.ca`'s business. Spec: RFC 5280; docs/ca.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from airbundle.crypto.authority import Authority, ca_term
from airbundle.crypto.certificate import (
    CertificateInfo,
    check_chain,
    check_key,
    describe,
    is_ca,
    is_self_signed,
    load_chain,
)
from airbundle.crypto.names import permitted_names
from airbundle.crypto.pkcs8 import decode_certificate_key, is_encrypted
from airbundle.crypto.profile import (
    CA_DAYS,
    PATH_LENGTH,
    ca_extensions,
    ca_subject,
    sign_certificate,
)
from airbundle.errors import VerificationError


def create_ca(name: str, permitted: Iterable[str], *, days: int = CA_DAYS, now: datetime | None = None) -> Authority:
    """Make a new self-signed CA.

    Args:
        name: its common name, up to 64 characters.
        permitted: DNS names with all below them, addresses and networks; loopback is always added.
        days: how long it lives, 1 to 7300.

    Raises:
        UsageError: the name, a constraint or the number of days is none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = sign_certificate(
        ca_subject(name),
        key.public_key(),
        ca_extensions(permitted_names(permitted), PATH_LENGTH),
        term=ca_term(days, now),
        issuer=None,
        key=key,
    )
    return Authority([certificate], key)


def open_ca(chain: bytes, key: bytes, passphrase: Callable[[], bytes], *, now: datetime | None = None) -> Authority:
    """Open a CA for issuing.

    Args:
        chain: the issuing certificate, then those above it up to the root; PEM.
        key: its private key, encrypted PKCS#8 PEM.
        passphrase: asked when the key is encrypted.
        now: the time to check dates against; a CA that has ended opens, so that it can be renewed, when None.

    Raises:
        UsageError: not PEM of what is expected, or the passphrase is wrong.
        VerificationError: no CA, another key, or a chain that doesn't hold.
    """
    certificates = load_chain(chain, what="CA certificate")
    check_issuing(certificates, now=now)
    private = decode_certificate_key(key, passphrase, what="CA key")
    check_key(certificates[0], private, what="CA certificate")
    return Authority(certificates, private)


def check_issuing(chain: Sequence[x509.Certificate], *, now: datetime | None = None) -> None:
    """Check that `chain` begins with a CA that may issue, and reaches a root; with `now` also the dates.

    Raises:
        VerificationError: it doesn't; says why.
    """
    first, last = describe(chain[0]), describe(chain[-1])
    if not is_ca(chain[0]):
        raise VerificationError(f"{first.subject} is no CA", hint="have it signed as a CA (basicConstraints CA:TRUE)")
    try:
        usage = chain[0].extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if not usage.key_cert_sign:
            raise VerificationError(f"{first.subject} may not sign certificates (keyUsage lacks keyCertSign)")
    check_chain(chain, what="CA certificate", now=now)
    if not is_self_signed(chain[-1]):
        raise VerificationError(
            f"the chain ends with {last.subject}; its issuer {last.issuer} is missing",
            hint="append the certificates up to the root: it is what clients trust",
        )


def check_bundled(chain: bytes, key: bytes) -> CertificateInfo:
    """Check a CA that is to travel in a bundle, as far as that goes without its passphrase, and describe it.

    Whether the key belongs to the certificate shows at the site, when the CA is opened.

    Raises:
        UsageError: the certificate does not parse.
        VerificationError: the key is not encrypted, the certificate is no CA's, or the chain lacks its root.
    """
    certificates = load_chain(chain, what="CA certificate")
    check_issuing(certificates)
    if not is_encrypted(key):
        raise VerificationError(
            "the CA's key is not encrypted: a bundle carries none in the clear",
            hint="`openssl pkcs8 -topk8 -v2 aes256 -in KEY -out NEW`",
        )
    return describe(certificates[0])
