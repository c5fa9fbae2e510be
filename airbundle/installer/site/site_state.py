"""What this host keeps of a site: its journal and what was deployed there, deployment by deployment.

```
<state>/sites/<name>/     0700
  site.json               0600   the cluster: uid of kube-system, context, kubeconfig
  journal.jsonl           0640   steps at this site
  deployments/0001.json   0600   what is up, written anew after each release that is
  manifests/sha256-….yaml 0600   manifests as they were applied, and charts' values, by digest: may hold secrets
  site-files/sha256-….yaml 0600  site files of the deployments, by digest: `kept_site`
  before/                 0700   objects as they were before they were changed
  nodes/  dns/            0700   what nodes were given; files for the site's own DNS server
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from airbundle.bundle.digest import parse_digest, sha256
from airbundle.errors import AirbundleError, DocumentError
from airbundle.installer.files import PRIVATE_DIRECTORY, PRIVATE_FILE, make_directory, read_file, write_file
from airbundle.installer.state import StateDirectory
from airbundle.store.host import host_errors

API_VERSION = "airbundle.dev/v1"
VERSION = 1
SITES = "sites"

HANDED_OVER = "handed-over"
"""Kind of a release that an administrator deployed: it is looked at, and never changed."""

_LIMIT = 16 * 1024 * 1024
_MANIFEST_LIMIT = 64 * 1024 * 1024
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
        raw = read_file(path, limit=_LIMIT)
        if raw is None:
            return None
        body = _document(raw, "SiteCluster", path)
        return SiteCluster(*(str(body.get(name, "")) for name in ("uid", "context", "kubeconfig")))

    def write_cluster(self, cluster: SiteCluster) -> None:
        """Keep which cluster this site is."""
        self.make()
        _write(self.root / "site.json", "SiteCluster", asdict(cluster))

    def deployments(self) -> list[Deployment]:
        """Return all deployments, oldest first.

        Raises:
            DocumentError: a record does not parse, or a newer airbundle wrote it.
        """
        directory = self.root / "deployments"
        with host_errors("look into", directory):
            names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
        numbers = sorted(int(match[1]) for match in map(_RECORD.fullmatch, names) if match)
        return _with_bundles(map(self._read, numbers))

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
        _write(self._record(deployment.number), "Deployment", asdict(deployment))

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
            raise _broken(path, "it is not what was applied" if text is not None else "it is not there")
        return text

    def _record(self, number: int) -> Path:
        return self.root / "deployments" / f"{number:04d}.json"

    def _read(self, number: int) -> Deployment:
        path = self._record(number)
        body = _document(read_file(path, limit=_LIMIT) or b"", "Deployment", path)
        try:
            releases = tuple(_release(each) for each in body["releases"])
            texts = {name: str(body[name]) for name in ("name", "version", "statement", "time")}
            return Deployment(
                number=number,
                serial=int(body["serial"]),
                complete=body["complete"] is True,
                who=dict(body["who"]),
                releases=releases,
                **texts,
            )
        except (KeyError, TypeError, ValueError, AttributeError, AirbundleError) as error:
            raise _broken(path, f"{type(error).__name__}: {error}") from None


def _with_bundles(deployments: Iterable[Deployment]) -> list[Deployment]:
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


def sites_of(state: StateDirectory) -> list[SiteState]:
    """Return the sites that this host has, by name."""
    directory = state.path(SITES)
    with host_errors("look into", directory):
        names = sorted(path.name for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    return [SiteState(state, name) for name in names]


def _file_of(digest: str) -> str:
    return f"{parse_digest(digest).replace(':', '-')}.yaml"


def _release(body: Mapping[str, Any]) -> DeployedRelease:
    manifest, values = str(body["manifest"]), str(body.get("values", ""))
    for what, digest in (("manifest", manifest), ("values", values)):
        if digest:
            parse_digest(digest, what=what)
    return DeployedRelease(
        name=str(body["name"]),
        namespace=str(body["namespace"]),
        kind=str(body["kind"]),
        inputs=str(body["inputs"]),
        revision=int(body["revision"]),
        rollback=str(body["rollback"]),
        needs=tuple(map(str, body["needs"])),
        images=tuple(map(str, body["images"])),
        objects=tuple(map(str, body["objects"])),
        manifest=manifest,
        bundle=str(body.get("bundle", "")),
        values=values,
    )


def _write(path: Path, kind: str, body: Mapping[str, Any]) -> None:
    document = {"apiVersion": API_VERSION, "kind": kind, "formatVersion": VERSION, **body}
    write_file(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode(), PRIVATE_FILE)


def _document(raw: bytes, kind: str, path: Path) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
        version = body["formatVersion"]
        if body["kind"] != kind or not isinstance(version, int):
            raise ValueError(f"it is no {kind}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, str(error)) from None
    if version > VERSION:
        raise DocumentError(
            f"{path}: has version {version}, expected {VERSION} at most",
            hint="a newer airbundle manages this site: run that one",
        )
    found: Mapping[str, Any] = body
    return found


def _broken(path: Path, why: str) -> DocumentError:
    return DocumentError(
        f"{path}: does not parse as a record of a site: {why}",
        hint="restore it with `airbundle state restore`, or from a backup",
    )
