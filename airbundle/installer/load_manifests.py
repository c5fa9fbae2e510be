"""The later stages of a load: manifests by digest, then tags. Nothing is asked that is known already.

What needs a blob that its repository has just been found to lack can't be there. A manifest that nothing else of the
bundle refers to is pushed with its tag, at the very end.

What the registry lacks is written down before it is pushed (`placed`): that is airbundle's, and may be pruned one day.
"""

from __future__ import annotations

from dataclasses import dataclass

from airbundle.bundle.content import Node
from airbundle.bundle.index import IMAGE
from airbundle.bundle.oci import Descriptor
from airbundle.errors import Refused, SiteError
from airbundle.installer.load_plan import LoadPlan, Substitute, Tag
from airbundle.installer.load_run import LoadRun
from airbundle.installer.placed import Placing
from airbundle.transfer.repository import Repository

# How registries refuse an index that lacks children: registry:2 and Harbor with 400, others with 404 or 422.
_SPARSE_REFUSALS = frozenset({400, 404, 422})


@dataclass(frozen=True)
class _Lacking:
    """A manifest to push; `absent` when it isn't there, and not only missing in the list of its subject's referrers."""

    node: Node
    absent: bool


@dataclass(frozen=True)
class _Change:
    """A tag to set.

    Attributes:
        descriptor, raw: what it is to point to.
        before: what it pointed to; empty for nothing.
        absent: whether the registry lacks the manifest itself.
    """

    tag: Tag
    descriptor: Descriptor
    raw: bytes
    before: str
    absent: bool


class ManifestStage:
    """Brings manifests and tags to a registry that has all blobs."""

    def __init__(self, run: LoadRun) -> None:
        self._run = run
        self._plan = plan = run.plan
        self._refused: set[tuple[str, str]] = set()
        self._lacking: dict[str, list[_Lacking]] = {}
        self._pushed: set[tuple[str, str]] = set()
        self._changes: dict[tuple[str, str], _Change] = {}
        self._tags = {(tag.repository, tag.descriptor.digest): tag for tag in plan.tags}
        self._with_tag = _ends(plan) & self._tags.keys()
        self._told: dict[tuple[str, str], str] = {}
        self._nodes = {(name, node.descriptor.digest): node for name in plan.manifests for node in plan.manifests[name]}

    def manifests(self) -> None:
        """Push manifests by digest, each repository's in order: the list of referrers has one writer."""
        names = list(self._plan.manifests)
        with self._run.reporter.phase("load manifests"):
            self._run.each(names, self._look, wide=True)
            self._run.placing(
                Placing(name, tuple(_of_subject(each.node) for each in self._lacking[name] if each.absent))
                for name in names
            )
            self._run.each(names, self._repository, wide=True)

    def tags(self) -> None:
        """Set the tags; signatures first, so that an image that can be pulled can be verified."""
        with self._run.reporter.phase("set tags"):
            for images in (False, True):
                tags = [tag for tag in self._plan.tags if (tag.kind == IMAGE) == images]
                self._run.each(tags, self._look_at_tag, wide=True)
                keys = [(tag.repository, tag.tag) for tag in tags]
                changes = [self._changes[key] for key in keys if key in self._changes]
                self._run.placing(_placing(change) for change in changes)
                self._run.each(changes, self._set, wide=True)

    def _look(self, name: str) -> None:
        """Find out what a repository lacks; of sparse indexes pushing tells."""
        repository = self._run.repository(name)
        lacking = self._lacking[name] = []
        listed: dict[str, set[str]] = {}
        for node in self._plan.manifests[name]:
            self._run.stop.check()
            place = (name, node.descriptor.digest)
            if node.descriptor.digest in self._plan.sparse.get(name, ()) or place in self._with_tag:
                continue
            absent = self._is_absent(repository, name, node)
            if absent or not self._is_listed(repository, node, listed):
                lacking.append(_Lacking(node, absent))
                if absent:
                    self._pushed.add(place)

    def _repository(self, name: str) -> None:
        repository = self._run.repository(name)
        unlisted: dict[str, list[Descriptor]] = {}
        lacking = {each.node.descriptor.digest for each in self._lacking[name]}
        for node in self._plan.manifests[name]:
            self._run.stop.check()
            if node.descriptor.digest in self._plan.sparse.get(name, ()):
                self._sparse(name, node)
            elif node.descriptor.digest in lacking:
                repository.push_manifest(
                    node.manifest.raw,
                    node.descriptor.media_type,
                    node.descriptor.digest,
                    unlisted=lambda subject, referrer: unlisted.setdefault(subject, []).append(referrer),
                )
                self._run.count(manifests=1)
        for subject, referrers in unlisted.items():
            repository.list_referrers(subject, referrers)

    def _is_absent(self, repository: Repository, name: str, node: Node) -> bool:
        """Tell whether a manifest isn't there."""
        if self._is_new(name, node):
            return True
        tag = self._tags.get((name, node.descriptor.digest))
        if tag and self._target(tag) == tag.descriptor.digest:
            return False
        return repository.has_manifest(node.descriptor.digest) is None

    def _is_listed(self, repository: Repository, node: Node, listed: dict[str, set[str]]) -> bool:
        """Tell whether a manifest that is there is in the list of its subject's referrers.

        It may not be, where a run was cut off between the two.
        """
        subject = node.manifest.subject
        if subject is None:
            return True
        if subject.digest not in listed:
            listed[subject.digest] = {each.digest for each in repository.referrers(subject.digest)}
        return node.descriptor.digest in listed[subject.digest]

    def _is_new(self, name: str, node: Node) -> bool:
        """Tell whether a manifest can't be there, because what it needs was not."""
        manifest = node.manifest
        return any((name, blob.digest) in self._run.lacked for blob in manifest.blobs) or any(
            (name, child.digest) in self._pushed for child in manifest.manifests
        )

    def _target(self, tag: Tag) -> str:
        """Ask, once, what a tag points to; empty for nothing."""
        key = (tag.repository, tag.tag)
        if key not in self._told:
            self._told[key] = self._run.repository(tag.repository).has_manifest(tag.tag) or ""
        return self._told[key]

    def _sparse(self, name: str, node: Node) -> None:
        """Push an index that lacks children; remember when the registry refuses it."""
        digest = node.descriptor.digest
        repository = self._run.repository(name)
        if repository.has_manifest(digest) is not None:
            return
        tag = self._tags.get((name, digest))
        substitute = tag.substitute if tag else None
        refused_before = (
            tag is not None
            and substitute is not None
            and repository.has_manifest(tag.tag) == substitute.descriptor.digest
        )
        if not refused_before:
            try:
                repository.push_manifest(node.manifest.raw, node.descriptor.media_type, digest)
            except Refused as error:
                if error.status not in _SPARSE_REFUSALS:
                    raise
                if tag is not None and substitute is None:
                    raise _no_substitute(tag, self._run.host, error) from error
            else:
                self._pushed.add((name, digest))
                self._run.count(manifests=1)
                self._run.placing([Placing(name, (_of_subject(node),))])
                return
        self._refused.add((name, digest))

    def _look_at_tag(self, tag: Tag) -> None:
        """Find out what a tag needs, and what it is set in place of."""
        repository = self._run.repository(tag.repository)
        place = (tag.repository, tag.descriptor.digest)
        if place in self._refused and tag.substitute is not None:
            self._tell(tag, tag.substitute)
            descriptor, made = tag.substitute.descriptor, tag.substitute.raw
            before = repository.has_manifest(tag.tag) or ""
            if before == descriptor.digest:
                return
            raw = made or self._nodes[tag.repository, descriptor.digest].manifest.raw
            absent, unknown = False, made is not None
        else:
            node = self._nodes[place]
            absent = place in self._with_tag and self._is_new(tag.repository, node)
            new = absent or place in self._pushed
            before = "" if new and not self._run.records else self._target(tag)
            if not new and before == tag.descriptor.digest:
                return
            descriptor, raw = tag.descriptor, node.manifest.raw
            unknown = place in self._with_tag and not absent
        if unknown and self._run.records:
            absent = repository.has_manifest(descriptor.digest) is None
        self._changes[tag.repository, tag.tag] = _Change(tag, descriptor, raw, before, absent)

    def _set(self, change: _Change) -> None:
        repository = self._run.repository(change.tag.repository)
        repository.push_manifest(change.raw, change.descriptor.media_type, change.tag.tag)
        self._run.count(tags=1)

    def _tell(self, tag: Tag, substitute: Substitute) -> None:
        platforms = ", ".join(str(platform) for platform in substitute.platforms)
        self._run.reporter.warn(
            f"{tag.ref}: {self._run.host} refuses an index whose platforms are not all there; its tag gets {platforms} "
            f"as {substitute.descriptor.digest}. Who pins the index {tag.descriptor.digest} can't pull it from there: "
            "carry all platforms (`sparse: false` in bundle.yaml), or use the embedded registry"
        )
        with self._run.lock:
            self._run.result.sparse[tag.ref] = substitute.descriptor.digest


def _ends(plan: LoadPlan) -> set[tuple[str, str]]:
    """Return repository and digest of manifests that none of the same repository refers to, nor they to another."""
    found = set()
    for name, nodes in plan.manifests.items():
        below = {child.digest for node in nodes for child in node.manifest.manifests}
        subjects = {node.manifest.subject.digest for node in nodes if node.manifest.subject}
        found |= {
            (name, node.descriptor.digest)
            for node in nodes
            if node.manifest.subject is None
            and not node.manifest.is_index
            and node.descriptor.digest not in below | subjects
        }
    return found


def _of_subject(node: Node) -> tuple[str, str]:
    return node.descriptor.digest, node.manifest.subject.digest if node.manifest.subject else ""


def _placing(change: _Change) -> Placing:
    digest = change.descriptor.digest
    manifests = ((digest, ""),) if change.absent else ()
    return Placing(change.tag.repository, manifests, ((change.tag.tag, digest, change.before),))


def _no_substitute(tag: Tag, host: str, error: Refused) -> SiteError:
    return SiteError(
        f"{tag.ref}: {host} refuses its index, of which the bundle carries no platform: {error.problem}",
        hint="carry all its platforms (`sparse: false` in bundle.yaml) and build again",
    )
