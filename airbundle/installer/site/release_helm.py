"""Helm for the releases of a site: found when it is needed, with a private home, and airbundle as its post-renderer."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from threading import Lock

from airbundle.deploy.pins import PinTable
from airbundle.installer.files import PRIVATE_FILE, write_file
from airbundle.installer.program import running_command
from airbundle.installer.site.release_material import KEEP_NAMES, Material
from airbundle.installer.site.step import SiteRun
from airbundle.installer.tools import site_helm
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.helm_release import HelmRelease, HelmReleases

_STALE = 6 * 3600.0
"""Seconds after which what a killed run left of helm's files is taken away: no helm lives that long."""


class SiteHelm:
    """Helm at a site's cluster, for many threads at once. A context manager: its files go with it."""

    def __init__(self, run: SiteRun) -> None:
        self._run = run
        self._home: HelmHome | None = None
        self._found: HelmReleases | None = None
        self._looks = False
        self._lock = Lock()

    def __enter__(self) -> SiteHelm:
        return self

    def __exit__(self, *_: object) -> None:
        if self._home is not None:
            self._home.close()

    @property
    def releases(self) -> HelmReleases:
        """The releases of the cluster.

        Raises:
            HostError: there is no helm.
        """
        with self._lock:
            there = self._run.site_state.root.exists()
            if self._found is None or (self._looks and there):
                self._looks = not there
                self._found = self._open() if there else self._open_elsewhere()
            return self._found

    def release(self, material: Material, pins: PinTable) -> HelmRelease:
        """Return a release as helm is to deploy it."""
        releases = self.releases
        assert self._home is not None  # noqa: S101 - made with the releases
        command, environment = running_command()
        file = self._home.path / f"pins-{material.release.name}.json"
        write_file(file, pins.to_bytes(), PRIVATE_FILE)
        words = ["post-render", str(file), "--release", material.release.name]
        words += ["--keep-names"] if material.release.images == KEEP_NAMES else []
        del releases
        return HelmRelease(
            material.release.name,
            material.namespace,
            material.chart,
            material.archive,
            material.values,
            (*command, *words),
            dict(environment),
            material.timeout,
        )

    def _open_elsewhere(self) -> HelmReleases:
        """Have helm look where nothing was installed yet: a plan makes nothing in the state directory."""
        run, self._home = self._run, HelmHome()
        helm = Helm.find(side="site", carried=site_helm(run.trusted, self._home.path))
        tell = run.reporter.event
        return HelmReleases(
            helm, self._home, run.cluster.access, run.cluster, self._home.path, patience=run.patience, tell=tell
        )

    def _open(self) -> HelmReleases:
        run = self._run
        parent = run.site_state.directory("helm")
        _tidy(parent)
        helm = Helm.find(side="site", carried=site_helm(run.trusted, run.state.directory("bin")))
        if self._home is not None:
            self._home.close()
        self._home = HelmHome(parent)
        locks = run.site_state.directory("releases")
        tell = run.reporter.event
        return HelmReleases(helm, self._home, run.cluster.access, run.cluster, locks, patience=run.patience, tell=tell)


def _tidy(parent: Path) -> None:
    for path in parent.iterdir():
        if path.is_dir() and time.time() - path.stat().st_mtime > _STALE:
            shutil.rmtree(path, ignore_errors=True)
