"""Looking for what a delta leaves out, before anything changes: in files, and in the registry by HEAD.

A blob of a file counts when it has proved its digest. A blob that the registry has under its digest counts: the
registry has verified it. What another repository of the registry has can be mounted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.oci import Descriptor
from airbundle.errors import Finding, NotFound, RemoteError
from airbundle.installer.load_plan import BlobTask, LoadPlan
from airbundle.installer.target import Target
from airbundle.installer.workers import Stop, cpu_jobs, for_each
from airbundle.progress import SILENT, Reporter
from airbundle.store.delta import BASE, base_hint, lacking_findings, server_blobs
from airbundle.store.union import BlobUnion
from airbundle.transfer.registry import RegistryClient


@dataclass(frozen=True)
class Wanted:
    """Who needs what a delta leaves out.

    Attributes:
        whole: airbundle's own server serves images, too: it needs everything.
        server: it serves charts, files and databases.
        registry: another registry gets images, charts and signatures.
        target: that registry, where it can be asked already.
        problem: why it can't be asked; empty where it can, and where there is none yet.
        assumed: it can't be asked yet, but had everything when this very bundle was installed. Loading asks again.
        files: blobs to look for in files though the registry has them.
    """

    whole: bool = False
    server: bool = False
    registry: bool = False
    target: Target | None = None
    problem: str = ""
    assumed: bool = False
    files: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Missing:
    """What was found.

    Attributes:
        lacking: blobs that are nowhere.
        located: a repository of the registry that has it, by digest.
        supplement: digest and size of blobs that airbundle's server needs and no copy of another bundle has.
        problem: why the registry could not be asked; empty when it could.
    """

    lacking: tuple[Descriptor, ...] = ()
    located: Mapping[str, str] = field(default_factory=dict)
    supplement: tuple[tuple[str, int], ...] = ()
    problem: str = ""

    def findings(self, blobs: BlobUnion) -> Iterator[Finding]:
        """Yield what a preflight has to tell."""
        if self.lacking and self.problem:
            yield Finding(
                f"{len(self.lacking)} blobs that this delta leaves out are in no bundle here, and the registry can't "
                f"be asked for them: {self.problem}",
                code=BASE,
                hint=base_hint(blobs.bundle.statement),
            )
            return
        yield from lacking_findings(blobs.bundle, self.lacking, blobs.damaged, blobs.known)


class FromRegistry:
    """A delta's blobs, and those that only the registry has: fetched from there, verified."""

    def __init__(self, blobs: BlobUnion, client: RegistryClient, host: str, located: Mapping[str, str]) -> None:
        self._blobs = blobs
        self._client = client
        self._host = host
        self._located = located

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Read what is in files; nothing of what is not."""
        return self._blobs.read_into(digest, offset, buffer) if self._blobs.has_blob(digest) else 0

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Copy as `BlobSource`, verified."""
        if self._blobs.has_blob(blob.digest):
            self._blobs.copy_blob(blob, write, start=start, hasher=hasher)
            return
        repository = self._client.repository(f"{self._host}/{self._located[blob.digest]}")
        repository.copy_blob(blob, write, start=start, hasher=hasher)


def find_missing(
    blobs: BlobUnion,
    plan: LoadPlan,
    wanted: Wanted,
    *,
    earlier: Callable[[], Iterable[LoadPlan]] = tuple,
    reporter: Reporter = SILENT,
    jobs: int = 4,
) -> Missing:
    """Look for every blob that a delta leaves out. Changes nothing.

    Args:
        blobs: the delta, and the files that may have its blobs.
        plan: for loading the delta.
        wanted: who needs what.
        earlier: gives the plans of bundles that were loaded before, for repositories to mount from.
        reporter: gets progress of hashing.
        jobs: connections at once.

    Raises:
        VerificationError: a manifest is damaged.
    """
    missing = {blob.digest: blob for blob in blobs.bundle.missing()}
    if not missing:
        return Missing()
    served = _served(blobs, missing, wanted)
    tasks = [task for task in plan.blobs if wanted.registry and task.blob.digest in missing]
    search = _Search(wanted, jobs)
    search.look((task.blob.digest, task.repositories) for task in tasks)
    located = search.located
    loaded = {task.blob.digest for task in tasks}
    read = served | wanted.files | (loaded - located.keys())
    prove_blobs(blobs, [blob for digest, blob in missing.items() if digest in read], reporter)
    left = [task for task in tasks if task.blob.digest not in located and not blobs.has_blob(task.blob.digest)]
    if wanted.assumed:
        located.update((task.blob.digest, task.repositories[0]) for task in left)
    elif left:
        search.look(_others(left, plan, earlier()), only_existing=True)
    needed = served | loaded
    lacking = {digest for digest in needed if not blobs.has_blob(digest) and digest not in located}
    return Missing(
        lacking=tuple(blob for digest, blob in missing.items() if digest in lacking),
        located=located,
        supplement=tuple((d, blob.size) for d, blob in missing.items() if d in served and not _is_kept(blobs, d)),
        problem=search.problem,
    )


def _served(blobs: BlobUnion, missing: Mapping[str, Descriptor], wanted: Wanted) -> frozenset[str]:
    if wanted.whole:
        return frozenset(missing)
    return server_blobs(blobs.bundle) & missing.keys() if wanted.server else frozenset()


def _is_kept(blobs: BlobUnion, digest: str) -> bool:
    holder = blobs.found.get(digest)
    return holder is not None and holder.kept


def prove_blobs(blobs: BlobUnion, wanted: Sequence[Descriptor], reporter: Reporter) -> None:
    """Hash blobs in the files that should have them; those that are proven are not read."""
    unproven = []
    for blob in wanted:
        holders = blobs.candidates(blob.digest)
        if holders and holders[0].proven:
            blobs.find(blob.digest)
        elif holders:
            unproven.append(blob)
    if unproven:
        _hash(blobs, unproven, reporter)


def _hash(blobs: BlobUnion, wanted: Sequence[Descriptor], reporter: Reporter) -> None:
    stop = Stop()
    with reporter.phase("verify what the delta leaves out", total=sum(blob.size for blob in wanted)) as phase:

        def prove(blob: Descriptor) -> None:
            stop.check()
            with phase.item(blob.digest[7:19], blob.size) as item:

                def read(offset: int, data: memoryview) -> None:  # noqa: ARG001 - the signature of a writer
                    stop.check()
                    item.advance(len(data))

                blobs.find(blob.digest, read)

        for_each(sorted(wanted, key=lambda blob: -blob.size), prove, jobs=cpu_jobs(), stop=stop)


def _others(
    tasks: Sequence[BlobTask], plan: LoadPlan, earlier: Iterable[LoadPlan]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield for each blob where else it may be: where an earlier bundle had it first, then anywhere in this plan."""
    digests = {task.blob.digest for task in tasks}
    had: dict[str, dict[str, None]] = {digest: {} for digest in digests}
    for each in earlier:
        for task in each.blobs:
            if task.blob.digest in digests:
                had[task.blob.digest].update(dict.fromkeys(task.repositories))
    for task in tasks:
        before, asked = had[task.blob.digest], set(task.repositories)
        yield task.blob.digest, tuple(name for name in {**before, **dict.fromkeys(plan.manifests)} if name not in asked)


class _Search:
    """Asks a registry which of its repositories have blobs."""

    def __init__(self, wanted: Wanted, jobs: int) -> None:
        self._target = wanted.target
        self._jobs = jobs
        self._exists: dict[str, bool] = {}
        self._lock = threading.Lock()
        self.located: dict[str, str] = {}
        self.problem = wanted.problem

    def look(self, places: Iterable[tuple[str, tuple[str, ...]]], *, only_existing: bool = False) -> None:
        """Look for blobs in repositories, in the order given, until each is found.

        Args:
            places: digest, and names of repositories without the registry's host.
            only_existing: ask first whether a repository is there at all: many blobs may be in none of many.
        """
        if self._target is None or self.problem:
            return
        host = self._target.host
        try:
            with self._target.client() as client:

                def look(place: tuple[str, tuple[str, ...]]) -> None:
                    digest, names = place
                    for name in names:
                        if only_existing and not self._is_there(client, f"{host}/{name}"):
                            continue
                        if client.repository(f"{host}/{name}").has_blob(digest):
                            self.located[digest] = name
                            return

                for_each(places, look, jobs=self._jobs, stop=Stop(client.close))
        except RemoteError as error:
            self.problem = error.problem

    def _is_there(self, client: RegistryClient, name: str) -> bool:
        with self._lock:
            if name in self._exists:
                return self._exists[name]
        try:
            client.repository(name).tags()
            found = True
        except NotFound:
            found = False
        except RemoteError:
            found = True  # who may not list tags may perhaps ask for blobs
        with self._lock:
            self._exists[name] = found
        return found
