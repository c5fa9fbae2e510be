"""Load a bundle into a registry: blobs, then manifests, then tags; only what isn't there (design §3, §5).

No manifest and no tag appears before every blob has verified: those that are sent while they are sent, those that go
elsewhere by reading them. A blob that the registry has under its digest is not read: the registry's own bytes count.

Nothing is remembered between runs that the registry can't be asked, but where an upload that was cut off is to go on
(`uploads`): a run that was cut off goes on where it was, and a run with nothing to do sends HEADs, and one GET for the
list of referrers of each signed image.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from airbundle.bundle.content import BlobReader, BlobSource, Node
from airbundle.bundle.index import IMAGE
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.sizes import human
from airbundle.errors import AirbundleError, DigestMismatch, Refused, SiteError
from airbundle.installer.load_plan import BlobTask, LoadPlan, Substitute, Tag
from airbundle.installer.workers import Stop, for_each
from airbundle.progress import Phase, Reporter
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository

T = TypeVar("T")

DEFAULT_JOBS = 4

# How registries refuse an index that lacks children: registry:2 and Harbor with 400, others with 404 or 422.
_SPARSE_REFUSALS = frozenset({400, 404, 422})


class Source(BlobReader, BlobSource, Protocol):
    """What is loaded from: blobs at random, and verified from end to end. A bundle file is one."""

    def has_blob(self, digest: str) -> bool:
        """Tell whether it has a blob."""
        ...


@dataclass
class LoadResult:
    """What loading did.

    Attributes:
        blobs, size: how many blobs, of how many bytes, the registry has now.
        sent, sent_bytes: pushed by this run; of a blob that an earlier run has half sent, the rest.
        mounted: made known to a repository without sending.
        manifests: pushed by this run, by digest.
        tags: set by this run.
        sparse: what clients get instead of an index that the registry refuses: image → digest.
    """

    blobs: int = 0
    size: int = 0
    sent: int = 0
    sent_bytes: int = 0
    mounted: int = 0
    manifests: int = 0
    tags: int = 0
    sparse: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether the registry is different from before."""
        return bool(self.sent or self.mounted or self.manifests or self.tags)


def load(
    source: Source,
    plan: LoadPlan,
    client: RegistryClient,
    host: str,
    *,
    reporter: Reporter,
    jobs: int = DEFAULT_JOBS,
    verified: Collection[str] = (),
    located: Mapping[str, str] | None = None,
) -> LoadResult:
    """Load what `plan` says.

    Args:
        source: the bundle.
        plan: of that bundle.
        client: of side "site"; closed when loading fails.
        host: `host[:port]` of the registry.
        reporter: gets progress, and a warning for each index that the registry refuses.
        jobs: connections at once.
        verified: digests of blobs that this run has read and verified already.
        located: repositories of the registry that have blobs which the source lacks, by digest.

    Raises:
        VerificationError: a blob of the bundle is damaged; no manifest or tag was sent.
        RemoteError, SiteError: the registry failed, or refused; `outcome` says whether it is as before.
    """
    loader = _Loader(source, plan, client, host, reporter=reporter, jobs=jobs, located=located or {})
    try:
        loader.blobs(set(verified))
        loader.manifests()
        loader.tags()
    except AirbundleError as error:
        error.outcome = "partial" if loader.result.changed else "unchanged"
        raise
    return loader.result


class _Loader:
    def __init__(
        self,
        source: Source,
        plan: LoadPlan,
        client: RegistryClient,
        host: str,
        *,
        reporter: Reporter,
        jobs: int,
        located: Mapping[str, str],
    ) -> None:
        stop = Stop(client.close)
        self._source = source
        self._reader = _Stoppable(source, stop)
        self._plan = plan
        self._client = client
        self._host = host
        self._reporter = reporter
        self._jobs = jobs
        self._located = located
        self._stop = stop
        self._lock = threading.Lock()
        self._repositories: dict[str, Repository] = {}
        self._refused: set[tuple[str, str]] = set()
        self._tags_by_root = {(tag.repository, tag.descriptor.digest): tag for tag in plan.tags}
        self.result = LoadResult(blobs=len(plan.blobs), size=plan.size)

    def blobs(self, verified: Collection[str]) -> None:
        """Send the blobs that the registry lacks; verify those that it doesn't get.

        What a delta leaves out and the registry doesn't get, nobody needs here where the source lacks it.
        """
        rest = [blob for blob in self._plan.unloaded if blob.digest not in verified]
        rest = [blob for blob in rest if self._source.has_blob(blob.digest)]
        total = self._plan.size + sum(blob.size for blob in rest)
        with self._reporter.phase("load blobs", total=total) as phase:
            self._run(rest, lambda blob: self._verify(blob, phase))
            self._run(self._plan.blobs, lambda task: self._blob(task, phase))

    def manifests(self) -> None:
        """Push manifests by digest, each repository's in order: the list of referrers has one writer."""
        with self._reporter.phase("load manifests"):
            self._run(list(self._plan.manifests), self._repository_manifests)

    def tags(self) -> None:
        """Set the tags; signatures first, so that an image that can be pulled can be verified."""
        with self._reporter.phase("set tags"):
            for images in (False, True):
                self._run([tag for tag in self._plan.tags if (tag.kind == IMAGE) == images], self._tag)

    def _run(self, tasks: Iterable[T], work: Callable[[T], None]) -> None:
        for_each(tasks, work, jobs=self._jobs, stop=self._stop)

    def _repository(self, name: str) -> Repository:
        with self._lock:
            if name not in self._repositories:
                self._repositories[name] = self._client.repository(f"{self._host}/{name}")
            return self._repositories[name]

    def _count(self, **numbers: int) -> None:
        with self._lock:
            for name, number in numbers.items():
                setattr(self.result, name, getattr(self.result, name) + number)

    def _verify(self, blob: Descriptor, phase: Phase) -> None:
        with phase.item(f"verify {blob.digest[7:19]}", blob.size) as item:

            def read(offset: int, data: memoryview) -> None:  # noqa: ARG001 - the signature of a writer
                self._stop.check()
                item.advance(len(data))

            self._source.copy_blob(blob, read)

    def _blob(self, task: BlobTask, phase: Phase) -> None:
        blob = task.blob
        lacking = [name for name in task.repositories if not self._repository(name).has_blob(blob.digest)]
        having = [name for name in task.repositories if name not in lacking]
        if not having and blob.digest in self._located:
            having = [self._located[blob.digest]]
        if having:
            phase.skip(blob.digest[7:19], blob.size, "exists")
        else:
            first = lacking.pop(0)
            with phase.item(blob.digest[7:19], blob.size) as item:
                self._push_blob(blob, first, item.advance)
            having.append(first)
        for name in lacking:
            self._share(blob, having[0], name)

    def _push_blob(self, blob: Descriptor, name: str, advance: Callable[[int], None] = lambda _: None) -> None:
        if not self._source.has_blob(blob.digest):
            raise SiteError(
                f"{blob.digest}: the bundle is a delta and leaves it out, and {self._host} does not let it be taken "
                f"over to {name} from its other repositories",
                hint="give the bundle that has it with --base, then run the same command again: it goes on from here",
            )
        spared: list[int] = []
        try:
            self._repository(name).push_blob(blob, self._reader, advance=advance, check=False, spared=spared.append)
        except DigestMismatch:
            # The source knows which of its files has the damage.
            self._source.copy_blob(blob, lambda *_: None)
            raise
        if any(spared):
            self._reporter.event(
                f"{blob.digest[7:19]}: {self._host} had {human(sum(spared))} of {human(blob.size)} from an earlier run"
            )
        self._count(sent=1, sent_bytes=blob.size - sum(spared))

    def _share(self, blob: Descriptor, source: str, name: str) -> None:
        """Make a blob of one repository known to another; a registry that won't mount gets it again."""
        if self._repository(name).mount(blob.digest, f"{self._host}/{source}"):
            self._count(mounted=1)
        else:
            self._push_blob(blob, name)

    def _repository_manifests(self, name: str) -> None:
        repository = self._repository(name)
        listed: dict[str, set[str]] = {}
        for node in self._plan.manifests[name]:
            self._stop.check()
            digest = node.descriptor.digest
            if digest in self._plan.sparse.get(name, ()):
                self._sparse(name, node)
                continue
            there = repository.has_manifest(digest) is not None
            subject = node.manifest.subject
            if there and subject is not None:
                # It may be there and not in the list, where a run was cut off between the two.
                if subject.digest not in listed:
                    listed[subject.digest] = {each.digest for each in repository.referrers(subject.digest)}
                there = digest in listed[subject.digest]
            if not there:
                self._push(name, node.manifest.raw, node.descriptor.media_type, digest)

    def _push(self, name: str, raw: bytes, media_type: str, reference: str) -> None:
        self._repository(name).push_manifest(raw, media_type, reference)
        self._count(manifests=1)

    def _sparse(self, name: str, node: Node) -> None:
        """Push an index that lacks children; remember when the registry refuses it."""
        digest = node.descriptor.digest
        repository = self._repository(name)
        if repository.has_manifest(digest) is not None:
            return
        tag = self._tags_by_root.get((name, digest))
        substitute = tag.substitute if tag else None
        refused_before = (
            tag is not None
            and substitute is not None
            and repository.has_manifest(tag.tag) == substitute.descriptor.digest
        )
        if not refused_before:
            try:
                self._push(name, node.manifest.raw, node.descriptor.media_type, digest)
                return
            except Refused as error:
                if error.status not in _SPARSE_REFUSALS:
                    raise
                if tag is not None and substitute is None:
                    raise _no_substitute(tag, self._host, error) from error
        with self._lock:
            self._refused.add((name, digest))

    def _tag(self, tag: Tag) -> None:
        descriptor, raw = tag.descriptor, None
        if (tag.repository, tag.descriptor.digest) in self._refused and tag.substitute is not None:
            self._tell(tag, tag.substitute)
            descriptor, raw = tag.substitute.descriptor, tag.substitute.raw
        repository = self._repository(tag.repository)
        if repository.has_manifest(tag.tag) == descriptor.digest:
            return
        if raw is None:
            nodes = self._plan.manifests[tag.repository]
            raw = next(node.manifest.raw for node in nodes if node.descriptor.digest == descriptor.digest)
        repository.push_manifest(raw, descriptor.media_type, tag.tag)
        self._count(tags=1)

    def _tell(self, tag: Tag, substitute: Substitute) -> None:
        platforms = ", ".join(str(platform) for platform in substitute.platforms)
        self._reporter.warn(
            f"{tag.ref}: {self._host} refuses an index whose platforms are not all there; its tag gets {platforms} as "
            f"{substitute.descriptor.digest}. Who pins the index {tag.descriptor.digest} can't pull it from there: "
            "carry all platforms (`sparse: false` in bundle.yaml), or use the embedded registry"
        )
        with self._lock:
            self.result.sparse[tag.ref] = substitute.descriptor.digest


def _no_substitute(tag: Tag, host: str, error: Refused) -> SiteError:
    return SiteError(
        f"{tag.ref}: {host} refuses its index, of which the bundle carries no platform: {error.problem}",
        hint="carry all its platforms (`sparse: false` in bundle.yaml) and build again",
    )


class _Stoppable:
    """A reader that gives no more bytes once it is time to end."""

    def __init__(self, source: BlobReader, stop: Stop) -> None:
        self._source = source
        self._stop = stop

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Read, or raise Interrupted."""
        self._stop.check()
        return self._source.read_into(digest, offset, buffer)
