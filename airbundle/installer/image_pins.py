"""What the images of a bundle are called at a site: `REGISTRY/NAME:TAG@DIGEST` (design §5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from airbundle.bundle.index import IMAGE
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.site import Site
from airbundle.bundle.template import site_names
from airbundle.installer.load_plan import LoadPlan, Tag
from airbundle.installer.steps import plan_of
from airbundle.store.reader import BundleFile

EMBEDDED = "embedded"


@dataclass(frozen=True)
class ImagePins:
    """Finds images by the names that charts have for them.

    Attributes:
        registry: host and port of the private registry.
        sparse: it serves indexes of which it lacks children, as airbundle's own does.
    """

    registry: str
    plan: LoadPlan
    sparse: bool
    by_name: dict[str, Tag]

    @classmethod
    def of(cls, bundle: BundleFile, site: Site) -> ImagePins:
        """Return the pins of a bundle at a site."""
        # A path in the URL is a prefix, as `installer.target` has it.
        parts = (urlsplit(site.registry.url).path.strip("/"), site.registry.prefix)
        plan = plan_of(bundle, "/".join(part for part in parts if part))
        by_name = {tag.ref: tag for tag in plan.tags if tag.kind == IMAGE}
        return cls(site_names(site).get("registry", ""), plan, site.registry.mode == EMBEDDED, by_name)

    def of_image(self, image: Reference) -> str | None:
        """Return what an image is called at the site; None when the bundle lacks it."""
        tag = self.by_name.get(image.full_name)
        if image.digest:
            return self._by_digest(image, tag)
        if tag is None:
            return None
        return self._name(tag, self._standing(tag))

    def _by_digest(self, image: Reference, tag: Tag | None) -> str | None:
        """Return the name of an image that says its digest: what a tag leads to, or a platform's own manifest."""
        for each in [*([tag] if tag else []), *self._of_name(image.name)]:
            if image.digest == each.descriptor.digest:
                return self._name(each, self._standing(each))
            if image.digest in self._manifests(each.repository):
                return self._name(each, image.digest)
        return None

    def _standing(self, tag: Tag) -> str:
        """Return the digest that a tag has at the registry: most refuse an index that lacks children."""
        substitute = None if self.sparse else tag.substitute
        return substitute.descriptor.digest if substitute else tag.descriptor.digest

    def _name(self, tag: Tag, digest: str) -> str:
        return f"{self.registry}/{tag.repository}:{tag.tag}@{digest}"

    def _of_name(self, name: str) -> Sequence[Tag]:
        return [tag for ref, tag in self.by_name.items() if parse_reference(ref).name == name]

    def _manifests(self, repository: str) -> set[str]:
        lacking = frozenset() if self.sparse else self.plan.sparse.get(repository, frozenset())
        return {node.descriptor.digest for node in self.plan.manifests.get(repository, ())} - lacking
