"""What the stages of a load share: source, registry, threads, what was found out, and what was done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from airbundle.bundle.content import BlobReader, BlobSource
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.placed import Placing, Recorder
from airbundle.installer.workers import Stop, for_each
from airbundle.progress import Reporter
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository

T = TypeVar("T")

_WIDE = 4
"""Connections for small requests, for each of those that send large blobs: they wait, and don't carry."""


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


class LoadRun:
    """One load under way.

    Attributes:
        reader: the source, which gives no more bytes once it is time to end.
        lacked: repository and digest of blobs that the registry said it lacks. What needs them can't be there either.
        result: what was done so far.
        lock: for what several threads change.
    """

    def __init__(
        self,
        source: Source,
        plan: LoadPlan,
        client: RegistryClient,
        host: str,
        *,
        reporter: Reporter,
        jobs: int,
        recorder: Recorder | None = None,
    ) -> None:
        self.source = source
        self.plan = plan
        self.host = host
        self.reporter = reporter
        self.stop = Stop(client.close)
        self.reader = _Stoppable(source, self.stop)
        self.lacked: set[tuple[str, str]] = set()
        self.result = LoadResult(blobs=len(plan.blobs), size=plan.size)
        self.lock = threading.Lock()
        self._recording = threading.Lock()
        self._client = client
        self._jobs = jobs
        self._recorder = recorder
        self._repositories: dict[str, Repository] = {}

    def each(self, tasks: Iterable[T], work: Callable[[T], None], *, wide: bool = False) -> None:
        """Call `work` with each task, several at a time; more of them when it is `wide`: small requests only."""
        for_each(tasks, work, jobs=self._jobs * _WIDE if wide else self._jobs, stop=self.stop)

    def repository(self, name: str) -> Repository:
        """Return a repository of the registry."""
        with self.lock:
            if name not in self._repositories:
                self._repositories[name] = self._client.repository(f"{self.host}/{name}")
            return self._repositories[name]

    @property
    def records(self) -> bool:
        """Whether what is placed at the registry is written down."""
        return self._recorder is not None

    def placing(self, placings: Iterable[Placing]) -> None:
        """Write down what is about to be placed; it is on disk when this returns."""
        if self._recorder is not None:
            with self._recording:
                self._recorder.note(placings)

    def count(self, **numbers: int) -> None:
        """Add to the result."""
        with self.lock:
            for name, number in numbers.items():
                setattr(self.result, name, getattr(self.result, name) + number)


class _Stoppable:
    """A reader that gives no more bytes once it is time to end."""

    def __init__(self, source: BlobReader, stop: Stop) -> None:
        self._source = source
        self._stop = stop

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Read, or raise Interrupted."""
        self._stop.check()
        return self._source.read_into(digest, offset, buffer)
