"""Blobs stream in parallel from their sources to their final place in the file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Protocol

from airbundle.builder.pool import raise_joined, worker_pool
from airbundle.bundle.content import BlobSource, Hasher, WriteAt
from airbundle.bundle.oci import Descriptor
from airbundle.errors import AirbundleError, DigestMismatch, Interrupted, MissingContent, NotFound
from airbundle.progress import SILENT, Phase, Reporter

_FOREIGN = (".nondistributable.", ".foreign.")
JOBS = 4
"""Blobs under way at once: enough to fill a link, few enough for registries that count connections."""


class Target(Protocol):
    """Where blobs go: a bundle being written."""

    def pending(self) -> Sequence[Descriptor]:
        """Return what is still to be fetched, largest first."""

    def resume_point(self, digest: str) -> tuple[int, Hasher | None]:
        """Return how many bytes of a blob are there, and their hasher."""

    def write_at(self, digest: str) -> WriteAt:
        """Return what puts bytes of a blob at their place."""

    def done(self, digest: str) -> None:
        """Record that a blob is whole and verified."""


def fetch_blobs(
    target: Target,
    sources: Callable[[Descriptor], Sequence[BlobSource]],
    *,
    jobs: int = JOBS,
    reporter: Reporter = SILENT,
    abort: Callable[[], None] = lambda: None,
) -> None:
    """Fetch all that is pending.

    Args:
        target: where to; told of each blob that is done.
        sources: gives, for a blob, where it may be had, best first.
        jobs: blobs under way at once.
        reporter: where progress goes.
        abort: ends what the sources wait for, when the process is interrupted.

    Raises:
        RemoteError, DigestMismatch, HostError: blobs could not be had; what is done is kept.
    """
    pending = target.pending()
    stop = threading.Event()
    with reporter.phase("fetch", total=sum(blob.size for blob in pending)) as phase:
        with worker_pool(jobs, "fetch", abort) as pool:
            copies: list[Future[None]] = []
            try:
                # One by one: an interruption in between must find those that were begun.
                copies.extend(pool.submit(_fetch, target, blob, sources, phase, stop) for blob in pending)
                wait(copies, return_when=FIRST_EXCEPTION)
            finally:
                # Also after Ctrl-C: no new blob begins, and those under way end at their next piece.
                stop.set()
                for copy in copies:
                    copy.cancel()
    raised = [copy.exception() for copy in copies if not copy.cancelled()]
    raise_joined([error for error in raised if error is not None and not isinstance(error, Interrupted)])


def _fetch(
    target: Target,
    blob: Descriptor,
    sources: Callable[[Descriptor], Sequence[BlobSource]],
    phase: Phase,
    stop: threading.Event,
) -> None:
    write = target.write_at(blob.digest)
    with phase.item(blob.digest[7:19], blob.size) as item:

        def put(offset: int, data: memoryview) -> None:
            if stop.is_set():
                raise Interrupted
            write(offset, data)
            item.advance(len(data))

        start, hasher = target.resume_point(blob.digest)
        item.advance(start)
        _copy_from_first(blob, sources(blob), put, start, hasher)
    target.done(blob.digest)


def _copy_from_first(
    blob: Descriptor, sources: Sequence[BlobSource], write: WriteAt, start: int, hasher: Hasher | None
) -> None:
    failure: AirbundleError = MissingContent(
        f"blob {blob.digest}: no source is known", hint="run `airbundle lock` again"
    )
    for source in sources:
        try:
            source.copy_blob(blob, write, start=start, hasher=hasher)
            return
        except (NotFound, DigestMismatch) as error:
            # The hasher has perhaps seen wrong bytes.
            failure, start, hasher = error, 0, None
    if isinstance(failure, NotFound) and any(word in blob.media_type for word in _FOREIGN):
        failure.hint = (
            "this is a foreign layer: few registries may hold it, and addresses beside it are never followed; "
            "push it to a registry of your own"
        )
    raise failure
