"""The first stage of a load: every blob is where it is needed, or has proved its digest.

All that is to be asked is asked first, over many connections: a round trip to a far registry takes longer than an
answer. Then large blobs are sent, the largest first, over a few connections; then small ones and mounts over many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from airbundle.bundle.oci import Descriptor
from airbundle.bundle.sizes import human
from airbundle.errors import DigestMismatch, SiteError
from airbundle.installer.load_plan import BlobTask
from airbundle.installer.load_run import LoadRun
from airbundle.progress import Phase
from airbundle.transfer.upload import SMALL

ASKED_ONCE = 16 * 1024
"""Blobs of up to this many bytes are sent again rather than looked for in every repository that needs them."""


@dataclass(frozen=True)
class _Copy:
    """A blob that the repository `name` lacks; `source` has it, or nobody."""

    blob: Descriptor
    name: str
    source: str = ""


class BlobStage:
    """Brings blobs to a registry.

    Args:
        run: what is loaded, and where to.
        located: repositories of the registry that have blobs which the source lacks, by digest.
    """

    def __init__(self, run: LoadRun, located: Mapping[str, str]) -> None:
        self._run = run
        self._located = located
        self._there: dict[tuple[str, str], bool] = {}

    def load(self, verified: Collection[str]) -> None:
        """Send the blobs that the registry lacks; verify those that it doesn't get.

        What a delta leaves out and the registry doesn't get, nobody needs here where the source lacks it.

        Args:
            verified: digests of blobs that have been read and verified already.
        """
        run = self._run
        rest = [blob for blob in run.plan.unloaded if blob.digest not in verified]
        rest = [blob for blob in rest if run.source.has_blob(blob.digest)]
        total = run.plan.size + sum(blob.size for blob in rest)
        with run.reporter.phase("load blobs", total=total) as phase:
            run.each(rest, lambda blob: self._verify(blob, phase))
            self._ask()
            sent, shared = [], []
            for task in run.plan.blobs:
                first, others = self._copies(task, phase)
                sent += first
                shared += others
            self._send(sent, lambda copy: self._first(copy, phase))
            refused: list[_Copy] = []
            run.each(shared, lambda copy: self._mount(copy, refused), wide=True)
            self._send(refused, self._push)

    def _verify(self, blob: Descriptor, phase: Phase) -> None:
        with phase.item(f"verify {blob.digest[7:19]}", blob.size) as item:

            def read(offset: int, data: memoryview) -> None:  # noqa: ARG001 - the signature of a writer
                self._run.stop.check()
                item.advance(len(data))

            self._run.source.copy_blob(blob, read)

    def _ask(self) -> None:
        """Ask for each blob in each repository that needs it; for a small one in the first, and on if that has it."""
        tasks = self._run.plan.blobs
        self._run.each(self._pairs(tasks, lambda task: 1 if self._is_small(task) else None), self._look, wide=True)
        there = [task for task in tasks if self._there[task.repositories[0], task.blob.digest]]
        self._run.each(self._pairs(there, lambda _: None), self._look, wide=True)

    def _pairs(self, tasks: Collection[BlobTask], count: Callable[[BlobTask], int | None]) -> Iterator[tuple[str, str]]:
        """Yield repository and digest of what hasn't been asked yet, of the first `count` repositories of each task."""
        for task in tasks:
            for name in task.repositories[: count(task)]:
                if (name, task.blob.digest) not in self._there:
                    yield name, task.blob.digest

    def _is_small(self, task: BlobTask) -> bool:
        return task.blob.size <= ASKED_ONCE and self._run.source.has_blob(task.blob.digest)

    def _look(self, place: tuple[str, str]) -> None:
        name, digest = place
        self._there[place] = there = self._run.repository(name).has_blob(digest)
        if not there:
            self._run.lacked.add(place)

    def _copies(self, task: BlobTask, phase: Phase) -> tuple[list[_Copy], list[_Copy]]:
        """Return what is to be sent for a blob, and what is to be mounted then."""
        blob = task.blob
        lacking = [name for name in task.repositories if not self._there.get((name, blob.digest))]
        having = next((name for name in task.repositories if name not in lacking), self._located.get(blob.digest, ""))
        if having:
            phase.skip(blob.digest[7:19], blob.size, "exists")
            return [], [_Copy(blob, name, having) for name in lacking]
        first, *others = lacking
        return [_Copy(blob, first)], [_Copy(blob, name, first) for name in others]

    def _send(self, copies: Collection[_Copy], send: Callable[[_Copy], None]) -> None:
        """Send blobs, in their order: the large ones go one on each connection, the small ones on more."""
        self._run.each([copy for copy in copies if copy.blob.size > SMALL], send)
        self._run.each([copy for copy in copies if copy.blob.size <= SMALL], send, wide=True)

    def _first(self, copy: _Copy, phase: Phase) -> None:
        with phase.item(copy.blob.digest[7:19], copy.blob.size) as item:
            self._push(copy, item.advance)

    def _mount(self, copy: _Copy, refused: list[_Copy]) -> None:
        """Make a blob of one repository known to another; a registry that won't mount gets it again."""
        run = self._run
        if run.repository(copy.name).mount(copy.blob.digest, f"{run.host}/{copy.source}"):
            run.count(mounted=1)
        else:
            refused.append(copy)

    def _push(self, copy: _Copy, advance: Callable[[int], None] = lambda _: None) -> None:
        run, blob = self._run, copy.blob
        if not run.source.has_blob(blob.digest):
            raise SiteError(
                f"{blob.digest}: the bundle is a delta and leaves it out, and {run.host} does not let it be taken "
                f"over to {copy.name} from its other repositories",
                hint="give the bundle that has it with --base, then run the same command again: it goes on from here",
            )
        spared: list[int] = []
        try:
            run.repository(copy.name).push_blob(blob, run.reader, advance=advance, check=False, spared=spared.append)
        except DigestMismatch:
            # The source knows which of its files has the damage.
            run.source.copy_blob(blob, lambda *_: None)
            raise
        if any(spared):
            run.reporter.event(
                f"{blob.digest[7:19]}: {run.host} had {human(sum(spared))} of {human(blob.size)} from an earlier run"
            )
        run.count(sent=1, sent_bytes=blob.size - sum(spared))
