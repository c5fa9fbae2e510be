"""A certificate authority for tests, as files, because servers and clients want files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "registry.internal")


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate chain and private key, PEM files."""

    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a server-side context with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


class Authority:
    """A private CA. `ca_file` is its certificate (PEM)."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._ca = trustme.CA()
        self._issued = 0
        self.ca_file = directory / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate."""
        return self._ca.cert_pem.bytes()

    def issue(self, *names: str) -> ServerCertificate:
        """Issue a server certificate for `names` (default: loopback and `registry.internal`)."""
        leaf = self._ca.issue_cert(*(names or LOOPBACK_NAMES))
        self._issued += 1
        stem = self._directory / f"server-{self._issued}"
        certificate = ServerCertificate(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        certificate.cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(certificate.key))
        return certificate

    def client_context(self) -> ssl.SSLContext:
        """Return a client-side context that trusts only this CA."""
        return ssl.create_default_context(cafile=str(self.ca_file))
