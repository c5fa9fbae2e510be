"""What this host keeps of a site: its journal and what was deployed there, deployment by deployment.

```
<state>/sites/<name>/     0700
  site.json               0600   the cluster: uid of kube-system, context, kubeconfig
  journal.jsonl           0640   steps at this site
  deployments/0001.json   0600   what is up, written anew after each release that is
  manifests/sha256-….yaml 0600   manifests as they were applied, and charts' values, by digest: may hold secrets
  site-files/sha256-….yaml 0600  site files of the deployments, by digest: `kept_site`
  settings/NAME.json      0600  which site file holds for nodes, and for dns: `settled`
  before/                 0700   objects as they were before they were changed
  nodes/  dns/            0700   what nodes were given; files for the site's own DNS server
```
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock

from airbundle.bundle.digest import parse_digest, sha256
from airbundle.installer.files import PRIVATE_DIRECTORY, PRIVATE_FILE, make_directory, read_file, write_file
from airbundle.installer.site.deployment import DeployedRelease, Deployment, with_bundles
from airbundle.installer.site.records import LIMIT, broken, read_deployment, read_record, write_record
from airbundle.installer.state import StateDirectory
from airbundle.store.host import host_errors

SITES = "sites"

_MANIFEST_LIMIT = 64 * 1024 * 1024
_SITE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RECORD = re.compile(r"([0-9]{4,9})\.json")


@dataclass(frozen=True)
class SiteCluster:
    """The cluster that a site is: it never changes silently.

    Attributes:
        uid: of the namespace kube-system.
        context, kubeconfig: how it was reached; empty where that was by default.
    """

    uid: str
    context: str = ""
    kubeconfig: str = ""


class SiteState:
    """The directory of one site. Making this object makes nothing on disk."""

    def __init__(self, state: StateDirectory, name: str) -> None:
        self.name = name
        self._state = state
        self._changing = Lock()
        self.root = state.path(SITES, name)

    @property
    def journal(self) -> Path:
        """journal.jsonl."""
        return self.root / "journal.jsonl"

    def make(self) -> None:
        """Make the directory. The lock of the state directory is held.

        Raises:
            HostError: it can't be made.
        """
        make_directory(self._state.path(SITES), PRIVATE_DIRECTORY)
        make_directory(self.root, PRIVATE_DIRECTORY)

    def directory(self, *names: str) -> Path:
        """Return a directory within, made if it isn't there.

        Raises:
            HostError: it can't be made.
        """
        self.make()
        path = self.root
        for name in names:
            path /= name
            make_directory(path, PRIVATE_DIRECTORY)
        return path

    def cluster(self) -> SiteCluster | None:
        """Return the cluster that this site is; None where nothing was installed there.

        Raises:
            DocumentError: the file does not parse.
        """
        path = self.root / "site.json"
        raw = read_file(path, limit=LIMIT)
        if raw is None:
            return None
        body = read_record(raw, "SiteCluster", path)
        return SiteCluster(*(str(body.get(name, "")) for name in ("uid", "context", "kubeconfig")))

    def write_cluster(self, cluster: SiteCluster) -> None:
        """Keep which cluster this site is."""
        self.make()
        write_record(self.root / "site.json", "SiteCluster", asdict(cluster))

    def deployments(self) -> list[Deployment]:
        """Return all deployments, oldest first.

        Raises:
            DocumentError: a record does not parse, or a newer airbundle wrote it.
        """
        directory = self.root / "deployments"
        with host_errors("look into", directory):
            names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
        numbers = sorted(int(match[1]) for match in map(_RECORD.fullmatch, names) if match)
        return with_bundles(read_deployment(self._record(each), each) for each in numbers)

    def latest(self) -> Deployment | None:
        """Return the newest deployment, complete or not; None where there is none."""
        found = self.deployments()
        return found[-1] if found else None

    def releases_of(self, bundle: str) -> tuple[DeployedRelease, ...]:
        """Return the releases that are up and that bundles of this name brought here.

        Args:
            bundle: name of the bundle, without a version.
        """
        latest = self.latest()
        return tuple(each for each in latest.releases if each.bundle == bundle) if latest else ()

    def write(self, deployment: Deployment) -> None:
        """Write a deployment, durably, over the record of the same number.

        Raises:
            HostError: it can't be written.
        """
        self.directory("deployments")
        write_record(self._record(deployment.number), "Deployment", asdict(deployment))

    def record(self, release: DeployedRelease) -> None:
        """Record in the newest deployment that a release is up; steps that run at the same time may call it.

        Args:
            release: of the deployment's bundle, unless it names another.

        Raises:
            HostError: it can't be written.
        """
        self._change(
            lambda deployment: deployment.with_release(replace(release, bundle=release.bundle or deployment.name))
        )

    def drop(self, name: str) -> None:
        """Record in the newest deployment that a release is gone."""
        self._change(lambda deployment: deployment.without_release(name))

    def finish(self, bundle: str = "") -> None:
        """Record that the newest deployment is complete.

        Args:
            bundle: of this bundle, which others may have followed; by default the newest of all.
        """
        self._change(lambda deployment: replace(deployment, complete=True), bundle)

    def note(self, bundle: str, **who: str) -> None:
        """Record more of how the newest deployment of a bundle came about, such as the site file that holds now."""
        self._change(lambda deployment: replace(deployment, who={**deployment.who, **who}), bundle)

    def _change(self, change: Callable[[Deployment], Deployment], bundle: str = "") -> None:
        with self._changing:
            found = [each for each in self.deployments() if bundle in ("", each.name)]
            latest = found[-1] if found else None
            if latest is None:
                raise ValueError(f"{self.root}: no deployment has begun")
            changed = change(latest)
            if changed != latest:
                self.write(changed)

    def keep_manifest(self, text: bytes) -> str:
        """Keep what was applied, durably; return its digest.

        Raises:
            HostError: it can't be written.
        """
        digest = sha256(text)
        write_file(self.directory("manifests") / _file_of(digest), text, PRIVATE_FILE)
        return digest

    def read_manifest(self, digest: str) -> bytes:
        """Return what was applied.

        Raises:
            DocumentError: it is gone, or was changed.
        """
        path = self.root / "manifests" / _file_of(digest)
        text = read_file(path, limit=_MANIFEST_LIMIT)
        if text is None or sha256(text) != digest:
            raise broken(path, "it is not what was applied" if text is not None else "it is not there")
        return text

    def _record(self, number: int) -> Path:
        return self.root / "deployments" / f"{number:04d}.json"


def sites_of(state: StateDirectory) -> list[SiteState]:
    """Return the sites that this host has, by name."""
    directory = state.path(SITES)
    with host_errors("look into", directory):
        found = [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
    names = sorted(filter(_SITE.fullmatch, found))  # no `lost+found` of a file system
    return [SiteState(state, name) for name in names]


def _file_of(digest: str) -> str:
    return f"{parse_digest(digest).replace(':', '-')}.yaml"
