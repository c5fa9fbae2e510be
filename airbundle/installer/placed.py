"""What airbundle placed at a registry: journalled before it is pushed, read again when something is to be pruned.

A load writes down which manifests and tags the registry lacked (step `placed`), `prune` what it has deleted (step
`removed`). Only what the registry lacked is airbundle's: what was there before stays whatever comes.

```
{"step": "placed", "event": "note", "info": {"registry": "https://registry.corp", "placed": [
    {"repository": "docker.io/library/redis", "manifests": [[DIGEST, SUBJECT]], "tags": [[TAG, DIGEST, BEFORE]]}]}}
```

Manifests come in the order in which they are pushed: children before parents, subjects before referrers. `SUBJECT` and
`BEFORE` (what the tag pointed to) may be empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.digest import is_digest
from airbundle.installer.journal import Entry, Journal

PLACED, REMOVED = "placed", "removed"
_ROWS = 2000  # of an entry: a line of the journal must stay below 1 MiB


@dataclass(frozen=True)
class Placing:
    """What is about to be placed in one repository, or was removed from it.

    Attributes:
        manifests: digest, and digest of the subject or nothing.
        tags: name, digest that it gets, and the one that it had or nothing.
    """

    repository: str
    manifests: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"repository": self.repository, "manifests": self.manifests, "tags": self.tags}


class Recorder:
    """Writes into a journal what is placed at one registry, or removed from it."""

    def __init__(self, journal: Journal, registry: str, *, step: str = PLACED) -> None:
        self._journal = journal
        self._registry = registry
        self._step = step

    def note(self, placings: Iterable[Placing]) -> None:
        """Write it down; it is on disk when this returns."""
        rows: list[dict[str, Any]] = []
        for placing in _pieces(placings):
            rows.append(placing.to_json())
            if sum(len(row["manifests"]) + len(row["tags"]) + 1 for row in rows) >= _ROWS:
                self._write(rows)
                rows = []
        self._write(rows)

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._journal.note(self._step, info={"registry": self._registry, "placed": list(rows)})


def _pieces(placings: Iterable[Placing]) -> Iterator[Placing]:
    """Yield what places anything, in pieces of which each fits into an entry."""
    for placing in placings:
        for start in range(0, len(placing.manifests), _ROWS):
            yield Placing(placing.repository, placing.manifests[start : start + _ROWS])
        for start in range(0, len(placing.tags), _ROWS):
            yield Placing(placing.repository, (), placing.tags[start : start + _ROWS])


@dataclass
class Ours:
    """What is airbundle's in one repository.

    Attributes:
        manifests: the subject's digest or nothing, by digest, in the order in which they were placed.
        tags: what each was set to last.
        removed: tags that were removed since.
        unsure: digests and tags that a bundle may need of which nothing else is known here.
    """

    manifests: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Placed:
    """What is airbundle's at one registry.

    Attributes:
        repositories: by name.
        unknown: titles of bundles that were loaded, are not installed, and so need nobody knows what.
    """

    repositories: Mapping[str, Ours]
    unknown: tuple[str, ...] = ()


def read_placed(entries: Sequence[Entry], registry: str, urls: Iterable[str], known: Iterable[str]) -> Placed:
    """Read what the journal says of a registry.

    What was placed before a bundle of unknown needs was loaded may be needed by it: that load found it there and
    placed nothing.

    Args:
        entries: of the journal, oldest first.
        registry: as `places.registry_name` calls it.
        urls: of the registry, by which `airbundle load` may have named it.
        known: digests of the statements of bundles that are installed, or are about to be dropped.
    """
    reader = _Reader({registry, *urls}, registry)
    for entry in entries:
        reader.add(entry)
    return reader.result(frozenset(known))


class _Reader:
    def __init__(self, names: set[str], registry: str) -> None:
        self._names = names
        self._registry = registry
        self._number = 0
        self._ends: dict[str, int] = {}
        self._statements: dict[str, tuple[str, str]] = {}
        self._clear()

    def _clear(self) -> None:
        self._ours: dict[str, Ours] = {}
        self._when: dict[tuple[str, str], int] = {}
        self._loads: dict[str, str] = {}
        self._installs: dict[str, bool] = {}

    def add(self, entry: Entry) -> None:
        """Take in the next entry."""
        self._number += 1
        self._ends[entry.run] = self._number
        key, info = (entry.step, entry.event), entry.info
        if key == ("uninstall", "note"):
            # Uninstall has said that what was loaded stays there.
            self._clear()
        elif key in (("install", "note"), ("load", "note")):
            self._statements[entry.run] = str(info.get("statement", "")), str(info.get("bundle", ""))
            if entry.step == "install":
                self._installs[entry.run] = False
        elif key == ("load", "begin") and info.get("registry") in self._names:
            self._loads[entry.run] = self._statements.get(entry.run, ("", ""))[0]
        elif key == ("install", "done"):
            self._installs[entry.run] = True
            self._settled({self._statements.get(entry.run, ("", ""))[0]})
        elif key == ("prune", "done"):
            self._settled({str(each) for each in info.get("dropped", ())})
        elif entry.step in (PLACED, REMOVED) and info.get("registry") == self._registry:
            for placing in _parse(info.get("placed")):
                self._remove(placing) if entry.step == REMOVED else self._place(placing)

    def _settled(self, statements: set[str]) -> None:
        """Forget loads of bundles whose needs are known since, or are none any more."""
        self._loads = {run: each for run, each in self._loads.items() if each not in statements}

    def _place(self, placing: Placing) -> None:
        ours = self._ours.setdefault(placing.repository, Ours())
        for digest, subject in placing.manifests:
            ours.manifests.pop(digest, None)  # it becomes the newest
            ours.manifests[digest] = subject
            self._when[placing.repository, digest] = self._number
        for tag, digest, before in placing.tags:
            if not digest or (before and ours.tags.get(tag) != before):
                ours.tags.pop(tag, None)  # somebody's tag that was only moved
                continue
            ours.tags[tag] = digest
            ours.removed.discard(tag)
            self._when[placing.repository, tag] = self._number

    def _remove(self, placing: Placing) -> None:
        ours = self._ours.setdefault(placing.repository, Ours())
        for digest, _ in placing.manifests:
            ours.manifests.pop(digest, None)
        for tag, _, _ in placing.tags:
            ours.tags.pop(tag, None)
            ours.removed.add(tag)

    def result(self, known: frozenset[str]) -> Placed:
        """Return what was found out."""
        # An install that was cut off goes on, and needs what it found; one after which others came is forgotten.
        last = next(reversed(self._installs), "")
        forgotten = {run for run, done in self._installs.items() if done or run != last}
        unknown = {run for run, each in self._loads.items() if each not in known and run not in forgotten}
        until = max((self._ends[run] for run in unknown), default=0)
        for name, ours in self._ours.items():
            every = (*ours.manifests, *ours.tags)
            ours.unsure = {each for each in every if self._when[name, each] <= until}
        return Placed(self._ours, tuple(sorted({self._statements[run][1] for run in unknown})))


def _parse(value: Any) -> Iterator[Placing]:
    """Yield what is as it should be; of anything else nothing is ours."""
    for row in value if isinstance(value, list) else ():
        try:
            manifests = tuple((digest, subject) for digest, subject in row["manifests"])
            tags = tuple((tag, digest, before) for tag, digest, before in row["tags"])
            repository = row["repository"]
        except (KeyError, TypeError, ValueError):
            continue
        texts = [repository, *(each for item in (*manifests, *tags) for each in item)]
        # What is removed needs no digest of its tags.
        digests = [digest for digest, _ in manifests] + [digest for _, digest, _ in tags if digest]
        if all(isinstance(each, str) for each in texts) and all(is_digest(each) for each in digests):
            yield Placing(repository, manifests, tags)
