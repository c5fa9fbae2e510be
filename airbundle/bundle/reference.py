"""Image references: parsing, Docker's normalisation, and names at the site (design §5).

Grammar: distribution `reference/regexp.go`. `redis` is `docker.io/library/redis:latest`; the first component is
a host when it holds a dot or a colon, or is `localhost`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from airbundle.bundle.digest import hex_of, is_digest
from airbundle.errors import UsageError

DOCKER_HUB = "docker.io"
_NAME_LIMIT = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Reference:
    """A full image name: `registry/repository[:tag][@digest]`; at least one of tag and digest."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        text = self.name
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag."""
        return self.digest or self.tag

    @property
    def full_name(self) -> str:
        """`name:tag` as the bundle annotates it; digest-only references get the tag `airbundle-<12 hex>`."""
        return f"{self.name}:{self.tag or digest_tag(self.digest)}"


def digest_tag(digest: str) -> str:
    """Return the tag of an image that is known only by `digest`; never `sha256-…`, which cosign owns."""
    return f"airbundle-{hex_of(digest)[:12]}"


def site_repository(name: str, prefix: str = "") -> str:
    """Map `host[:port]/path` to the repository at the site: `host_port/path` below `prefix`."""
    host, _, path = name.partition("/")
    parts = [part for part in (prefix.strip("/"), host_path(host), path) if part]
    return "/".join(parts)


def host_path(host: str) -> str:
    """Return `host[:port]` as one legal path component: `h:5000` → `h_5000`, `[::1]:5000` → `ip6---1_5000`."""
    host = host.lower()
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        host = "ip6-" + address.replace(":", "-") + ("0" if address.endswith(":") else "") + port
    return host.replace(":", "_")


def without_credentials(text: str) -> str:
    """Return a name or URL, as somebody wrote it, fit for an error: without the user and password it may hold."""
    scheme, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    before, at, after = rest.rpartition("@")
    if not at or not (mark or (":" in before and "/" in after)):  # the @ of a digest
        return text
    return f"{scheme}{mark}…@{after}"


def parse_reference(text: str, *, default_tag: str = "latest") -> Reference:
    """Parse an image reference and normalise it as Docker does.

    Args:
        text: for example `redis`, `quay.io/x/y:v1@sha256:…`, `localhost:5000/app`.
        default_tag: the tag of a reference with neither tag nor digest; empty to refuse those.

    Raises:
        UsageError: it doesn't parse; says which part, and what was expected.
    """
    shown = without_credentials(text)
    if shown != text:
        raise UsageError(
            f"reference {shown!r}: a reference holds no user name or password",
            hint="credentials belong into registries.yaml, or `docker login` keeps them",
        )
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise UsageError(f"reference {text!r}: {digest!r} is no digest", hint="expected @sha256:<64 hex digits>")
    slash = rest.rfind("/")
    colon = rest.rfind(":")
    tag = ""
    if colon > slash:
        rest, tag = rest[:colon], rest[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"reference {text!r}: {tag!r} is no tag",
                hint="a tag is up to 128 letters, digits, '_', '.' and '-', and starts with none of '.-'",
            )
    registry, repository = _split_host(rest)
    if not _HOST.fullmatch(registry):
        raise UsageError(f"reference {text!r}: {registry!r} is no registry host")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _NAME_LIMIT:
        raise UsageError(
            f"reference {text!r}: {repository!r} is no repository",
            hint="a repository is lower-case words joined by '.', '_', '-' and '/', 255 characters at most",
        )
    if not tag and not digest:
        if not default_tag:
            raise UsageError(f"reference {text!r} has neither tag nor digest")
        tag = default_tag
    return Reference(registry, repository, tag, digest)


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = first, rest
    else:
        registry, repository = DOCKER_HUB, name
    if registry in {"index.docker.io", "registry-1.docker.io"}:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository
