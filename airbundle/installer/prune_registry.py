"""The registry's part of `prune`: what is airbundle's there and needed by no bundle that stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock

from airbundle.bundle.oci import parse_manifest
from airbundle.errors import NotFound, Refused, VerificationError
from airbundle.installer.journal import Journal
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.placed import REMOVED, Ours, Placed, Placing, Recorder
from airbundle.installer.prune_plan import Going, Needed, Shelf, is_candidate, plan_repository, untagged
from airbundle.installer.target import Target
from airbundle.installer.workers import Stop, for_each
from airbundle.progress import Reporter
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository

NOT_OURS = "the journal does not say that airbundle set it"
SINGLE = "the registry deletes no single tags"
NO_DELETES = "the registry does not allow deleting"

_JOBS = 8
_NO_SINGLE = frozenset({400, 404, 405})


@dataclass
class RegistryPlan:
    """What goes at a registry.

    Attributes:
        name: as the journal knows it.
        target: how it is reached.
        going: by repository.
        stays: names of what nobody needs and stays all the same, by the reason.
        unknown: titles of bundles that were loaded and are not installed.
        deleted: how many manifests and single tags are gone.
        refused: whether the registry allows no deleting.
    """

    name: str
    target: Target
    going: dict[str, Going] = field(default_factory=dict)
    stays: dict[str, list[str]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    deleted: int = 0
    refused: bool = False

    @property
    def tags(self) -> list[str]:
        """The tags that go, with their repositories."""
        return [f"{name}:{tag}" for name, going in self.going.items() for tag in going.tags]

    @property
    def manifests(self) -> list[str]:
        """The manifests that go, with their repositories."""
        return [f"{name}@{digest}" for name, going in self.going.items() for digest in going.manifests]

    def cannot_go(self, name: str, tag: str) -> None:
        """Take a tag out that the registry does not delete alone."""
        going = self.going[name]
        left = tuple(each for each in going.tags if each != tag)
        self.going[name] = replace(going, tags=left, single=tuple(each for each in going.single if each != tag))
        self.keep(SINGLE, f"{name}:{tag}")

    def keep(self, reason: str, what: str) -> None:
        """Add what stays."""
        names = self.stays.setdefault(reason, [])
        if what not in names:
            names.append(what)


def needed_by(plans: Iterable[LoadPlan]) -> dict[str, Needed]:
    """Return what bundles have at a registry, by repository."""
    manifests: dict[str, set[str]] = {}
    tags: dict[str, set[str]] = {}
    for plan in plans:
        for name, nodes in plan.manifests.items():
            manifests.setdefault(name, set()).update(node.descriptor.digest for node in nodes)
        for tag in plan.tags:
            tags.setdefault(tag.repository, set()).add(tag.tag)
            if tag.substitute is not None:
                manifests.setdefault(tag.repository, set()).add(tag.substitute.descriptor.digest)
    return {name: Needed(frozenset(digests), frozenset(tags.get(name, ()))) for name, digests in manifests.items()}


def plan_registry(plan: RegistryPlan, placed: Placed, needed: Mapping[str, Needed], reporter: Reporter) -> None:
    """Plan what goes; asks the registry about repositories in which anything might, and changes nothing.

    Args:
        plan: gets it.
        placed: what is airbundle's there.
        needed: by bundles that stay, by repository.
        reporter: gets warnings and long waits.

    Raises:
        RemoteError: the registry does not tell.
    """
    plan.unknown = placed.unknown
    nothing, lock = Needed(), Lock()
    names = [name for name, ours in placed.repositories.items() if is_candidate(ours, needed.get(name, nothing))]
    found: dict[str, Going] = {}
    with plan.target.client(reporter) as client:

        def look(name: str) -> None:
            ours, wanted = placed.repositories[name], needed.get(name, nothing)
            shelf = read_shelf(client.repository(f"{plan.target.host}/{name}").direct(), untagged(ours, wanted))
            going = plan_repository(ours, wanted, shelf)
            with lock:
                found[name] = going

        for_each(names, look, jobs=_JOBS, stop=Stop(client.close))
    plan.going = {name: found[name] for name in sorted(found) if found[name]}
    for name in sorted(found):
        for tag, reason in found[name].stays.items():
            plan.keep(reason, f"{name}:{tag}")


def tell_others(plan: RegistryPlan, placed: Placed, dropped: Iterable[LoadPlan], needed: Mapping[str, Needed]) -> None:
    """Add tags of dropped bundles that nobody needs and that are not known to be airbundle's."""
    for each in dropped:
        for tag in each.tags:
            ours = placed.repositories.get(tag.repository, Ours())
            known = needed.get(tag.repository, Needed()).tags | ours.tags.keys() | ours.removed
            if tag.tag not in known:
                plan.keep(NOT_OURS, f"{tag.repository}:{tag.tag}")


def read_shelf(repository: Repository, others: Iterable[str] = ()) -> Shelf:
    """Ask what a repository has: each tag, and what is below it.

    Args:
        repository: which.
        others: digests of manifests, below which it is looked as well.
    """
    tags: dict[str, str] = {}
    below: dict[str, Sequence[str]] = {}
    with suppress(NotFound):
        for tag in repository.tags():
            digest = _look(repository, tag, below)
            if digest:
                tags[tag] = digest
    for digest in others:
        _look_below(repository, digest, below)
    return Shelf(tags, below)


def _look(repository: Repository, tag: str, below: dict[str, Sequence[str]]) -> str:
    """Return what a tag leads to, and note what is below that; empty when it leads nowhere."""
    try:
        found = repository.resolve(tag)
    except NotFound:
        return ""
    except VerificationError:  # no manifest of today's form: nothing is below it
        return repository.has_manifest(tag) or ""
    if found.is_index:
        _look_below(repository, found.digest, below)
    return found.digest


def _look_below(repository: Repository, digest: str, below: dict[str, Sequence[str]]) -> None:
    open_ = [digest]
    while open_:
        each = open_.pop()
        if each in below:
            continue
        below[each] = ()
        with suppress(NotFound):
            descriptor, raw = repository.fetch_manifest(each)
            children = parse_manifest(raw, descriptor.media_type, what=repository.label(each)).manifests
            below[each] = tuple(child.digest for child in children)
            open_ += [child.digest for child in children if child.is_index]


class Deleting:
    """Deletes what goes; what is gone is journalled, repository by repository."""

    def __init__(self, plan: RegistryPlan, journal: Journal, reporter: Reporter) -> None:
        self._plan = plan
        self._recorder = Recorder(journal, plan.name, step=REMOVED)
        self._reporter = reporter
        self._lock = Lock()

    def run(self) -> None:
        """Delete it all, or as much as the registry allows.

        Raises:
            RemoteError: the registry fails. The same again goes on from there.
        """
        with self._plan.target.client(self._reporter) as client, self._reporter.phase("prune the registry"):
            for_each(
                self._plan.going,
                lambda name: self._repository(client, name),
                jobs=_JOBS,
                stop=Stop(client.close),
            )

    def _repository(self, client: RegistryClient, name: str) -> None:
        going = self._plan.going[name]
        repository = client.repository(f"{self._plan.target.host}/{name}")
        gone, deleted = list[str](), 0
        tags = {tag for tag in going.tags if tag not in going.single}
        try:
            for digest in going.manifests:
                if self._plan.refused:
                    return
                deleted += repository.delete_manifest(digest)
                gone.append(digest)
            single = {tag for tag in going.single if self._single(repository, name, tag)}
            deleted += len(single)
            tags |= single
        except Refused as error:
            if error.status != 405:
                raise
            self._plan.refused = True
        finally:
            done = len(gone) == len(going.manifests)
            with self._lock:
                self._plan.deleted += deleted
                manifests = tuple((digest, "") for digest in gone)
                self._recorder.note(
                    [Placing(name, manifests, tuple((tag, "", "") for tag in sorted(tags)) if done else ())]
                )

    def _single(self, repository: Repository, name: str, tag: str) -> bool:
        try:
            repository.delete_manifest(tag)
        except Refused as error:
            if error.status not in _NO_SINGLE:
                raise
            with self._lock:
                self._plan.cannot_go(name, tag)
            return False
        return True
