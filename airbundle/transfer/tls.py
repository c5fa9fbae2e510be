"""TLS towards servers: the operating system's trust store, SSL_CERT_FILE, private CAs, client certificates.

`ssl.create_default_context` and not certifi: what the host's administrator trusts is what counts, and OpenSSL itself
honours SSL_CERT_FILE and SSL_CERT_DIR.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass

from airbundle.errors import UsageError


@dataclass(frozen=True)
class TlsSettings:
    """How to trust a server, as in k3s's `registries.yaml` (`configs.<host>.tls`).

    Attributes:
        ca_file: PEM file of CAs that are trusted besides the system's.
        cert_file, key_file: PEM files of a client certificate and its key.
        insecure_skip_verify: take any certificate.
        only_ca: trust those of `ca_file` alone, and not the system's, as kubeconfigs mean it.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    only_ca: bool = False

    def for_follow_up(self, *, same_host: bool) -> TlsSettings:
        """Return what holds for a token realm or blob storage that this host's answers lead to.

        A CA trusted for the registry is trusted there, too; the client certificate stays with the registry.
        """
        return TlsSettings(ca_file=self.ca_file, insecure_skip_verify=same_host and self.insecure_skip_verify)


_contexts: dict[TlsSettings, ssl.SSLContext] = {}
_lock = threading.Lock()


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context for `settings`; made once, because loading the system's CAs takes some 20 ms.

    Raises:
        UsageError: a file can't be read, or is not what it should be.
    """
    with _lock:
        if settings not in _contexts:
            _contexts[settings] = _make(settings)
        return _contexts[settings]


def _make(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if settings.only_ca else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    name, path = "ca_file", settings.ca_file
    try:
        if settings.ca_file:
            context.load_verify_locations(cafile=settings.ca_file)
        if settings.cert_file:
            name, path = "cert_file", settings.cert_file
            # Without a password function OpenSSL would ask for one on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password=_no_passphrase)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{name} {path}: {reason}", hint="expected a readable PEM file; a client's key without passphrase"
        ) from None
    if settings.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_passphrase() -> bytes:
    raise ValueError("the key is encrypted")
