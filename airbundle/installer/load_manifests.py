"""The later stages of a load: manifests by digest, then tags. Nothing is asked that is known already.

What needs a blob that its repository has just been found to lack can't be there. A manifest that nothing else of the
bundle refers to is pushed with its tag, at the very end.
"""

from __future__ import annotations

from airbundle.bundle.content import Node
from airbundle.bundle.index import IMAGE
from airbundle.bundle.oci import Descriptor
from airbundle.errors import Refused, SiteError
from airbundle.installer.load_plan import LoadPlan, Substitute, Tag
from airbundle.installer.load_run import LoadRun
from airbundle.transfer.repository import Repository

# How registries refuse an index that lacks children: registry:2 and Harbor with 400, others with 404 or 422.
_SPARSE_REFUSALS = frozenset({400, 404, 422})


class ManifestStage:
    """Brings manifests and tags to a registry that has all blobs."""

    def __init__(self, run: LoadRun) -> None:
        self._run = run
        self._plan = plan = run.plan
        self._refused: set[tuple[str, str]] = set()
        self._pushed: set[tuple[str, str]] = set()
        self._tags = {(tag.repository, tag.descriptor.digest): tag for tag in plan.tags}
        self._with_tag = _ends(plan) & self._tags.keys()
        self._told: dict[tuple[str, str], bool] = {}
        self._nodes = {(name, node.descriptor.digest): node for name in plan.manifests for node in plan.manifests[name]}

    def manifests(self) -> None:
        """Push manifests by digest, each repository's in order: the list of referrers has one writer."""
        with self._run.reporter.phase("load manifests"):
            self._run.each(list(self._plan.manifests), self._repository, wide=True)

    def tags(self) -> None:
        """Set the tags; signatures first, so that an image that can be pulled can be verified."""
        with self._run.reporter.phase("set tags"):
            for images in (False, True):
                tags = [tag for tag in self._plan.tags if (tag.kind == IMAGE) == images]
                self._run.each(tags, self._tag, wide=True)

    def _repository(self, name: str) -> None:
        repository = self._run.repository(name)
        listed: dict[str, set[str]] = {}
        unlisted: dict[str, list[Descriptor]] = {}
        for node in self._plan.manifests[name]:
            self._run.stop.check()
            place = (name, node.descriptor.digest)
            if node.descriptor.digest in self._plan.sparse.get(name, ()):
                self._sparse(name, node)
            elif place not in self._with_tag and not self._is_there(repository, name, node, listed):
                repository.push_manifest(
                    node.manifest.raw,
                    node.descriptor.media_type,
                    node.descriptor.digest,
                    unlisted=lambda subject, referrer: unlisted.setdefault(subject, []).append(referrer),
                )
                self._count_pushed(place)
        for subject, referrers in unlisted.items():
            repository.list_referrers(subject, referrers)

    def _count_pushed(self, place: tuple[str, str]) -> None:
        self._pushed.add(place)
        self._run.count(manifests=1)

    def _is_there(self, repository: Repository, name: str, node: Node, listed: dict[str, set[str]]) -> bool:
        """Tell whether a manifest is there, and in the list of its subject's referrers."""
        if self._is_new(name, node):
            return False
        digest, subject = node.descriptor.digest, node.manifest.subject
        tag = self._tags.get((name, digest))
        if not (tag and self._points(tag)) and repository.has_manifest(digest) is None:
            return False
        if subject is None:
            return True
        # It may be there and not in the list, where a run was cut off between the two.
        if subject.digest not in listed:
            listed[subject.digest] = {each.digest for each in repository.referrers(subject.digest)}
        return digest in listed[subject.digest]

    def _is_new(self, name: str, node: Node) -> bool:
        """Tell whether a manifest can't be there, because what it needs was not."""
        manifest = node.manifest
        return any((name, blob.digest) in self._run.lacked for blob in manifest.blobs) or any(
            (name, child.digest) in self._pushed for child in manifest.manifests
        )

    def _points(self, tag: Tag) -> bool:
        """Ask, once, whether a tag is as it should be."""
        key = (tag.repository, tag.tag)
        if key not in self._told:
            self._told[key] = self._run.repository(tag.repository).has_manifest(tag.tag) == tag.descriptor.digest
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
                self._count_pushed((name, digest))
                return
        self._refused.add((name, digest))

    def _tag(self, tag: Tag) -> None:
        place = (tag.repository, tag.descriptor.digest)
        repository = self._run.repository(tag.repository)
        if place in self._refused and tag.substitute is not None:
            self._tell(tag, tag.substitute)
            descriptor, raw = tag.substitute.descriptor, tag.substitute.raw
            if repository.has_manifest(tag.tag) == descriptor.digest:
                return
            raw = raw or self._nodes[tag.repository, descriptor.digest].manifest.raw
        else:
            node = self._nodes[place]
            new = place in self._pushed or (place in self._with_tag and self._is_new(tag.repository, node))
            if not new and self._points(tag):
                return
            descriptor, raw = tag.descriptor, node.manifest.raw
        repository.push_manifest(raw, descriptor.media_type, tag.tag)
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


def _no_substitute(tag: Tag, host: str, error: Refused) -> SiteError:
    return SiteError(
        f"{tag.ref}: {host} refuses its index, of which the bundle carries no platform: {error.problem}",
        hint="carry all its platforms (`sparse: false` in bundle.yaml) and build again",
    )
