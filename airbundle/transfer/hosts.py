"""What `registries.yaml` says, as values: for a name its endpoints, for a host its trust and credentials.

`registries` reads the file; nothing here touches disk or network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airbundle.bundle.reference import without_credentials
from airbundle.errors import UsageError
from airbundle.transfer.credentials import Credential
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import BadUrl, Url

DOCKER_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
WILDCARD = "*"
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")


@dataclass(frozen=True)
class Endpoint:
    """Where a repository's requests go.

    Attributes:
        url: base of the distribution API, such as `https://registry-1.docker.io/v2`.
        repository: its name there, after rewriting.
        namespace: upstream host that a mirror is told as `?ns=`, as containerd does; empty at the host itself.
    """

    url: Url
    repository: str
    namespace: str = ""

    @property
    def host(self) -> str:
        """Host and port of the endpoint."""
        return self.url.host


@dataclass(frozen=True)
class Mirror:
    """One entry of `mirrors`.

    Attributes:
        endpoints: URLs in the order in which they are tried.
        rewrites: regular expressions on the repository, with their replacements; the first that matches is used.
        default_endpoint: whether the host itself is tried after them.
    """

    endpoints: tuple[Url, ...] = ()
    rewrites: tuple[tuple[re.Pattern[str], str], ...] = ()
    default_endpoint: bool = True

    def rewritten(self, repository: str) -> str:
        """Return the repository's name at these endpoints."""
        for pattern, replacement in self.rewrites:
            changed = pattern.sub(lambda match, text=replacement: expand(text, match), repository)  # type: ignore[misc]
            if changed != repository:
                return changed
        return repository


@dataclass(frozen=True)
class HostConfig:
    """One entry of `configs`.

    Attributes:
        tls: how to trust the host; None when not said.
        credential: how to log in; None when not said.
        token_hosts: hosts of token servers that may get this host's credentials (docs/decisions/0011).
    """

    tls: TlsSettings | None = None
    credential: Credential | None = None
    token_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registries:
    """A parsed `registries.yaml`. The empty one speaks HTTPS to every host."""

    mirrors: Mapping[str, Mirror] = field(default_factory=dict)
    configs: Mapping[str, HostConfig] = field(default_factory=dict)

    def endpoints(self, registry: str, repository: str) -> list[Endpoint]:
        """Return where to ask for `registry/repository`, in order; the host itself is the last, unless disabled.

        Raises:
            UsageError: a rewrite makes a name that is no repository.
        """
        mirror = self.mirrors.get(registry) or self.mirrors.get(WILDCARD) or Mirror()
        upstream = upstream_url(registry)
        name = mirror.rewritten(repository)
        if mirror.endpoints and not _NAME.fullmatch(name):
            raise UsageError(
                f"registries.yaml: the rewrite for {registry} makes {name!r} of {repository!r}, which is no repository"
            )
        found = []
        for url in mirror.endpoints:
            own = url.host in (registry, upstream.host)
            found.append(Endpoint(_api(url), name, "" if own else registry))
        if mirror.default_endpoint and all(endpoint.host != upstream.host for endpoint in found):
            found.append(Endpoint(_api(upstream), repository))
        return found

    def push_endpoint(self, registry: str, repository: str) -> Endpoint:
        """Return where to push: the host itself (over plain HTTP where an endpoint says so), never a mirror."""
        upstream = upstream_url(registry)
        for endpoint in self.endpoints(registry, repository):
            if endpoint.host == upstream.host:
                return endpoint
        return Endpoint(_api(upstream), repository)

    def _config(self, host: str) -> HostConfig:
        for name in (host, DOCKER_HUB if host == _HUB_HOST else host, WILDCARD):
            if name in self.configs:
                return self.configs[name]
        return HostConfig()

    def tls(self, host: str) -> TlsSettings | None:
        """Return how `host[:port]` is trusted; None when nothing is said."""
        return self._config(host).tls

    def auth(self, host: str) -> Credential | None:
        """Return the credentials for `host[:port]`; None when nothing is said."""
        return self._config(host).credential

    def token_hosts(self, host: str) -> tuple[str, ...]:
        """Return the token servers that may get the credentials of `host[:port]`."""
        return self._config(host).token_hosts

    def allows_http(self, host: str) -> bool:
        """Tell whether an endpoint says that `host[:port]` speaks plain HTTP."""
        return any(
            url.scheme == "http" and url.host == host for mirror in self.mirrors.values() for url in mirror.endpoints
        )

    def with_registry(
        self, url: str, *, tls: TlsSettings | None = None, credential: Credential | None = None
    ) -> Registries:
        """Return these with one more registry, named by URL, as `--registry URL` does.

        Args:
            url: `https://host[:port]` or `http://…`; a path is ignored.
            tls, credential: where given, they go before what the file says of this host.

        Raises:
            UsageError: not such a URL.
        """
        try:
            parsed = Url.parse(url)
        except BadUrl as error:
            raise UsageError(
                f"registry {without_credentials(url)!r}: {error}", hint="expected https://host[:port][/prefix]"
            ) from None
        host, old = parsed.host, self._config(parsed.host)
        config = replace(old, tls=tls or old.tls, credential=credential or old.credential)
        mirrors = dict(self.mirrors)
        if parsed.scheme == "http":
            mirrors[host] = Mirror((replace(parsed, target="/"),))
        return Registries(mirrors, {**self.configs, host: config})


def upstream_url(registry: str) -> Url:
    """Return the base URL of the host in an image name. Raises UsageError when it is none."""
    host = _HUB_HOST if registry == DOCKER_HUB else registry
    try:
        return Url.parse(f"https://{host}")
    except BadUrl as error:
        raise UsageError(f"registry {without_credentials(registry)!r}: {error}") from None


def _api(url: Url) -> Url:
    path = url.path.rstrip("/")
    return replace(url, target=path or "/v2")


def expand(template: str, match: re.Match[str]) -> str:
    """Return a Go replacement template (`$1`, `${1}`, `${name}`, `$$`) filled from `match`."""

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not name:
            return "$"
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except (IndexError, KeyError):
            return ""

    return re.sub(r"\$(?:\{(\w+)\}|(\w+)|\$)", one, template)
