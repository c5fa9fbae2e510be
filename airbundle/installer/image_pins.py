"""What the images of a bundle are called at a site: `REGISTRY/NAME:TAG@DIGEST` (design §5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from airbundle.bundle.index import IMAGE
from airbundle.bundle.reference import Reference
from airbundle.bundle.site import Site
from airbundle.bundle.template import site_names
from airbundle.deploy.pins import Pin, PinTable
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
        allowed: patterns of images that whoever built the bundle allowed to be missing.
    """

    registry: str
    plan: LoadPlan
    sparse: bool
    by_name: dict[str, Tag]
    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: BundleFile, site: Site) -> ImagePins:
        """Return the pins of a bundle at a site."""
        # A path in the URL is a prefix, as `installer.target` has it.
        parts = (urlsplit(site.registry.url).path.strip("/"), site.registry.prefix)
        plan = plan_of(bundle, "/".join(part for part in parts if part))
        by_name = {tag.ref: tag for tag in plan.tags if tag.kind == IMAGE}
        registry, sparse = site_names(site).get("registry", ""), site.registry.mode == EMBEDDED
        return cls(registry, plan, sparse, by_name, tuple(bundle.statement.allowed_missing))

    @cached_property
    def table(self) -> PinTable:
        """The same for those who know no bundle."""
        pins = {
            ref: Pin(tag.repository, tag.tag, tag.descriptor.digest, self._standing(tag))
            for ref, tag in self.by_name.items()
        }
        repositories = {pin.repository for pin in pins.values()}
        manifests = {repository: frozenset(self._manifests(repository)) for repository in repositories}
        return PinTable(self.registry, pins, manifests, self.allowed)

    def of_image(self, image: Reference) -> str | None:
        """Return what an image is called at the site; None when the bundle lacks it."""
        return self.table.of_image(image)

    def _standing(self, tag: Tag) -> str:
        """Return the digest that a tag has at the registry: most refuse an index that lacks children."""
        substitute = None if self.sparse else tag.substitute
        return substitute.descriptor.digest if substitute else tag.descriptor.digest

    def _manifests(self, repository: str) -> set[str]:
        lacking = frozenset() if self.sparse else self.plan.sparse.get(repository, frozenset())
        return {node.descriptor.digest for node in self.plan.manifests.get(repository, ())} - lacking
