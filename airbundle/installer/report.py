"""What an install ends with: what is where, in a few lines, and the commands to pull one image and one chart."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.bundle.index import CHART, IMAGE, kind_of
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.sizes import counted
from airbundle.installer.load_plan import LoadPlan, Tag
from airbundle.installer.options import EMBEDDED

SERVED = {"clamav": "ClamAV database", "file": "file"}


@dataclass(frozen=True)
class Place:
    """A server of the site.

    Attributes:
        url: as clients name it.
        here: `host[:port]` under which this host itself reaches it now.
        ca_file: the CA certificate that clients need; empty when the OS's trust is enough.
        plain: whether it speaks plain HTTP.
        unverified: whether any certificate is taken.
        client: files of the certificate and key that clients need; None without.
        user: who logs in with a password that clients don't know yet; empty without.
    """

    url: str
    here: str
    ca_file: str = ""
    plain: bool = False
    unverified: bool = False
    client: tuple[str, str] | None = None
    user: str = ""


@dataclass(frozen=True)
class Report:
    """What is installed.

    Attributes:
        title: name and version.
        changed: whether this run changed anything.
        sparse: what clients get instead of an index that the registry refuses: image → digest.
        runs_as: what keeps the server running, for people.
        certificate_days: until the server's certificate ends; it is renewed before.
        notes: what is to be done or known, one line each.
    """

    title: str
    mode: str
    changed: bool
    registry: Place
    server: Place
    plan: LoadPlan
    roots: Sequence[Descriptor]
    sparse: dict[str, str]
    runs_as: str
    certificate_days: int
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield the report's text."""
        did = "installed" if self.changed else "nothing to do, it is all there"
        yield f"{self.title}: {did}"
        yield f"  registry    {self.registry.url}   {self._counted()}"
        yield f"  server      {self.server.url}   {', '.join(self._paths())}"
        yield f"              {self.runs_as}; certificate for {self.certificate_days} more days"
        if self.server.ca_file:
            yield f"  CA          {self.server.ca_file}"
        for ref, digest in self.sparse.items():
            yield f"  {ref}: the registry refuses its index; the tag is {digest}"
        commands = list(self.commands().values())
        if commands:
            yield "try:"
            yield from (f"  {command}" for command in commands)
        if self.notes:
            yield "next:"
            yield from (f"  {note}" for note in self.notes)

    def commands(self) -> dict[str, str]:
        """Return commands that work on this host now, by what they pull."""
        found = {}
        image, chart = self._first(IMAGE), self._first(CHART)
        if image is not None and self.registry.client is None:  # podman wants its certificate in a directory of its own
            access = _podman_access(self.registry)
            found["image"] = f"podman pull {access}{self.registry.here}/{image.repository}:{image.tag}"
        if chart is not None:
            version = chart.ref.rpartition(":")[2]
            if not _is_loopback(self.registry):
                oci = f"oci://{self.registry.here}/{chart.repository}"
                login = _helm_login(self.registry)
                found["chart"] = f"{login}helm pull {oci} --version {version}{_helm_trust(self.registry)}"
            name = chart.repository.rpartition("/")[2]
            url = f"https://{self.server.here}/charts"
            found["chartRepository"] = f"helm pull {name} --repo {url} --version {version}{_helm_trust(self.server)}"
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {
            "title": self.title,
            "mode": self.mode,
            "changed": self.changed,
            "registry": {"url": self.registry.url, "ca": self.registry.ca_file},
            "server": {"url": self.server.url, "ca": self.server.ca_file, "paths": list(self._paths())},
            "images": self.plan.count(IMAGE),
            "charts": self.plan.count(CHART),
            **{kind: self._count(kind) for kind in SERVED},
            "sparse": self.sparse,
            "runsAs": self.runs_as,
            "certificateDays": self.certificate_days,
            "commands": self.commands(),
            "next": list(self.notes),
        }

    def _first(self, kind: str) -> Tag | None:
        return next((tag for tag in self.plan.tags if tag.kind == kind), None)

    def _count(self, kind: str) -> int:
        return sum(kind_of(root) == kind for root in self.roots)

    def _counted(self) -> str:
        return f"{counted(self.plan.count(IMAGE), 'image')}, {counted(self.plan.count(CHART), 'chart')}"

    def _paths(self) -> Iterator[str]:
        if self.mode == EMBEDDED:
            yield "/v2/"
        yield f"/charts/ ({self.plan.count(CHART)})"
        for kind, words in SERVED.items():
            count = self._count(kind)
            if count:
                yield f"/{'files' if kind == 'file' else kind}/ ({counted(count, words)})"


def _is_loopback(place: Place) -> bool:
    """Tell whether helm 3 would talk plain HTTP to a registry, whatever it is told, because of its name."""
    name = place.here.rpartition(":")[0] or place.here
    return not place.plain and (name == "localhost" or name.startswith("127.") or name == "[::1]")


def _podman_access(place: Place) -> str:
    """Return the options with which podman gets in; a password is asked for."""
    user = f"--creds {shlex.quote(place.user)} " if place.user else ""
    if place.plain or place.unverified:
        return f"{user}--tls-verify=false "
    return f"{user}--cert-dir {shlex.quote(place.ca_file.rpartition('/')[0])} " if place.ca_file else user


def _helm_trust(place: Place) -> str:
    """Return the options with which helm (3.13 and later, where it is plain HTTP) trusts a server."""
    if place.plain:
        return " --plain-http"
    client = " --cert-file {} --key-file {}".format(*map(shlex.quote, place.client)) if place.client else ""
    if place.unverified:
        return f"{client} --insecure-skip-tls-verify"
    return f"{client} --ca-file {shlex.quote(place.ca_file)}" if place.ca_file else client


def _helm_login(place: Place) -> str:
    """Return the command before `helm pull` that asks for the password; helm has its own place for it."""
    if not place.user:
        return ""
    options = " --insecure" if place.plain or place.unverified else _helm_trust(place)
    return f"helm registry login {place.here} --username {shlex.quote(place.user)}{options} && "
