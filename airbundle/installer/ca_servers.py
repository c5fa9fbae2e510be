"""Certificates of the site's servers, below the CA's directory: made when needed, renewed before they end."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from airbundle.crypto.authority import Authority, load_server_key, new_server_key
from airbundle.crypto.certificate import (
    CertificateInfo,
    certificate_info,
    check_key,
    is_self_signed,
    load_chain,
    signed_by,
)
from airbundle.crypto.csr import covers
from airbundle.crypto.profile import SERVER_DAYS
from airbundle.errors import NoPermission, SiteError, UsageError, VerificationError
from airbundle.installer.ca_files import CaFiles

RENEW_BELOW = 1 / 3
"""A certificate is renewed when less of its life is left."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate on disk.

    Attributes:
        label: the files' name without its ending.
        certificate: chain file, PEM, 0644.
        key: private key, PEM, 0600.
        info: what the certificate says; `info.days_left()`.
        renewed: whether this call made it: a server that runs has to load it.
    """

    label: str
    certificate: Path
    key: Path
    info: CertificateInfo
    renewed: bool = False


class ServerCertificates:
    """The certificates in `servers/`."""

    def __init__(self, files: CaFiles, authority: Callable[[], Authority]) -> None:
        """Name the places.

        Args:
            files: the CA's directory.
            authority: opens the CA; called only when something is issued.
        """
        self._files = files
        self._authority = authority

    def get(
        self, names: Sequence[str], *, label: str = "", days: int = SERVER_DAYS, force: bool = False
    ) -> ServerCertificate:
        """Return a certificate for `names`; see `SiteCa.server_certificate`."""
        stem = file_stem(label or names[0])
        here = self.find(stem, names)
        if here is not None and not force and not self._due(here):
            return here
        try:
            return self._issue(stem, names, days)
        except (UsageError, NoPermission) as error:
            if here is None or force or here.info.life_left() <= 0:
                raise self._explained(error, names) from None
            _log.warning("%s has %d days left and is not renewed: %s", stem, here.info.days_left(), error)
            return here

    def all(self) -> list[ServerCertificate]:
        """Return those that are there with their keys, by label."""
        labels = sorted(path.name[: -len(".crt")] for path in self._files.path("servers").glob("*.crt"))
        return [here for here in (self.find(label, ()) for label in labels) if here is not None]

    def find(self, stem: str, names: Sequence[str]) -> ServerCertificate | None:
        """Return the certificate that is there, if its key fits and it is for all of `names`."""
        certificate, key = self._files.server(stem, "crt"), self._files.server(stem, "key")
        chain, private = self._files.maybe(certificate), self._files.maybe(key)
        if chain is None or private is None:
            return None
        try:
            info = certificate_info(chain)
            check_key(load_chain(chain, what=stem)[0], load_server_key(private), what=stem)
        except (UsageError, VerificationError):
            return None
        if not all(covers(info.names, name) for name in names):
            return None
        return ServerCertificate(stem, certificate, key, info)

    def _due(self, here: ServerCertificate) -> bool:
        if here.info.life_left() < RENEW_BELOW:
            return True
        state = self._files.state()
        if state is None or not state.generation:
            return False
        leaf, *above = load_chain(self._files.read(here.certificate), what=here.label)
        issuing = load_chain(self._files.chain(state), what="CA certificate")
        return not signed_by(leaf, issuing[0]) or above != [each for each in issuing if not is_self_signed(each)]

    def _issue(self, stem: str, names: Sequence[str], days: int) -> ServerCertificate:
        authority = self._authority()
        issued = authority.issue(names, days=days, key=self._usable_key(stem))
        certificate, key = self._files.server(stem, "crt"), self._files.server(stem, "key")
        # Key first: a certificate without its key is a server that does not start.
        self._files.write_key(key, issued.key)
        self._files.write_certificate(certificate, issued.chain)
        return ServerCertificate(stem, certificate, key, certificate_info(issued.chain), renewed=True)

    def _usable_key(self, stem: str) -> bytes:
        key = self._files.maybe(self._files.server(stem, "key"))
        if key is not None:
            try:
                load_server_key(key)
                return key
            except UsageError:
                _log.warning("%s is damaged and made anew", self._files.server(stem, "key"))
        return new_server_key()

    def _explained(self, error: UsageError | NoPermission, names: Sequence[str]) -> Exception:
        state = self._files.state()
        if state is None or state.generation:
            return error
        return SiteError(
            f"no certificate for {', '.join(names)} is here, and this site's certificates are issued elsewhere",
            outcome="unchanged",
            hint=f"`airbundle ca csr {' '.join(names)}`, have it signed, `airbundle ca import FILE`",
        )


def file_stem(name: str) -> str:
    """Return a file name for a server's name."""
    return re.sub(r"[^a-z0-9.-]", "_", name.lower()).lstrip(".-") or "server"
