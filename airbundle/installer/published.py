"""Whether the site's server is found where clients look for it: by its published name. DNS belongs to others."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.installer.embedded import ask_health
from airbundle.installer.state import Installed, StateDirectory
from airbundle.transfer.hosts import Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.local import addresses_of
from airbundle.transfer.proxies import Proxies
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Url

_SECONDS = 5.0


def published_findings(state: StateDirectory, installed: Installed, instance: str) -> Iterator[Finding]:
    """Yield why clients may not find the server.

    These are warnings: this host may know less of the site's DNS than the clients, or stand behind other routes.

    Args:
        state: with the CA's certificate.
        installed: says the name.
        instance: digest of the configuration that the server runs with, as it says itself.
    """
    if not installed.server or installed.server == installed.server_here:
        return
    url = Url.parse(installed.server)
    addresses = addresses_of(url.hostname.strip("[]"))
    if not addresses:
        yield _finding(
            installed,
            "this host can't find the name that clients use",
            hint=f"put {url.hostname} into the site's DNS, or into /etc/hosts of each client",
        )
        return
    settings = HttpSettings(retry_time=0.0, first_contact_time=0.0, connect_timeout=_SECONDS, stall_timeout=_SECONDS)
    trust = Registries().with_registry(installed.server, tls=TlsSettings(ca_file=str(state.ca_file)))
    # Clients of the site ask the server itself.
    with HttpClient(settings, side="site", registries=trust, proxies=Proxies()) as client:
        health = ask_health(client, installed.server)
    told = f"{url.hostname} is {', '.join(addresses)}"
    if not health.answers:
        hint = f"{told}: that must be this host, as the server listens there (--listen), and no firewall between"
        yield _finding(installed, f"it does not answer by its name: {health.problem}", hint=hint)
    elif health.instance != instance:
        yield _finding(installed, "another server answers by its name", hint=f"{told}: correct the site's DNS")


def _finding(installed: Installed, message: str, *, hint: str) -> Finding:
    return Finding(message, where=installed.server, code="published", hint=hint, severity="warning")
