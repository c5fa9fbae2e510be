"""How `airbundle ca` tells what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.crypto.certificate import CertificateInfo
    from airbundle.installer.ca import SiteCa
    from airbundle.installer.ca_servers import ServerCertificate


def tell_ca(info: CertificateInfo, ca: SiteCa, console: Console) -> None:
    """Print a CA: its term, what it may issue for, and what clients need."""
    console.say(f"{info.subject}: {term(info)}")
    console.say(f"  may issue for {info.permitted or 'everything'}")
    console.say(f"  SHA-256 {info.fingerprint}")
    console.say(f"{ca.files.trust_file}  what clients trust")


def tell_server(served: ServerCertificate, console: Console) -> None:
    """Print a server's certificate and where it lies."""
    word = "new" if served.renewed else "kept"
    console.say(f"{', '.join(served.info.names)}: {word}, {term(served.info)}")
    console.say(f"  {served.certificate}\n  {served.key}")


def term(info: CertificateInfo) -> str:
    """Return how long a certificate is good."""
    return f"{info.days_left()} days left, until {info.not_after:%Y-%m-%d}"


def ca_body(info: CertificateInfo) -> dict[str, Any]:
    """Return a certificate for `--json`."""
    return {
        "subject": info.subject,
        "issuer": info.issuer,
        "names": list(info.names),
        "permitted": info.permitted,
        "fingerprint": info.fingerprint,
        "notAfter": info.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "daysLeft": info.days_left(),
    }


def server_body(served: ServerCertificate) -> dict[str, Any]:
    """Return a server's certificate for `--json`."""
    paths = {"certificate": str(served.certificate), "key": str(served.key)}
    return {"label": served.label, **paths, "renewed": served.renewed, **ca_body(served.info)}
