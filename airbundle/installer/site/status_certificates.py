"""The certificates of a site's cluster: those that cert-manager looks after, and those that airbundle put there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airbundle.bundle.statement import parse_time
from airbundle.crypto.certificate import certificate_info
from airbundle.deploy.dig import mapping, text
from airbundle.deploy.keeping import title_of
from airbundle.deploy.objects import parse_key
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.journal import Journal
from airbundle.installer.site.closed import closed, list_open
from airbundle.installer.site.site_state import Deployment
from airbundle.installer.site.step import SiteRun

FEW_DAYS = 14
_CERTIFICATE = ("cert-manager.io/v1", "Certificate")


@dataclass(frozen=True)
class Expiry:
    """A certificate, and whole days until it ends; `problem` is what else is wrong with it."""

    what: str
    days: int
    problem: str = ""


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
        yield from map(_of_certificate, bodies or ())
    for key in {parse_key(each["object"]) for each in Journal(run.site_state.journal).undo() if "object" in each}:
        if key.kind == "Secret":
            secret = run.cluster.get(key)
            chain = _chain(secret) if secret else b""
            if chain:
                try:
                    yield Expiry(key.title, certificate_info(chain, what=key.title).days_left())
                except AirbundleError as error:
                    yield Expiry(key.title, 0, error.problem)


def expiry_findings(found: Iterable[Expiry]) -> Iterator[Finding]:
    """Yield a finding for each certificate that ends soon, has ended, or is not ready."""
    for each in found:
        if each.problem:
            yield Finding(each.problem, where=each.what, code="certificate", hint="see what its issuer says of it")
        elif each.days < FEW_DAYS:
            words = f"ends in {each.days} days" if each.days >= 0 else "has ended"
            hint = "cert-manager renews it before: see what it says of it; of a Secret: install the bundle again"
            yield Finding(f"the certificate {words}", where=each.what, code="certificate", hint=hint)


def _of_certificate(body: Mapping[str, Any]) -> Expiry:
    what = f"Certificate {title_of(body)}"
    status = mapping(body, "status")
    conditions = status.get("conditions")
    ready = (
        [each for each in conditions if isinstance(each, Mapping) and each.get("type") == "Ready"]
        if isinstance(conditions, list)
        else []
    )
    good = any(each.get("status") == "True" for each in ready)
    said = next((str(each.get("message") or "") for each in ready), "")
    try:
        days = (parse_time(text(body, "status", "notAfter")) - datetime.now(timezone.utc)).days
    except AirbundleError:
        return Expiry(what, 0, f"it has no certificate yet: {said:.300}")
    return Expiry(what, days, "" if good else f"it is not ready: {said:.300}")


def _chain(secret: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(text(secret, "data", "tls.crt"), validate=True)
    except (binascii.Error, ValueError):
        return b""
