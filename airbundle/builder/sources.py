"""Everything that is not a registry image becomes a locked root whose bytes are in the cache (design §3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from airbundle.bundle.content import Materialised
from airbundle.bundle.inventory import CaRequest, ChartRequest, ClamavRequest, FileRequest, ImageRequest
from airbundle.bundle.lock import CACHE, LockedRoot
from airbundle.errors import UsageError
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import InventoryDir
from airbundle.transfer.registry import RegistryClient


@dataclass(frozen=True)
class SourceResolver:
    """Materialises charts, files, databases, CAs and images that are not in registries."""

    opened: InventoryDir
    client: RegistryClient
    cache: Cache
    reporter: Reporter = SILENT

    def image(self, request: ImageRequest) -> LockedRoot:
        raise UsageError("not yet")

    def chart(self, request: ChartRequest) -> Sequence[LockedRoot]:
        raise UsageError("not yet")

    def chart_version(self, request: ChartRequest) -> str:
        raise UsageError("not yet")

    def file(self, request: FileRequest) -> Sequence[LockedRoot]:
        raise UsageError("not yet")

    def clamav(self, request: ClamavRequest) -> Sequence[LockedRoot]:
        raise UsageError("not yet")

    def ca(self, request: CaRequest) -> Sequence[LockedRoot]:
        raise UsageError("not yet")


def locked(kind: str, ref: str, requested: str, origin: str, made: Materialised) -> LockedRoot:
    """Return the locked root of materialised content."""
    return LockedRoot(
        kind=kind,
        ref=ref,
        requested=requested,
        source=CACHE,
        origin=origin,
        descriptor=made.descriptor,
        children=made.manifests,
        blobs=made.blobs,
        info=made.info,
    )
