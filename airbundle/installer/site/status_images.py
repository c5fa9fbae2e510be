"""The images that run in a site's pods against those that its bundles signed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from airbundle.deploy.keeping import title_of
from airbundle.deploy.objects import NAMESPACE, parse_key
from airbundle.deploy.running import belongs, runs_of, why_wrong
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.journal import Journal
from airbundle.installer.served import open_kept
from airbundle.installer.site.closed import closed, list_open
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.step import SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.installer.steps import plan_of
from airbundle.transfer.cluster_api import Resource

logger = logging.getLogger(__name__)

_PODS = Resource("v1", "pods", "Pod")
_RBAC = "rbac.authorization.k8s.io/"
_SHOWN = 20


@dataclass
class ImagesSeen:
    """How many containers were looked at, and how many of them run what is not theirs."""

    containers: int = 0
    wrong: int = 0


def look_at_images(
    run: SiteRun, deployment: Deployment, statements: Sequence[str], seen: ImagesSeen
) -> Iterator[Finding]:
    """Yield a finding for each container that runs what no deployed bundle has.

    In namespaces that airbundle made all pods count; in others those of the deployment's objects.

    Args:
        run: the site.
        deployment: with the releases of all bundles.
        statements: digests of the statements of the bundles that are up.
        seen: what was looked at is counted there.

    Raises:
        SiteError, VerificationError: a deployed bundle's copy can't be read.
        Unauthorized, Unreachable, RemoteError: the cluster does not tell.
    """
    now = frozenset[str]().union(*(signed_digests(run.state, each) for each in statements))
    known = now | _earlier(run.state, statements)
    objects = {parse_key(text) for release in deployment.releases for text in release.objects}
    made = _made_here(run)
    running = {key.namespace for key in objects if not key.api_version.startswith(_RBAC)}
    for namespace in sorted({release.namespace for release in deployment.releases} | running - {""}):
        pods = list_open(run.cluster, _PODS, namespace)
        if pods is None:
            yield closed("pods", namespace)
        for pod in pods or ():
            if _ended(pod) or not (namespace in made or belongs(pod, objects, run.cluster.get)):
                continue
            yield from _of_pod(pod, now, known, seen)


def signed_digests(state: StateDirectory, statement: str) -> frozenset[str]:
    """Return the digests of all manifests of an installed bundle: of indexes, and of each platform.

    Raises:
        SiteError, VerificationError: its copy can't be read.
    """
    with open_kept(state, statement) as trusted:
        plan = plan_of(trusted.bundle, "")
    return frozenset(node.descriptor.digest for nodes in plan.manifests.values() for node in nodes)


def _earlier(state: StateDirectory, statements: Sequence[str]) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    for bundle in state.read().bundles:
        if bundle.statement not in statements:
            try:
                found |= signed_digests(state, bundle.statement)
            except AirbundleError as error:
                logger.info("%s %s: %s", bundle.name, bundle.version, error.problem)
    return found


def _made_here(run: SiteRun) -> set[str]:
    undo = [each.get("object", "") for each in Journal(run.site_state.journal).undo()]
    return {key.name for key in (parse_key(text) for text in undo if text) if key.kind == NAMESPACE}


def _ended(pod: Mapping[str, object]) -> bool:
    status = pod.get("status")
    return isinstance(status, Mapping) and status.get("phase") in ("Succeeded", "Failed")


def _of_pod(
    pod: Mapping[str, object], now: frozenset[str], known: frozenset[str], seen: ImagesSeen
) -> Iterator[Finding]:
    for runs in runs_of(pod):
        seen.containers += 1
        why = why_wrong(runs, now, known)
        if not why:
            continue
        seen.wrong += 1
        if seen.wrong <= _SHOWN:
            yield Finding(
                f"container {runs.container} runs {why}",
                where=f"Pod {title_of(pod)}",
                code="image",
                found=f"{runs.image} ({runs.digest})",
                hint="install the bundle again, which puts it back; delete the pod when nobody's object makes it",
            )
