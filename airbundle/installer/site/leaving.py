"""How sites are left: which of them, whole or one bundle of theirs, and whether data goes, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from airbundle.errors import UsageError
from airbundle.installer.site.history import bundles_at
from airbundle.installer.site.reach_kept import Reach
from airbundle.installer.site.site_state import SiteState, sites_of
from airbundle.installer.state import Installed, StateDirectory

KEEP_CLUSTER = "or leave the cluster as it is: --keep-cluster"


@dataclass(frozen=True)
class Leaving:
    """How sites are left.

    Attributes:
        sites: those that are.
        reach: how their clusters are reached.
        delete_data: whether what holds data goes, too.
        keep_cluster: leave clusters and nodes as they are.
        bundle: the one that goes; empty for all.
    """

    sites: Sequence[SiteState]
    reach: Reach = field(default_factory=Reach)
    delete_data: bool = False
    keep_cluster: bool = False
    bundle: str = ""

    @property
    def affected(self) -> list[SiteState]:
        """Those of the sites that anything is taken back at."""
        return [site for site in self.sites if self.bundle in ("", *_bundles(site))]

    def whole(self, site: SiteState) -> bool:
        """Tell whether a site is left, and not only one of its bundles."""
        return not self.bundle or set(_bundles(site)) <= {self.bundle}


def needed_by(state: StateDirectory, leaving: Leaving, installed: Installed) -> tuple[str, str] | None:
    """Return who goes on needing the host's own part, such as the registry: what they are, and their names.

    Args:
        state: of this host.
        leaving: who leaves.
        installed: on this host.
    """
    leaves = {site.name for site in leaving.affected if leaving.whole(site)}
    sites = [site.name for site in sites_of(state) if site.name not in leaves]
    if sites:
        return "other sites" if not leaving.bundle else "sites", ", ".join(sites)
    bundles = [f"{each.name} {each.version}" for each in installed.bundles if each.name != leaving.bundle]
    return ("other bundles", ", ".join(bundles)) if leaving.bundle and bundles else None


def drops_content(state: StateDirectory, leaving: Leaving) -> bool:
    """Tell whether a bundle alone goes, with what only it has in the registry: no site that is not named has it."""
    named = {site.name for site in leaving.sites}
    others = [site for site in sites_of(state) if site.name not in named]
    return bool(leaving.bundle) and not any(leaving.bundle in _bundles(site) for site in others)


def check_bundle(leaving: Leaving, installed: Installed | None) -> None:
    """Refuse a bundle that is not there.

    Args:
        leaving: names it; any where it is empty.
        installed: on this host; None where only sites are meant.

    Raises:
        UsageError: there is no such bundle; names those that there are.
    """
    there = [each for site in leaving.sites for each in bundles_at(site.deployments())]
    found = {each.name: each.title for each in there}
    for bundle in installed.bundles if installed else ():
        found.setdefault(bundle.name, f"{bundle.name} {bundle.version}")
    if leaving.bundle and leaving.bundle not in found:
        where = f" at {', '.join(site.name for site in leaving.sites)}" if leaving.sites else ""
        known = ", ".join(found.values()) or "none"
        raise UsageError(
            f"--bundle {leaving.bundle}: no such bundle was deployed{where}", hint=f"bundles there: {known}"
        )


def _bundles(site: SiteState) -> list[str]:
    return [each.name for each in bundles_at(site.deployments())]
