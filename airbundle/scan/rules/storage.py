"""StorageClasses that are named, and that nothing in the inventory makes."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.scene import Scene, tell

_NAMES = frozenset({"storageClassName", "storageClass"})
_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the claims and custom resources that name a class which no render makes and no site is known to have."""
    made = {manifest.name for manifest in scene.by_kind.get("StorageClass", ())} | scene.storage_classes
    for text in scene.texts:
        named = text.name in _NAMES and text.source == "field"
        if (named or text.path == f"metadata.annotations.{_ANNOTATION}") and text.value not in made:
            if text.manifest.kind in {"StorageClass", "PersistentVolume"}:
                continue
            yield tell(
                scene,
                text,
                "",
                Finding(
                    f"the StorageClass {text.value!r} is named; nothing in the inventory makes it",
                    code="storage-class",
                    found=text.value,
                    expected="a class that the site has",
                    hint="write {{ site.storageClass }}, or leave it out for the cluster's default",
                    severity="warning",
                ),
            )
