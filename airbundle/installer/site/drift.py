"""What of a deployed release is not as it was applied: gone, or edited by hand. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airbundle.deploy.desired import Desired, chart_applied
from airbundle.deploy.diff import unified
from airbundle.deploy.difference import difference_digest
from airbundle.deploy.handover import INPUTS, stamp_of
from airbundle.deploy.helm_history import DEPLOYED
from airbundle.deploy.objects import ObjectKey, parse_key
from airbundle.errors import NotFound, Refused, Unauthorized, VerificationError
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_plan import applied
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.transfer.cluster_api import Resource
from airbundle.transfer.cluster_write import ClusterWriter

_SCALERS = Resource("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
_SHOWN = 3


@dataclass(frozen=True)
class Drift:
    """An object that is not as it was applied.

    Attributes:
        key: names it.
        gone: whether it isn't there.
        found, expected: lines that differ, without secrets; a few of them.
        wanted: the object as it was applied; empty where that isn't known.
        mark: tells it, with all that differs, from any other; empty where it is gone.
    """

    key: ObjectKey
    gone: bool = False
    found: str = ""
    expected: str = ""
    wanted: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    mark: str = field(default="", repr=False, compare=False)


def drifts(cluster: ClusterWriter, site: SiteState, release: DeployedRelease) -> Iterator[Drift]:
    """Yield what is not as it was applied; only fields that were applied count: the cluster itself is asked which.

    Args:
        cluster: its API.
        site: has what was applied.
        release: as it was recorded.

    Raises:
        DocumentError: what was applied is not kept any more.
        Unauthorized, Unreachable, RemoteError: no good answer.
    """
    if release.kind == HANDED_OVER:
        yield from _handed_over(cluster, release)
        return
    told = set()
    scaled = _Scaled(cluster)
    for each in applied(site, release):
        if each.phase != "run":
            continue
        told.add(each.key)
        if release.kind == "chart":
            each = replace(each, body=dict(chart_applied(each, release.name, release.namespace)))
        drift = _drift(cluster, each, scaled)
        if drift is not None:
            yield drift
    for key in sorted(set(map(parse_key, release.objects)) - told):
        if cluster.get(key) is None:
            yield Drift(key, gone=True)


def _handed_over(cluster: ClusterWriter, release: DeployedRelease) -> Iterator[Drift]:
    """Yield what of a release that an administrator deployed is gone, or of another version; as far as it is open."""
    for key in map(parse_key, release.objects):
        try:
            live = cluster.get(key)
        except Unauthorized as error:
            if not error.forbidden:
                raise
            continue
        if live is None:
            yield Drift(key, gone=True)
        elif stamp_of(live) != release.inputs:
            yield Drift(key, found=f"{INPUTS}: {stamp_of(live)}", expected=f"{INPUTS}: {release.inputs}")


def _drift(cluster: ClusterWriter, desired: Desired, scaled: _Scaled) -> Drift | None:
    live = cluster.get(desired.key)
    if live is None:
        return None if desired.leaves else Drift(desired.key, gone=True)
    body = scaled.without_replicas(desired)
    try:
        after = cluster.apply(body, force=True, dry_run=True)
    except (Refused, NotFound):
        return None  # it can't be asked of this kind or object; that it is there is all that is known
    lines = unified(live, after).splitlines()[2:]
    if not any(line[:1] in "+-" for line in lines):
        return None
    was, wanted = (_lines(lines, sign) for sign in "-+")
    mark = f"{desired.key} {difference_digest(live, after)}"
    return Drift(desired.key, found=was or "nothing", expected=wanted or "nothing", wanted=body, mark=mark)


def _lines(lines: list[str], sign: str) -> str:
    chosen = [line[1:].strip() for line in lines if line.startswith(sign)]
    more = f" and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else ""
    return ", ".join(each[:160] for each in chosen[:_SHOWN]) + more


class _Scaled:
    """Knows whose number of replicas is an autoscaler's business."""

    def __init__(self, cluster: ClusterWriter) -> None:
        self._cluster = cluster
        self._targets: dict[str, set[tuple[str, str]] | None] = {}

    def without_replicas(self, desired: Desired) -> Mapping[str, Any]:
        """Return the object, without `spec.replicas` where an autoscaler sets that, or may do so for all we know."""
        body, key = desired.body, desired.key
        spec = body.get("spec")
        if not isinstance(spec, Mapping) or "replicas" not in spec:
            return body
        targets = self._of(key.namespace)
        if targets is not None and (key.kind, key.name) not in targets:
            return body
        return {**body, "spec": {name: value for name, value in spec.items() if name != "replicas"}}

    def _of(self, namespace: str) -> set[tuple[str, str]] | None:
        """Return what autoscalers of a namespace scale; None where this user may not know."""
        if namespace not in self._targets:
            try:
                self._targets[namespace] = set(self._read(namespace))
            except Unauthorized as error:
                if not error.forbidden:
                    raise
                self._targets[namespace] = None
        return self._targets[namespace]

    def _read(self, namespace: str) -> Iterator[tuple[str, str]]:
        try:
            for scaler in self._cluster.objects(_SCALERS, namespace):
                target = (scaler.get("spec") or {}).get("scaleTargetRef") or {}
                yield str(target.get("kind")), str(target.get("name"))
        except (NotFound, VerificationError):
            return


def is_changed(cluster: ClusterWriter, site: SiteState, release: DeployedRelease) -> bool:
    """Tell whether anything of a release of manifests is not as it was applied."""
    return next(drifts(cluster, site, release), None) is not None


def release_changed(run: SiteRun, helm: SiteHelm, record: DeployedRelease) -> bool:
    """Tell whether a release is other than it was recorded, or its data are yet to be restored.

    Raises:
        HostError, RemoteError, DocumentError: it can't be told.
    """
    if Tracks(run.site_state, record.name).read().restoring:
        return True
    if record.kind != "chart":
        return is_changed(run.cluster, run.site_state, record)
    history = helm.releases.history(record.namespace, record.name)
    return not history or (history[-1].status, history[-1].number) != (DEPLOYED, record.revision)
