"""What `prune` takes away, what stays, and why. Pure: nothing that is kept lacks anything afterwards.

Copies: of each bundle name the newest versions that were up stay, what a site needs now, and copies that have what a
delta that stays leaves out. A version that was tried at sites and never came up is none of the newest.

Registry: of what airbundle placed (`placed`) goes what no bundle that stays needs, unless a tag that stays leads to it,
be it whose it may: deleting a manifest takes all its tags along. What hangs on an image (signatures, lists of
referrers) stays as long as the image does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from airbundle.installer.placed import Ours

Blob = tuple[str, int]
"""Digest and size in bytes."""

_HANGS_ON = re.compile(r"sha256-([0-9a-f]{64})(\..+)?")
"""Tags made from a digest: the list of referrers has it alone, cosign's signatures and attestations with a suffix."""

UNSURE = "a bundle that was loaded since may need it"
MOVED = "it was moved by others since"
STAYING = "its image stays"


@dataclass(frozen=True)
class Held:
    """An installed bundle, and what its copy means to others.

    Attributes:
        statement: digest of its statement.
        title: name and version.
        has: blobs in its copy and its supplement.
        needs: blobs that it leaves out and the site's server needs.
    """

    name: str
    title: str
    serial: int
    statement: str
    has: frozenset[Blob] = frozenset()
    needs: frozenset[Blob] = frozenset()


def choose_kept(
    bundles: Sequence[Held],
    keep: int,
    failed: Collection[str] = (),
    needed: Mapping[str, str] | None = None,
    without: str = "",
) -> dict[str, str]:
    """Choose which bundles stay.

    Args:
        bundles: that are installed, the one that was installed last first.
        keep: how many versions of each name, at least 1.
        failed: statements of those that never came up.
        needed: statements of those that sites need now, and why.
        without: the name of which none stays but what others need.

    Returns:
        By statement, why each stays; what is not in it goes.
    """
    kept: dict[str, str] = {}
    for name in dict.fromkeys(each.name for each in bundles if each.name != without):
        own = [each for each in bundles if each.name == name]
        were_up = [each for each in own if each.statement not in failed]
        newest = sorted(were_up, key=lambda each: each.serial, reverse=True)
        kept.update((each.statement, "") for each in newest[: max(1, keep)])
        for each in own:
            if needed and each.statement in needed:
                kept.setdefault(each.statement, needed[each.statement])
        kept.setdefault(own[0].statement, "installed last")
    _add_needed(bundles, kept)
    return kept


def _add_needed(bundles: Sequence[Held], kept: dict[str, str]) -> None:
    """Keep, besides, copies with blobs that deltas which stay leave out and no other copy that stays has."""
    rest = sorted((each for each in bundles if each.statement not in kept), key=lambda each: each.serial, reverse=True)
    while True:
        staying = [each for each in bundles if each.statement in kept]
        there = frozenset().union(*(each.has for each in staying))
        wanted = [(each, each.needs - there) for each in staying]
        found = next(
            ((other, each, needs & other.has) for each, needs in wanted for other in rest if needs & other.has), None
        )
        if found is None:
            return
        other, delta, blobs = found
        count = f"{len(blobs)} blobs" if len(blobs) > 1 else "a blob"
        kept[other.statement] = f"the delta {delta.title} needs {count} of it"
        rest.remove(other)


def lacking(bundles: Iterable[Held], kept: Mapping[str, str]) -> dict[str, frozenset[Blob]]:
    """Return what bundles that stay lack, by title: what is in no copy at all. Empty where all is well."""
    staying = [each for each in bundles if each.statement in kept]
    there = frozenset().union(*(each.has for each in staying))
    return {each.title: each.needs - there for each in staying if each.needs - there}


@dataclass(frozen=True)
class Shelf:
    """What the registry has in a repository.

    Attributes:
        tags: the digest that each leads to.
        below: the digests in each index that one of them leads to, straight or through others, and each of `untagged`.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    below: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def reach(self, digest: str) -> set[str]:
        """Return a digest with all that is below it."""
        found, open_ = set[str](), [digest]
        while open_:
            each = open_.pop()
            if each not in found:
                found.add(each)
                open_ += self.below.get(each, ())
        return found


@dataclass(frozen=True)
class Needed:
    """What bundles that stay have in a repository."""

    manifests: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Going:
    """What is deleted in a repository.

    Attributes:
        tags: all that go.
        single: those of them whose manifest stays: they are deleted by name.
        manifests: in the order in which they are deleted: parents before children, referrers before subjects.
        stays: why what is airbundle's and nobody needs stays all the same, by tag.
    """

    tags: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    stays: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tags or self.manifests)


def is_candidate(ours: Ours, needed: Needed) -> bool:
    """Tell whether anything in a repository may go, so that it is worth asking the registry."""
    sure = (each for each in (*ours.manifests, *ours.tags) if each not in ours.unsure)
    return any(each not in needed.manifests and each not in needed.tags for each in sure)


def untagged(ours: Ours, needed: Needed) -> list[str]:
    """Return what may stay though no tag leads to it, so that what is below it has to be known.

    Such are referrers whose subject stays, and what a bundle may need that was being loaded. A run that was cut off may
    have deleted their tags.
    """
    spare = ((digest, subject) for digest, subject in ours.manifests.items() if digest not in needed.manifests)
    return [digest for digest, subject in spare if subject or digest in ours.unsure]


def plan_repository(ours: Ours, needed: Needed, shelf: Shelf) -> Going:
    """Plan what goes in one repository.

    Args:
        ours: what airbundle placed there.
        needed: by bundles that stay.
        shelf: what is there now, whoever placed it.
    """
    return _Planner(ours, needed, shelf).run()


class _Planner:
    """Begins with all that might go, and takes out what must stay until nothing more follows from that."""

    def __init__(self, ours: Ours, needed: Needed, shelf: Shelf) -> None:
        self._ours = ours
        self._shelf = shelf
        unneeded = [tag for tag in ours.tags if tag not in needed.tags and tag in shelf.tags]
        self._why = {tag: self._reason(tag) for tag in unneeded}
        self._tags = {tag for tag in unneeded if not self._why[tag]}
        self._lists = {tag for tag in shelf.tags if tag not in needed.tags and _is_list(tag)}
        self._stays = set(needed.manifests).union(*(shelf.reach(each) for each in ours.unsure))

    def _reason(self, tag: str) -> str:
        if tag in self._ours.unsure:
            return UNSURE
        return "" if self._shelf.tags[tag] == self._ours.tags[tag] else MOVED

    def run(self) -> Going:
        while self._hold():
            pass
        going, digests = self._going(), self._shelf.tags
        ordered = [digests[tag] for tag in sorted(self._lists)]
        ordered += [digest for digest in reversed(self._ours.manifests) if digest in going]
        return Going(
            tags=tuple(sorted(self._tags | self._lists)),
            single=tuple(sorted(tag for tag in self._tags if digests[tag] not in going)),
            manifests=tuple(ordered),
            stays={tag: reason for tag, reason in self._why.items() if reason},
        )

    def _going(self) -> set[str]:
        return self._ours.manifests.keys() - self._stays

    def _hold(self) -> bool:
        """Take out what has to stay as things stand; tell whether there was anything."""
        shelf, going = self._shelf, self._going()
        tags = {tag for tag in self._tags if _holder(tag) and _holder(tag) not in going}
        lists = {tag for tag in self._lists if not self._list_goes(tag, going)}
        self._why.update((tag, STAYING) for tag in tags)
        self._tags -= tags
        self._lists -= lists
        # A tag that goes alone leaves its manifest, with all that is below it.
        leaving = {tag for tag in self._tags if shelf.tags[tag] in going} | self._lists
        found = [digest for tag, digest in shelf.tags.items() if tag not in leaving]
        found += [digest for digest in going if self._ours.manifests[digest] not in going | {""}]
        stays = set[str]().union(*(shelf.reach(digest) for digest in found))
        changed = bool(tags or lists or not stays <= self._stays)
        self._stays |= stays
        return changed

    def _list_goes(self, tag: str, going: set[str]) -> bool:
        """Tell whether a list of referrers is of no use any more: its subject goes, and all that it lists."""
        digest = self._shelf.tags[tag]
        below = self._shelf.below.get(digest, ())
        return bool(below) and _holder(tag) in going and going >= set(below) and digest not in self._stays


def _holder(tag: str) -> str:
    """Return the digest of the image that a tag hangs on by its name; empty for other tags."""
    found = _HANGS_ON.fullmatch(tag)
    return f"sha256:{found[1]}" if found else ""


def _is_list(tag: str) -> bool:
    found = _HANGS_ON.fullmatch(tag)
    return bool(found and not found[2])
