"""`lock --check`: what upstream has moved since the lock was made. A re-pushed tag must be seen before a release."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass

from airbundle.builder.images import ImageResolver
from airbundle.builder.pool import raise_joined, worker_pool
from airbundle.builder.sources import SourceResolver
from airbundle.bundle.image_source import DOCKER_DAEMON, REGISTRY
from airbundle.bundle.inventory import ChartRequest, ImageRequest, Inventory
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.lockmatch import root_key
from airbundle.errors import Finding, NotFound

_WORKERS = 8


@dataclass(frozen=True)
class Moved:
    """An entry whose name leads elsewhere now: image digests, chart versions; `new` is empty when it is gone."""

    kind: str
    name: str
    old: str
    new: str
    where: str = ""

    def finding(self, command: str) -> Finding:
        """Return it as a finding; `command` is what locks this inventory."""
        new = self.new or "nothing: upstream no longer has it"
        update = f"`{command} --update {shlex.quote(self.name)}` moves the lock"
        hint = update if self.new else "find out where it went"
        return Finding(
            f"{self.kind} {self.name} has moved upstream",
            where=self.where,
            code="moved",
            found=new,
            expected=self.old,
            hint=hint,
        )


def check_lock(inventory: Inventory, lock: Lock, images: ImageResolver, sources: SourceResolver) -> list[Moved]:
    """Return the entries that have moved, in the inventory's order.

    Raises:
        RemoteError: upstream can't be asked; nothing can be said then.
    """
    locked = {(root.kind, root_key(root)): root for root in lock.roots}

    def image(request: ImageRequest) -> Moved | None:
        root = locked.get(("image", request.target.full_name))
        reference = request.source.own_name
        if root is None or reference is None or reference.digest:
            return None
        try:
            if request.source.transport == DOCKER_DAEMON:
                old, new = root.info.get("imageId", ""), ""
                new = sources.image_id(request)
            elif request.source.transport == REGISTRY:
                old, new = root.descriptor.digest, ""
                new = images.current(reference).digest
            else:
                return None
        except NotFound:
            pass
        return _moved(root, request.requested, old, new, request.where)

    def chart(request: ChartRequest) -> Moved | None:
        root = locked.get(("chart", request.requested))
        if root is None or request.path:
            return None
        try:
            new = sources.chart_version(request)
        except NotFound:
            new = ""
        return _moved(root, request.name, root.info.get("version", ""), new, request.where)

    with worker_pool(_WORKERS, "check", images.client.close) as pool:
        futures = [pool.submit(image, request) for request in inventory.images]
        futures += [pool.submit(chart, request) for request in inventory.charts]
        wait(futures)  # inside, where an interruption is heard
    raise_joined([error for error in (future.exception() for future in futures) if error is not None])
    return [moved for moved in (future.result() for future in futures) if moved is not None]


def _moved(root: LockedRoot, name: str, old: str, new: str, where: str) -> Moved | None:
    return Moved(root.kind, name, old, new, where) if old != new else None


def moved_findings(moved: Sequence[Moved], command: str) -> list[Finding]:
    """Return the findings of a check; `command` is what locks this inventory, such as `airbundle lock inventory`."""
    return [entry.finding(command) for entry in moved]
