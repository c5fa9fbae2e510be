"""What the steps of releases share, whoever deploys them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_material import Materials
from airbundle.installer.site.step import Change, SiteRun

Check = Callable[[SiteRun, Release, str], None]
"""Runs the checks of a release in its namespace, and raises when one does not come true in time."""


@dataclass(frozen=True)
class ReleaseWorks:
    """What the release steps of a run share.

    Attributes:
        check: runs declared checks.
        changed: releases that this run began to change; what was found before may be otherwise since.
    """

    run: SiteRun
    materials: Materials
    helm: SiteHelm
    check: Check | None = None
    changed: list[str] = field(default_factory=list)


class OfRelease:
    """What each step of a release is: which release, and what it waits for.

    Args:
        works: shared with the others.
        carried: as the bundle has it.
        release: with the site's choices.
        needs: names of steps.
    """

    def __init__(self, works: ReleaseWorks, carried: CarriedRelease, release: Release, needs: Sequence[str]) -> None:
        self._works = works
        self._carried = carried
        self._release = release
        self._needs = tuple(needs)

    @property
    def name(self) -> str:
        """`release/NAME`."""
        return f"release/{self._release.name}"

    def plan(self) -> Sequence[Change]:
        """Return what would change."""
        raise NotImplementedError

    def deploys(self) -> bool:
        """Tell whether the release would be deployed: putting back what a person keeps, who agrees by now, is less."""
        return bool(self.plan())

    @property
    def needs(self) -> tuple[str, ...]:
        """Steps that must be done before."""
        return self._needs
