"""Whether this is the right cluster, and of a version that the releases take."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.bundle.semver import Constraint, parse_version
from airbundle.deploy.facts import UID, VERSION, SiteFacts, known
from airbundle.deploy.rules.catalogue import told
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding, UsageError


def uid(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when the cluster is not the one that the site file, or an earlier install, names."""
    if not wanted.uid:
        return
    found = known(facts.uid, UID)
    if found.lower() != wanted.uid.lower():
        yield told(
            "cluster-uid",
            "this is another cluster than the one that the site is known as",
            where=f"{wanted.site.where} cluster.uid",
            found=found,
            expected=wanted.uid,
            hint="choose its context (`cluster.context`, --context); for a new cluster make a site file of its own",
        )


def versions(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the charts that don't take the cluster's version, and a cluster that the bundle was not made for."""
    version = known(facts.version, VERSION)
    parsed = parse_version(version)
    for release in wanted.releases:
        if not release.kube_version or parsed is None:
            continue
        try:
            fits = Constraint(release.kube_version).holds(parsed)
        except UsageError:
            continue  # helm tells it when it renders
        if not fits:
            yield told(
                "kubernetes-version",
                f"the chart {release.chart} {release.version} does not take this version of Kubernetes",
                where=f"release {release.name}",
                found=version,
                expected=release.kube_version,
                hint="upgrade the cluster, or build the bundle with a version of the chart for it",
            )
    if wanted.kubernetes and _minor(wanted.kubernetes) != _minor(version):
        yield told(
            "kubernetes-target",
            "the bundle was made for another version of Kubernetes",
            where="cluster",
            found=version,
            expected=wanted.kubernetes,
            hint="what it deploys was rendered anew for this one; try it at a site that may fail",
        )


def _minor(text: str) -> tuple[int, int]:
    version = parse_version(text)
    return (version.major, version.minor) if version else (0, 0)
