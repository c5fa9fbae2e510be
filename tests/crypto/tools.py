"""Independent judges of certificates: openssl, and a TLS handshake."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
from datetime import datetime
from pathlib import Path

from airbundle.crypto.authority import Authority, IssuedCertificate


def pem_blocks(pem: bytes) -> list[bytes]:
    return re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", pem, re.DOTALL)


def openssl_verify(
    directory: Path, chain: bytes, anchors: bytes, *, name: str = "", address: str = "", at: datetime | None = None
) -> str:
    """Return `OK`, or what `openssl verify` complains about. `chain` is what a server sends."""
    first, *rest = pem_blocks(chain)
    (directory / "leaf.pem").write_bytes(first)
    (directory / "rest.pem").write_bytes(b"".join(rest))
    (directory / "anchors.pem").write_bytes(anchors)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "anchors.pem"]
    command += ["-untrusted", "rest.pem"] if rest else []
    command += ["-verify_hostname", name] if name else []
    command += ["-verify_ip", address] if address else []
    command += ["-attime", str(int(at.timestamp()))] if at else []
    done = subprocess.run([*command, "leaf.pem"], cwd=directory, capture_output=True, text=True, check=False)
    return "OK" if done.returncode == 0 else done.stderr


def openssl_text(pem: bytes) -> str:
    """Return the first certificate as openssl prints it."""
    command = ["openssl", "x509", "-noout", "-text"]
    return subprocess.run(command, input=pem, capture_output=True, check=True).stdout.decode()


def handshake(directory: Path, issued: IssuedCertificate, anchors: bytes, host: str) -> str:
    """Do a TLS handshake over a socket pair; return the protocol's name, or the client's complaint."""
    (directory / "server.crt").write_bytes(issued.chain)
    (directory / "server.key").write_bytes(issued.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "server.crt", directory / "server.key")
    client = ssl.create_default_context(cadata=anchors.decode())
    near, far = socket.socketpair()
    for end in (near, far):
        end.settimeout(30)

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as connection:
                connection.recv(1)
        except OSError:
            pass  # the client's side tells why

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=host) as connection:
            return connection.version() or ""
    except ssl.SSLError as error:
        return str(error)
    finally:
        near.close()
        thread.join()


def unconstrained(authority: Authority) -> Authority:
    """Return `authority` with our own check of names taken out: somebody else who got hold of the key."""
    return _Careless(authority.chain, authority._key)


class _Careless(Authority):
    @property
    def constraints(self) -> tuple[()]:
        return ()
