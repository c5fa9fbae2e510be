"""The certificates of a site's cluster: those that cert-manager looks after, and those that airbundle put there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airbundle.bundle.statement import parse_time
from airbundle.crypto.certificate import certificate_info, utc_now
from airbundle.deploy.dig import condition, text
from airbundle.deploy.keeping import title_of
from airbundle.deploy.objects import parse_key
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.journal import Journal
from airbundle.installer.site.closed import closed, list_open
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.step import SiteRun

FEW_DAYS = 14
_CERTIFICATE = ("cert-manager.io/v1", "Certificate")
_DAY = timedelta(days=1)
_SAID = 300
_MANAGED = "cert-manager says no time for a renewal: see what it says of it, `kubectl describe certificate` there"


@dataclass(frozen=True)
class Expiry:
    """A certificate, and when it ends.

    Attributes:
        what: which.
        ends: None where it can't be told.
        renewal: when cert-manager is to renew it; None where that is nobody's plan.
        managed: whether cert-manager looks after it.
        problem: what else is wrong with it.
        said: what cert-manager says of a renewal.
    """

    what: str
    ends: datetime | None
    renewal: datetime | None = None
    problem: str = ""
    said: str = ""
    managed: bool = False

    def days(self, now: datetime | None = None) -> int:
        """Return whole days until it ends; negative when it has, 0 where that can't be told."""
        return (self.ends - (now or utc_now())) // _DAY if self.ends else 0

    def left(self, now: datetime | None = None) -> str:
        """Return how long it lasts, for people: in days; in hours or minutes where those are fewer than two."""
        if self.ends is None:
            return "?"
        left = self.ends - (now or utc_now())
        units = (("days", timedelta(days=1)), ("hours", timedelta(hours=1)), ("minutes", timedelta(minutes=1)))
        word, unit = next((each for each in units if abs(left) >= 2 * each[1]), units[-1])
        return f"{left // unit} {word}"

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        times = {"ends": self.ends, "renewal": self.renewal}
        told = {name: f"{time:%Y-%m-%dT%H:%M:%SZ}" for name, time in times.items() if time}
        return {"what": self.what, "days": self.days(), **told}


def expiries(run: SiteRun, deployment: Deployment, unseen: list[Finding]) -> Iterator[Expiry]:
    """Yield the certificates of a deployment's namespaces, and those that airbundle put into Secrets.

    Args:
        run: the site.
        deployment: what is up.
        unseen: gets a warning for each namespace whose certificates this user may not list.

    Raises:
        Unauthorized, Unreachable, RemoteError: the cluster does not tell.
    """
    resource = run.cluster.resource_of(*_CERTIFICATE)
    for namespace in sorted({release.namespace for release in deployment.releases}) if resource else ():
        bodies = list_open(run.cluster, resource, namespace) if resource else ()
        if bodies is None:
            unseen.append(closed("certificates", namespace))
        yield from map(expiry_of, bodies or ())
    for key in {parse_key(each["object"]) for each in Journal(run.site_state.journal).undo() if "object" in each}:
        if key.kind == "Secret":
            secret = run.cluster.get(key)
            chain = _chain(secret) if secret else b""
            if chain:
                try:
                    yield Expiry(key.title, certificate_info(chain, what=key.title).not_after)
                except AirbundleError as error:
                    yield Expiry(key.title, None, problem=error.problem)


def expiry_findings(found: Iterable[Expiry], now: datetime | None = None) -> Iterator[Finding]:
    """Yield a finding for each certificate that ends soon, has ended, or is not ready.

    One that cert-manager has still time to renew is a warning: its owner wants it that short.
    """
    now = now or utc_now()
    for each in found:
        if each.problem:
            yield Finding(each.problem, where=each.what, code="certificate", hint="see what its issuer says of it")
        elif each.days(now) < FEW_DAYS:
            yield _ending(each, now)


def _ending(each: Expiry, now: datetime) -> Finding:
    left = f"{each.left(now)} left"
    words = "the certificate ends soon" if each.days(now) >= 0 else "the certificate has ended"
    if each.renewal is None:
        hint = _MANAGED if each.managed else "install the bundle again, which renews what is airbundle's"
        return Finding(words, where=each.what, code="certificate", found=left, hint=hint)
    at = f"{each.renewal:%Y-%m-%dT%H:%M:%SZ}"
    if now < each.renewal:
        words += f", and cert-manager is to renew it at {at}"
        return Finding(words, where=each.what, code="certificate", found=left, severity="warning")
    return Finding(
        f"{words}, and cert-manager has not renewed it",
        where=each.what,
        code="certificate",
        found=f"{left}; {each.said}" if each.said else left,
        expected=f"a new one at {at}",
        hint="`kubectl describe certificate,certificaterequest` there tells why",
    )


def expiry_of(body: Mapping[str, Any]) -> Expiry:
    """Return how long the certificate of a `Certificate` lasts."""
    what = f"Certificate {title_of(body)}"
    ready, issuing = condition(body, "Ready"), condition(body, "Issuing")
    ends, renewal = (_time(text(body, "status", name)) for name in ("notAfter", "renewalTime"))
    said = text(ready, "message")[:_SAID]
    if ends is None:
        return Expiry(what, None, problem=f"it has no certificate yet: {said}", managed=True)
    problem = "" if ready.get("status") == "True" else f"it is not ready: {said}"
    return Expiry(what, ends, renewal, problem, text(issuing, "message")[:_SAID], managed=True)


def _time(written: str) -> datetime | None:
    try:
        return parse_time(written)
    except AirbundleError:
        return None


def _chain(secret: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(text(secret, "data", "tls.crt"), validate=True)
    except (binascii.Error, ValueError):
        return b""
