"""What changed between two bundles, as people ask it: what came, went or moved, and how many bytes are new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.bundle.index import kind_of, ref_of, total_of
from airbundle.bundle.layout import repository_of
from airbundle.bundle.oci import Descriptor

ADDED, REMOVED, CHANGED, MOVED = "added", "removed", "changed", "moved"


@dataclass(frozen=True)
class Change:
    """One difference. `moved` is another version of one repository; `changed` other bytes under one name."""

    change: str
    kind: str
    old: Descriptor | None
    new: Descriptor | None

    @property
    def name(self) -> str:
        """The new name, or the old one of what was removed."""
        root = self.new or self.old
        return ref_of(root) if root else ""

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        body: dict[str, Any] = {"change": self.change, "kind": self.kind, "name": self.name}
        for side, root in (("old", self.old), ("new", self.new)):
            if root is not None:
                body[side] = {"ref": ref_of(root), "digest": root.digest, "size": total_of(root)}
        return body


def compare_roots(old: Iterable[Descriptor], new: Iterable[Descriptor]) -> list[Change]:
    """Return the differences between the roots of two bundles, in the order of the new one; what went comes last."""
    before = {(kind_of(root), ref_of(root)): root for root in old}
    after = {(kind_of(root), ref_of(root)): root for root in new}
    gone = [root for key, root in before.items() if key not in after]
    came = [root for key, root in after.items() if key not in before]
    pairs = _moved(gone, came)
    changes = []
    for key, root in after.items():
        earlier = before.get(key)
        if earlier is None:
            origin = pairs.get(root)
            changes.append(Change(MOVED if origin else ADDED, key[0], origin, root))
        elif earlier.digest != root.digest:
            changes.append(Change(CHANGED, key[0], earlier, root))
    left = set(map(_key, pairs.values()))
    changes += [Change(REMOVED, kind_of(root), root, None) for root in gone if _key(root) not in left]
    return changes


def _moved(gone: Sequence[Descriptor], came: Sequence[Descriptor]) -> dict[Descriptor, Descriptor]:
    """Pair what came with what went where a repository has exactly one of each."""
    groups: dict[tuple[str, str], tuple[list[Descriptor], list[Descriptor]]] = defaultdict(lambda: ([], []))
    for side, roots in enumerate((gone, came)):
        for root in roots:
            groups[kind_of(root), repository_of(ref_of(root))][side].append(root)
    return {new[0]: old[0] for old, new in groups.values() if len(old) == len(new) == 1}


def _key(root: Descriptor) -> tuple[str, str]:
    return kind_of(root), ref_of(root)


def new_bytes(old: Iterable[tuple[str, int]], new: Iterable[tuple[str, int]]) -> int:
    """Return how many bytes of blobs the new bundle has and the old one lacks."""
    known = {digest for digest, _ in old}
    return sum(size for digest, size in new if digest not in known)
