"""Step `trust`: pods get the site's CA to trust, as ConfigMap `airbundle-ca` with the key `ca.crt` (docs/deploy.md).

trust-manager writes it, where the cluster has one; else it is put into each namespace that a release uses. Where
ConfigMaps of ours are there already, it stays so: trust-manager may have come with one of the releases, and two writers
of one object are one too many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airbundle.deploy.keeping import is_ours
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.trust import BUNDLE, CA_NAME, config_map, trust_bundle
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.put import change_of, ensure_namespaces, missing_namespaces, put
from airbundle.installer.site.step import Change, SiteRun, Step
from airbundle.installer.site.trust_files import page_changes, write_page
from airbundle.progress import Phase

NAME = "trust"


def trust_step(run: SiteRun, namespaces: Mapping[str, Mapping[str, Any]]) -> Step:
    """Return the step.

    Args:
        run: what the steps share.
        namespaces: those that releases use, with the metadata that one has to get where it isn't there yet
            (`deploy.brings.namespaces_of`).
    """
    return _TrustStep(run, namespaces)


class _TrustStep:
    name = NAME
    needs: tuple[str, ...] = ()

    def __init__(self, run: SiteRun, namespaces: Mapping[str, Mapping[str, Any]]) -> None:
        self._run = run
        self._namespaces = namespaces

    def plan(self) -> Sequence[Change]:
        lacking = missing_namespaces(self._run, list(self._namespaces))
        changes = [Change(f"Namespace {name}", "create") for name in lacking]
        pem = self._pem()
        for body in self._objects(pem):
            changes += change_of(self._run, body)
        return changes + page_changes(self._run, pem)

    def run(self, _phase: Phase) -> bool:
        pem = self._pem()
        changed = ensure_namespaces(self._run, NAME, self._namespaces)
        if not pem:
            self._run.reporter.warn("there is no CA at this site: pods get none to trust")
            return changed
        for body in self._objects(pem):
            changed = put(self._run, NAME, body) or changed
        return write_page(self._run, NAME, pem) or changed

    def _pem(self) -> bytes:
        """Return what clients trust; empty while there is no CA: a new site's is made before the first step runs."""
        ca = SiteCa.of(self._run.state)
        return ca.trust_pem if ca.exists else b""

    def _objects(self, pem: bytes) -> list[dict[str, Any]]:
        cluster = self._run.cluster
        if cluster.resource_of(*BUNDLE) is not None and not self._has_config_maps():
            return [trust_bundle(pem)]
        return [config_map(name, pem) for name in self._namespaces]

    def _has_config_maps(self) -> bool:
        keys = [ObjectKey("v1", "ConfigMap", name, CA_NAME) for name in self._namespaces]
        return any(is_ours(body) for body in map(self._run.cluster.get, keys) if body is not None)
