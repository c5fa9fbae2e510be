"""The private registry that someone names: `--registry URL`, with its trust and its credentials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from airbundle.bundle.naming import check_prefix
from airbundle.bundle.reference import without_credentials
from airbundle.errors import UsageError
from airbundle.installer.login import read_login
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registries import load_registries
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.upload_session import UploadRecord
from airbundle.transfer.wire import BadUrl, Url


@dataclass(frozen=True)
class Target:
    """A registry to load into.

    Attributes:
        url: `https://host[:port]`, or `http://…` where that was said.
        host: `host:port` or `host`, as image names begin with.
        prefix: what repositories begin with.
        ca_file: PEM of the CA to trust besides the system's; None for those alone.
        registries: a `registries.yaml`; None for the usual place.
        login: a site file that may say how to log in, which goes before what others say; None without one.
    """

    url: str
    host: str
    prefix: str = ""
    ca_file: Path | None = None
    registries: Path | None = None
    login: Path | None = None

    def client(self, reporter: Reporter = SILENT, uploads: UploadRecord | None = None) -> RegistryClient:
        """Return a client for it.

        Args:
            reporter: gets warnings and long waits.
            uploads: remembers upload sessions for later runs.

        Raises:
            UsageError, DocumentError: `registries.yaml`, the CA file or the site file's login can't be used.
        """
        return RegistryClient(self._registries(), side="site", reporter=reporter, uploads=uploads)

    @property
    def tls(self) -> TlsSettings:
        """How it is trusted: by `--registry-ca`, and by what `registries.yaml` says of it.

        Raises:
            DocumentError: `registries.yaml` can't be used.
        """
        return self._trusting().tls(self.host) or TlsSettings()

    @property
    def user(self) -> str:
        """The user name that site file or `registries.yaml` has for it, which podman and helm don't know; or empty."""
        credential = self._registries().auth(self.host)
        return credential.username if credential else ""

    def _registries(self) -> Registries:
        credential = read_login(self.login) if self.login is not None else None
        known = self._trusting()
        return known.with_registry(self.url, credential=credential) if credential else known

    def _trusting(self) -> Registries:
        known = load_registries(self.registries)
        tls = known.tls(self.host)
        if self.ca_file is not None:
            tls = replace(tls or TlsSettings(), ca_file=str(self.ca_file))
        return known.with_registry(self.url, tls=tls)


def parse_target(
    text: str,
    *,
    prefix: str = "",
    ca_file: Path | None = None,
    registries: Path | None = None,
    login: Path | None = None,
) -> Target:
    """Read `--registry`.

    Args:
        text: `host:port`, `https://host:port/prefix`, or `http://…` for a registry without TLS.
        prefix: of `--prefix`; comes after a path in `text`.
        ca_file, registries, login: files.

    Raises:
        UsageError: `text` is none of these forms, or a file isn't there.
    """
    try:
        url = Url.parse(text if "://" in text else f"https://{text}")
    except BadUrl as error:
        raise UsageError(
            f"--registry {without_credentials(text)!r}: {error}", hint="expected host:port or https://host:port/prefix"
        ) from None
    if "?" in url.target:
        raise UsageError(f"--registry {text!r}: a registry's URL has no query", hint="leave out what follows the `?`")
    if ca_file is not None and not ca_file.is_file():
        raise UsageError(f"--registry-ca {ca_file}: there is no such file")
    whole = "/".join(part for part in (url.path.strip("/"), check_prefix(prefix)) if part)
    host = url.host if _is_host(url.host) else f"{url.hostname}:{url.port}"
    absolute = ca_file.absolute() if ca_file else None
    return Target(f"{url.scheme}://{url.host}", host, check_prefix(whole), absolute, registries, login)


def _is_host(host: str) -> bool:
    """Tell whether image names may begin with it: `registry/x` would be a repository of Docker Hub."""
    return any(mark in host for mark in ".:") or host == "localhost"
