"""What the answers to declared checks must be, and what is asked: rules over values (docs/deploy.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from airbundle.bundle.redaction import redact_text
from airbundle.bundle.release_checks import DEFAULT_QUERY, Check, PodCheck
from airbundle.bundle.site import SiteValue
from airbundle.bundle.template import fill
from airbundle.deploy.dig import condition, text
from airbundle.deploy.objects import ObjectKey

_API_VERSIONS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}
_SERVICE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.([a-z0-9][a-z0-9-]{0,62})\.svc(?:\.cluster\.local)?\.?")
_SHOWN = 300
_LOOKED_AT = 65536
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Mismatch:
    """What was found, and what was expected instead."""

    found: str
    expected: str


@dataclass(frozen=True)
class Place:
    """Where a check goes over the network.

    Attributes:
        host, port: as the certificate and the request have them.
        scheme: `http`, `https`, or empty.
        target: path and query of a request.
    """

    host: str
    port: int
    scheme: str = ""
    target: str = "/"

    @property
    def service(self) -> tuple[str, str] | None:
        """Namespace and name of the cluster's Service that `host` is; None for any other name."""
        match = _SERVICE.fullmatch(self.host)
        return (match[2], match[1]) if match else None


def filled(check: Check, names: Mapping[str, SiteValue], where: str) -> Check:
    """Return a check with the names of the site filled in.

    Raises:
        DocumentError: the site does not say one of them.
    """
    new: dict[str, Any] = {}
    for name in ("http", "body", "tcp", "tls"):
        new[name] = fill(getattr(check, name), names, where)
    for name in ("exec", "sql", "redis"):
        pod = getattr(check, name)
        if isinstance(pod, PodCheck):
            command = tuple(fill(word, names, where) for word in pod.command)
            new[name] = replace(pod, command=command, query=fill(pod.query, names, where))
    return replace(check, **new)


def title(check: Check) -> str:
    """Return what people call a check: `http https://…`, `sql StatefulSet/db`."""
    pod = check.in_pod
    return f"{check.kind} {pod.pod if pod else check.http or check.tcp or check.tls}"


def place_of(check: Check) -> Place:
    """Return where a check over the network goes; names are filled in.

    Raises:
        ValueError: nobody could go there.
    """
    parts = urlsplit(check.http or f"//{check.tcp or check.tls}")
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    if not host or not port or "{" in host:
        raise ValueError(f"{check.http or check.tcp or check.tls!r:.200} names no host and port")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host, port, parts.scheme, target)


def command_of(check: Check) -> list[str]:
    """Return the command that is run in the pod."""
    pod = check.in_pod
    assert pod is not None  # noqa: S101 - asked of those checks alone
    if check.redis:
        return ["redis-cli", "PING"]
    if check.exec:
        return list(pod.command)
    told = (("-d", pod.database), ("-U", pod.user))
    options = [word for flag, value in told if value for word in (flag, value)]
    # Neither the caller's configuration nor a question for a password: nobody is there to answer.
    return ["psql", "-X", "-w", "-A", "-t", "-v", "ON_ERROR_STOP=1", *options, "-c", pod.query or DEFAULT_QUERY]


def workload_of(pod: str, namespace: str) -> ObjectKey | None:
    """Return the object that `KIND/NAME` names; None where `pod` is labels."""
    kind, slash, name = pod.partition("/")
    if not slash or "=" in pod:
        return None
    return ObjectKey(_API_VERSIONS.get(kind, "v1"), kind, namespace, name)


def ready_pod(pods: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the first pod that is ready and stays; empty where none is."""
    names = [
        text(pod, "metadata", "name")
        for pod in pods
        if condition(pod, "Ready").get("status") == "True" and not text(pod, "metadata", "deletionTimestamp")
    ]
    return min(filter(None, names), default="")


def http_mismatch(check: Check, status: int, body: bytes) -> Mismatch | None:
    """Judge an answer over HTTP."""
    if status != check.status:
        return Mismatch(f"{status}: {shown(body)}" if body else str(status), str(check.status))
    if check.body and check.body not in body.decode("utf-8", "replace"):
        return Mismatch(f"{status}: {shown(body) or 'an empty answer'}", f"{check.status} with {check.body!r} in it")
    return None


def tls_mismatch(check: Check, days_left: int) -> Mismatch | None:
    """Judge a certificate whose chain and name have been verified."""
    if days_left >= check.days:
        return None
    return Mismatch(f"a certificate that ends in {days_left} days", f"at least {check.days} days")


def command_mismatch(check: Check, code: int, output: bytes) -> Mismatch | None:
    """Judge a command that ended."""
    if check.redis and code == 0:
        return None if output.strip() == b"PONG" else Mismatch(shown(output) or "no answer", "PONG")
    if code == 0:
        return None
    said = shown(output, end=True)
    return Mismatch(f"exit code {code}" + (f": {said}" if said else ""), "exit code 0")


def shown(raw: bytes, *, end: bool = False) -> str:
    """Return what an answer says on one line: its beginning, or its end; without what looks secret."""
    part = raw[-_LOOKED_AT:] if end else raw[:_LOOKED_AT]
    plain = redact_text(part.decode("utf-8", "replace"))
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())
    if len(line) <= _SHOWN:
        return line
    return f"…{line[-_SHOWN:]}" if end else f"{line[:_SHOWN]}…"
