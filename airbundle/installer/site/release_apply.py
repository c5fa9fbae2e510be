"""What airbundle itself applies of a release: manifests, definitions of custom resources, what helm leaves edited.

What somebody has set by hand is taken over when a person agrees. Where nobody does, a release that is only to be put
back stays as it was edited there, and goes on; one that is to change ends. What helm would put back itself, asking
nobody, is put back here, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airbundle.deploy.desired import chart_applied, helm_writes
from airbundle.deploy.helm_marks import owned
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import Conflict
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.drift import drifts
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.wait import wait_ready


def apply_definitions(run: SiteRun, applier: Applier, material: Material, *, edited: bool) -> None:
    """Apply definitions of custom resources, and wait until their kinds are served: helm upgrades none itself.

    Args:
        run: of a site.
        applier: of the release's step.
        material: the release.
        edited: it was up once as it is to be, and was edited by hand since.

    Raises:
        Conflict: somebody else sets a field that is to change, and nobody agrees to take it over.
        SiteError: they are not served in time.
    """
    name, namespace, keys = material.release.name, material.namespace, []
    for each in (each for each in material.running if each.definition):
        live = run.cluster.get(each.key) if material.chart else None
        if live is not None and helm_writes(each, live, name, namespace):
            applier.apply(chart_applied(each, name, namespace), force=True)
        else:
            _apply(run, applier, chart_applied(each, name, namespace) if material.chart else each.body, edited)
        keys.append(each.key)
    if keys:
        run.cluster.forget()
        wait_ready(run.cluster, keys, material.timeout, what=name)


def apply_manifests(run: SiteRun, applier: Applier, material: Material, *, edited: bool) -> None:
    """Apply plain manifests, after their definitions. Arguments and errors as `apply_definitions`."""
    for each in material.running:
        if not each.definition:
            _apply(run, applier, each.body, edited)


def apply_again(run: SiteRun, applier: Applier, material: Material, keys: Collection[ObjectKey]) -> bool:
    """Put some objects back that nobody agreed to put back before; return whether anybody does by now."""
    name, namespace = material.release.name, material.namespace
    wanted = [each for each in material.running if each.key in keys]
    bodies = [chart_applied(each, name, namespace) if material.chart else each.body for each in wanted]
    changed = [_apply(run, applier, body, True) for body in bodies]
    return any(changed)


def put_back(run: SiteRun, applier: Applier, record: DeployedRelease, *, but: Collection[str] = ()) -> None:
    """Put back what helm leaves as it was edited: of custom resources it only writes what is new in the chart.

    Args:
        run: of a site.
        applier: of the release's step.
        record: of the release.
        but: marks of what stays, as it was when all of it was up; such as what a hook sets after each upgrade.
    """
    for each in list(drifts(run.cluster, run.site_state, record)):
        if each.wanted and each.mark not in but:
            applier.apply(owned(each.wanted, record.name, record.namespace), force=True)


def _apply(run: SiteRun, applier: Applier, body: Mapping[str, Any], edited: bool) -> bool:
    try:
        return applier.apply(body)
    except Conflict as error:
        if not edited:
            raise
        run.reporter.warn(f"{error.problem}; it stays as it is{': --yes puts it back' if error.fields else ''}")
        return False
