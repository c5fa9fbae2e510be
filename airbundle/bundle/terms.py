"""The texts that both documents are made of: names, versions, platforms, paths, URLs.

Patterns stay within what Python's `re` and ECMA-262 share, so that editors check the same.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from airbundle.bundle.durations import DURATION_PATTERN, EXPIRES_PATTERN, check_expires, parse_duration
from airbundle.bundle.fields import Text
from airbundle.errors import UsageError

API_VERSION = "airbundle.dev/v1"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_URL = r"https?://[^\s/?#\\]+(?:[/?][^\s#\\]*)?"


def check_inside(path: str) -> None:
    """Raise UsageError unless `path` is relative and does not climb; whoever reads it checks symbolic links."""
    parts = path.split("/")
    if path.startswith(("/", "~")) or ".." in parts:
        raise UsageError(f"the path {path!r} leaves the directory of the document", hint="put the file below it")
    _check_plain(path)


def check_inside_or_absolute(path: str) -> None:
    """Raise UsageError unless `path` does not climb; an absolute path is the plain way to allow another place."""
    if path.startswith("~") or ".." in path.split("/"):
        raise UsageError(f"the path {path!r} climbs out of its directory", hint="write the absolute path")
    _check_plain(path)


def _check_plain(path: str) -> None:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise UsageError(f"the path {path!r} holds control characters")


def normal_path(path: str) -> str:
    """Return the one spelling of a path: `./a//b/` is `a/b`."""
    return str(PurePosixPath(path))


def check_host_is_all(url: str) -> None:
    """Raise UsageError when a URL carries credentials, or has no host and port that could be."""
    authority = re.sub(r"^[a-z+]+://", "", url).split("/", 1)[0]
    if "@" in authority:
        raise UsageError(
            "the URL carries credentials, which end up in git",
            hint="keep them in registries.yaml or the Docker credential store",
        )
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from None
    if port == 0:
        raise UsageError(f"{url!r} is no URL: there is no port 0")


def _check_permitted(text: str) -> None:
    """A name constraint (RFC 5280 §4.2.1.10): what looks like an address must be a network."""
    if not re.fullmatch(r"[0-9.]+(?:/[0-9]+)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:/[0-9]+)?", text):
        return
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no network: {error}") from None


def dns_label(expected: str) -> Text:
    """Return the kind of text that is a DNS label (RFC 1123)."""
    return Text(f"{expected}: lower-case letters, digits and '-', at most 63, such as messenger", _LABEL, limit=63)


def one_of(*choices: str) -> Text:
    """Return the kind of text that is one of `choices`."""
    return Text("one of " + ", ".join(choices) if len(choices) > 1 else choices[0], choices=choices)


def _check_version(text: str) -> None:
    if ".." in text:
        raise UsageError(f"the version {text!r} holds '..'; it becomes a file name")


VERSION = Text(
    "a version such as 1.4.0: letters, digits, '.', '-' and '_', at most 128 (it becomes a file name and a tag)",
    r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
    check=_check_version,
    limit=128,
)
DNS_NAME = Text("a DNS name, such as messenger.internal", _DOMAIN, limit=253)
PLATFORM = Text(
    "os/architecture[/variant], such as linux/amd64", r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9][a-z0-9.]*)?", limit=64
)
INSIDE_PATH = Text("a path below the document's directory", check=check_inside)
ANY_PATH = Text("a path below the document's directory, or an absolute one", check=check_inside_or_absolute)
FILE_NAME = Text("a plain file name: letters, digits and '.+_-~'", r"[A-Za-z0-9_][A-Za-z0-9.+_~-]{0,199}", limit=200)
SHA256 = Text("64 lower-case hex digits, with or without 'sha256:' before them", r"(?:sha256:)?[0-9a-f]{64}")
URL = Text("an http:// or https:// URL without credentials", _URL, check=check_host_is_all)
DURATION = Text("a duration such as 10m or 1h30m", DURATION_PATTERN, check=parse_duration)
EXPIRES = Text(
    "a duration such as 90d or 12h, an RFC 3339 date such as 2027-01-31, or never", EXPIRES_PATTERN, check=check_expires
)
CHART_NAME = Text("a chart's name, lower case, such as cert-manager", _COMPONENT, limit=128)
CHART_VERSION = Text(
    "a version such as v1.21.1, or a range such as ^1.21, '>=1.2 <2' or '*', in quotes",
    r"[0-9A-Za-z.+*^~<>=!|, -]+",
    limit=128,
)
CHART_REPOSITORY = Text(
    "a repository: https://…, http://… or oci://…, without credentials",
    r"(?:https?|oci)://[^\s/?#\\]+(?:/[^\s?#\\]*)?",
    check=check_host_is_all,
)
KUBERNETES_VERSION = Text('a Kubernetes version in quotes, such as "1.33"', r"v?[0-9]+\.[0-9]+(?:\.[0-9]+)?")
API_GROUP_VERSION = Text(
    "an API version, such as monitoring.coreos.com/v1 or monitoring.coreos.com/v1/ServiceMonitor",
    r"(?:[a-z0-9.-]+/)?v[0-9][a-z0-9]*(?:/[A-Za-z0-9]+)?",
)
PERMITTED = Text(
    "a DNS name or a network, such as messenger.internal or 10.0.0.0/8",
    r"\.?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:.]+(?:/[0-9]{1,3})?",
    check=_check_permitted,
    limit=253,
)
