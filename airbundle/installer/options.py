"""What an install is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from airbundle.bundle.serving import CHARTS, CLAMAV, FILES, PARTS, SITE_PORT, join_host
from airbundle.installer.load import DEFAULT_JOBS
from airbundle.installer.target import Target

EMBEDDED = "embedded"
CONTAINER = "container"
URL = "url"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nodes pull from it; --listen narrows it
CONTAINER_PORT = 5000


@dataclass(frozen=True)
class Options:
    """How to install.

    Attributes:
        mode: `embedded`, `container` or `url`.
        target: the registry, in mode `url`.
        domain: the site's; the registry is `registry.<domain>`. Empty: this host's address is used.
        host, port: where airbundle's server listens.
        access_log: whether the server's log has a line for each request.
        container_port: where the registry's container listens.
        prefix: what repositories begin with; in mode `url` the target has it.
        jobs: connections at once to a registry.
        ca_passphrase: gives the passphrase of a CA's key where it is not kept at the site; None: it can't be asked.
    """

    mode: str = EMBEDDED
    target: Target | None = None
    domain: str = ""
    host: str = EVERYWHERE
    port: int = SITE_PORT
    access_log: bool = False
    container_port: int = CONTAINER_PORT
    prefix: str = ""
    jobs: int = DEFAULT_JOBS
    ca_passphrase: Callable[[], bytes] | None = field(default=None, repr=False)

    @property
    def whole(self) -> bool:
        """Whether the site keeps all blobs: only then airbundle's own server can serve images."""
        return self.mode == EMBEDDED

    @property
    def serves(self) -> tuple[str, ...]:
        """What airbundle's server offers."""
        return PARTS if self.mode == EMBEDDED else (CHARTS, FILES, CLAMAV)

    @property
    def here(self) -> str:
        """The address at which this host itself reaches the server."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound

    @property
    def here_url(self) -> str:
        """URL of the server for this host itself."""
        return f"https://{join_host(self.here, self.port)}"
