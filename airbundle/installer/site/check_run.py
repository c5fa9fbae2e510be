"""Runs the declared checks of releases: a release is up only when they hold (docs/deploy.md).

Over the network they go from this host, as a client of the site would: by the host's own names, by the records of the
site file where the host does not know a name, and with the site's CA alone. Services of the cluster are asked through
its API. All checks of a release run at the same time, each until it holds or its time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from ipaddress import ip_address

from airbundle.bundle.durations import parse_duration
from airbundle.bundle.own_names import OwnName, names_at
from airbundle.bundle.release import Release
from airbundle.bundle.release_checks import Check, PodCheck
from airbundle.bundle.site import Site
from airbundle.deploy.checks import (
    Mismatch,
    Place,
    command_mismatch,
    command_of,
    filled,
    http_mismatch,
    place_of,
    ready_pod,
    title,
    tls_mismatch,
    workload_of,
)
from airbundle.deploy.dig import text
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.pods import selector_of
from airbundle.deploy.zone import zones_of
from airbundle.errors import AirbundleError, DocumentError, Finding, SiteError, Unauthorized
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.step import SiteRun
from airbundle.store.reader import BundleFile
from airbundle.transfer.cluster import Resource
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.local import addresses_of
from airbundle.transfer.probe import Target, probe_http, probe_tcp, probe_tls

_AT_ONCE = 8
_PODS = Resource("v1", "pods", "Pod")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_ONE_LOOK = 20.0
"""Seconds that one look may take, whatever time is left."""
_COUNTED = 30.0
"""Most seconds that one look counts for."""


@dataclass(frozen=True)
class Desk:
    """What checks need of a site.

    Attributes:
        site: its names and its zone.
        cluster: its API.
        ca: PEM of what is trusted; empty where there is no CA.
        resolve: gives the addresses of a name as this host knows them.
        own: names that the bundle of the checks declares.
    """

    site: Site
    cluster: ClusterWriter
    ca: bytes
    resolve: Callable[[str], list[str]] = addresses_of
    own: tuple[OwnName, ...] = ()

    @classmethod
    def of(cls, run: SiteRun, bundle: BundleFile) -> Desk:
        """Return what a run has of it; `bundle` is the one that has the checks."""
        ca = SiteCa.of(run.state)
        return cls(run.site.site, run.cluster, ca.trust_pem if ca.exists else b"", own=bundle.lock.site)


def run_checks(run: SiteRun, release: Release, namespace: str) -> None:
    """Wait until all checks of a release hold.

    Args:
        run: what the steps share.
        release: with the site's choices.
        namespace: that it is in.

    Raises:
        SiteError: some do not hold in time; its findings say what was found of each, and what is expected.
    """
    findings = check_findings(Desk.of(run, run.trusted.bundle), release, namespace)
    if findings:
        raise SiteError(
            f"release {release.name}: {len(findings)} of {len(release.checks)} checks do not hold", findings=findings
        )


def check_findings(desk: Desk, release: Release, namespace: str, *, wait: bool = True) -> list[Finding]:
    """Return what does not hold, in the order of the checks.

    Args:
        desk: the site.
        release: with the site's choices.
        namespace: that it is in.
        wait: until it holds or its time is over; else one look decides.
    """
    if not release.checks:
        return []

    def one(check: Check) -> Finding | None:
        seconds = parse_duration(check.timeout or release.timeout).total_seconds() if wait else 0.0
        return _checked(desk, release, namespace or "default", check, seconds)

    with ThreadPoolExecutor(min(_AT_ONCE, len(release.checks)), "check") as pool:
        return [finding for finding in pool.map(one, release.checks) if finding is not None]


def _checked(desk: Desk, release: Release, namespace: str, check: Check, seconds: float) -> Finding | None:
    where = f"release {release.name}"
    try:
        check = filled(check, names_at(desk.site, desk.own), where)
    except DocumentError as error:
        return Finding(error.problem, where, "check", hint="; ".join(map(str, error.findings)))
    left, pause = seconds, _FIRST_PAUSE
    while True:
        begun, final = time.monotonic(), False
        try:
            mismatch = _look(desk, namespace, check)
        except Unauthorized as error:  # more time does not give more rights
            mismatch, final = Mismatch(error.problem, "an answer"), True
        except (AirbundleError, ValueError) as error:
            mismatch = Mismatch(getattr(error, "problem", str(error)), "an answer")
        if mismatch is None:
            return None
        # While the API server does not answer, nothing can be seen: that is not counted in full.
        left -= min(time.monotonic() - begun, _COUNTED) + pause
        if final or left < 0:
            waited = f" within {seconds:.0f} s" if seconds and not final else ""
            message = f"the check {title(check)} does not hold{waited}"
            return Finding(message, where, f"check-{check.kind}", mismatch.found, mismatch.expected)
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _look(desk: Desk, namespace: str, check: Check) -> Mismatch | None:
    pod = check.in_pod
    if pod is not None:
        name = _pod(desk.cluster, namespace, pod)
        if not name:
            return Mismatch("no pod that is ready", f"one of {pod.pod} in {namespace}")
        command = command_of(check)
        code, output = desk.cluster.exec(namespace, name, command, container=pod.container, timeout=_ONE_LOOK)
        return command_mismatch(check, code, output)
    place = place_of(check)
    if check.http:
        return _http(desk, check, place)
    target = Target(place.host, place.port, _addresses(desk, place))
    if check.tcp:
        probe_tcp(target, timeout=_ONE_LOOK)
        return None
    ends = probe_tls(target, _trust(desk), timeout=_ONE_LOOK)
    return tls_mismatch(check, (ends - datetime.now(timezone.utc)).days)


def _http(desk: Desk, check: Check, place: Place) -> Mismatch | None:
    service = place.service
    if service is not None:
        status, body = desk.cluster.service_get(*service, place.port, place.target, place.scheme)
    else:
        target = Target(place.host, place.port, _addresses(desk, place))
        ca = _trust(desk) if place.scheme == "https" else None
        status, body = probe_http(target, place.target, ca, timeout=_ONE_LOOK)
    return http_mismatch(check, status, body)


def _trust(desk: Desk) -> bytes:
    if not desk.ca:
        raise SiteError("there is no CA at this site that a certificate could chain to", outcome="unchanged")
    return desk.ca


def _addresses(desk: Desk, place: Place) -> list[str]:
    """Return the addresses of a host: as this host knows it, else by the site file, else of a Service."""
    try:
        return [str(ip_address(place.host))]
    except ValueError:
        pass
    found = desk.resolve(place.host)
    if found:
        return found
    name = place.host.lower().rstrip(".")
    for zone in zones_of(desk.site.dns):
        if name == zone.name or name.endswith(f".{zone.name}"):
            found += zone.addresses(name)
    service = place.service
    if not found and service is not None:
        address = text(desk.cluster.get(ObjectKey("v1", "Service", *service)), "spec", "clusterIP")
        found = [address] if address not in ("", "None") else []
    return found


def _pod(cluster: ClusterWriter, namespace: str, pod: PodCheck) -> str:
    """Return the name of a ready pod that fits; empty where there is none."""
    key = workload_of(pod.pod, namespace)
    if key is None:
        return ready_pod(cluster.objects(_PODS, namespace, labels=pod.pod))
    body = cluster.get(key)
    if body is None:
        return ""
    if key.kind == "Pod":
        return ready_pod([body])
    selector = selector_of(body)
    return ready_pod(cluster.objects(_PODS, namespace, labels=selector)) if selector else ""
