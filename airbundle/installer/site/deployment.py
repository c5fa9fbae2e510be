"""What was deployed at a site: releases, as one run of install or rollback left them. Values alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

HANDED_OVER = "handed-over"
"""Kind of a release that an administrator deployed: it is looked at, and never changed."""


@dataclass(frozen=True)
class DeployedRelease:
    """A release that is up.

    Attributes:
        kind: `chart`, `manifests`, or `HANDED_OVER`.
        inputs: digest of all that decides what it is: chart, values, pins; equal inputs: nothing to do.
        revision: helm's; 0 for manifests.
        rollback: `auto`, `ask` or `never`.
        needs: names of releases.
        images: names with digests that its pods run.
        objects: `ObjectKey` texts of what it has, sorted.
        manifest: digest of what was applied; `SiteState.read_manifest` gives it.
        values: digest of the values that a chart was given (`release_values`); empty where they were not kept.
        bundle: name of the bundle that brought it. Records of earlier versions lack it; reading fills it in.
    """

    name: str
    namespace: str
    kind: str
    inputs: str
    revision: int = 0
    rollback: str = "ask"
    needs: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    manifest: str = ""
    bundle: str = ""
    values: str = ""


@dataclass(frozen=True)
class Deployment:
    """What one run of install or rollback brought up. A site with several bundles: `history` keeps them apart.

    Attributes:
        number: counts from 1.
        name, version, serial, statement: of the bundle; the last is a digest.
        time: of its beginning, RFC 3339.
        complete: whether the run came to its end.
        who: user, host and key ids.
        releases: those that are up, also of other bundles, in the order in which they came.
    """

    number: int
    name: str
    version: str
    serial: int
    statement: str
    time: str
    complete: bool = False
    who: Mapping[str, Any] = field(default_factory=dict)
    releases: tuple[DeployedRelease, ...] = ()

    @property
    def title(self) -> str:
        """Name and version of the bundle."""
        return f"{self.name} {self.version}"

    def release(self, name: str) -> DeployedRelease | None:
        """Return a release by its name; None when it isn't up."""
        return next((each for each in self.releases if each.name == name), None)

    def with_release(self, release: DeployedRelease) -> Deployment:
        """Return this with a release that is up now; an earlier record of it is replaced."""
        others = (each for each in self.releases if each.name != release.name)
        return replace(self, releases=(*others, release))

    def without_release(self, name: str) -> Deployment:
        """Return this without a release."""
        return replace(self, releases=tuple(each for each in self.releases if each.name != name))


def same_release(one: DeployedRelease, other: DeployedRelease) -> bool:
    """Tell whether two records are of the same thing; helm counts a rollback as a revision of its own."""
    return (one.namespace, one.kind, one.inputs, one.manifest) == (
        other.namespace,
        other.kind,
        other.inputs,
        other.manifest,
    )


def with_bundles(deployments: Iterable[Deployment]) -> list[Deployment]:
    """Say of each release whose it is, where its record does not: of the deployment that brought or changed it."""
    found: list[Deployment] = []
    before: dict[str, DeployedRelease] = {}
    for deployment in deployments:
        releases = [_with_bundle(each, before.get(each.name), deployment.name) for each in deployment.releases]
        before = {each.name: each for each in releases}
        found.append(replace(deployment, releases=tuple(releases)))
    return found


def _with_bundle(release: DeployedRelease, before: DeployedRelease | None, bundle: str) -> DeployedRelease:
    if release.bundle:
        return release
    carried_on = before is not None and replace(release, bundle=before.bundle) == before
    return before if carried_on and before is not None else replace(release, bundle=bundle)
