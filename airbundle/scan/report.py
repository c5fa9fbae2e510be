"""What a scan says: each image once, as certain as its surest sighting, compared with what the bundle will have."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from airbundle.bundle.inventory import Inventory
from airbundle.bundle.lock import Lock
from airbundle.bundle.reference import Reference
from airbundle.errors import Finding
from airbundle.scan.model import ORDER, Certainty, Sighting

Pin = Literal["digest", "tag", "floating"]
_WHOLE_VERSION = re.compile(r"[0-9]+[.][0-9]+[.][0-9]+|[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9a-f]{12,}")
_DIFFERS = "the inventory has {name}:{tag} with another digest, {digest}"


@dataclass(frozen=True)
class Held:
    """An image that the bundle will have.

    Attributes:
        requested: in the inventory's own words.
        name, tag: what it is called in the bundle.
        digests: of its index or manifest and of all that it carries, as the lock has them; empty without a lock.
    """

    requested: str
    name: str
    tag: str
    digests: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ScannedImage:
    """One image of the report.

    Attributes:
        sightings: the surest first.
        held: the entry of the inventory that brings it; None where none does.
        why: why an entry of the same name does not do; empty where there is none.
        stale: why what is locked may be old; empty where it is not, or nobody asked.
        size: of all its bytes for the platforms wanted, where it is known.
    """

    image: Reference
    sightings: tuple[Sighting, ...]
    held: Held | None = None
    why: str = ""
    stale: str = ""
    size: int | None = None

    @property
    def certainty(self) -> Certainty:
        """That of its surest sighting."""
        return self.sightings[0].certainty

    @property
    def pin(self) -> Pin:
        """How firmly its spelling names it: by digest, by the tag of one version, or by a tag that moves."""
        if self.image.digest:
            return "digest"
        return "tag" if _WHOLE_VERSION.search(self.image.tag) else "floating"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "image": str(self.image),
            "certainty": self.certainty,
            "inInventory": self.held is not None,
            "requested": self.held.requested if self.held else "",
            "why": self.why,
            "pin": self.pin,
            "stale": self.stale,
            "size": self.size,
            "places": [_place_json(sighting) for sighting in self.sightings],
        }


def _place_json(sighting: Sighting) -> dict[str, Any]:
    place = sighting.place
    body = {
        "source": place.origin.source,
        "release": place.origin.release,
        "variant": place.origin.variant,
        "template": place.template,
        "object": place.object,
        "path": place.path,
        "valuesKey": place.values_key,
        "phase": place.phase,
        "written": sighting.written,
        "certainty": sighting.certainty,
        "evidence": sighting.evidence,
    }
    return {key: value for key, value in body.items() if value}


@dataclass(frozen=True)
class ScanReport:
    """The answer of a scan.

    Attributes:
        images: certain ones first, then by name.
        findings: what the rules, the reading and the renders have to say.
        failed: what could not be rendered or read, so that nobody knows what it would run.
        unused: entries of the inventory that nothing seen runs.
        allowed: patterns of images that may be missing.
        sources: how many renders were looked at.
        added: missing images that the inventory has been given since.
    """

    images: tuple[ScannedImage, ...] = ()
    findings: tuple[Finding, ...] = ()
    failed: tuple[Finding, ...] = ()
    unused: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    sources: int = 0
    added: tuple[str, ...] = ()

    def of(self, certainty: Certainty, *, held: bool | None = None) -> tuple[ScannedImage, ...]:
        """Return the images of one certainty, with `held` only those that the inventory has, or lacks."""
        return tuple(
            image for image in self.images if image.certainty == certainty and held in (None, image.held is not None)
        )

    @property
    def missing(self) -> tuple[ScannedImage, ...]:
        """Images that are certain to run, that the inventory lacks, and that nobody allowed to be missing."""
        return tuple(image for image in self.of("certain", held=False) if not self.is_allowed(image))

    @property
    def lacking(self) -> tuple[ScannedImage, ...]:
        """Missing images that have not been added."""
        return tuple(image for image in self.missing if str(image.image) not in self.added)

    def is_allowed(self, image: ScannedImage) -> bool:
        """Tell whether a pattern of `allowed` lets this image be missing."""
        return any(fnmatchcase(str(image.image), pattern) for pattern in self.allowed)

    @property
    def idle(self) -> tuple[str, ...]:
        """The patterns of `allowed` that no missing image has."""
        lacking = [str(image.image) for image in self.of("certain", held=False)]
        return tuple(each for each in self.allowed if not any(fnmatchcase(image, each) for image in lacking))

    @property
    def complete(self) -> bool:
        """Whether everything was looked at, and nothing that is certain to run is lacking."""
        return not self.lacking and not self.failed

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "complete": self.complete,
            "renders": self.sources,
            "missing": [str(image.image) for image in self.missing],
            "allowed": [str(image.image) for image in self.of("certain", held=False) if self.is_allowed(image)],
            "unused": list(self.unused),
            "images": [image.to_json() for image in self.images],
            "failed": [finding.to_json() for finding in self.failed],
            "findings": [finding.to_json() for finding in self.findings],
        }


def held_images(inventory: Inventory, lock: Lock | None) -> list[Held]:
    """Return what a bundle of this inventory has, with digests as far as the lock knows them."""
    digests: dict[str, frozenset[str]] = {}
    for root in lock.roots if lock else ():
        if root.kind == "image":
            digests[root.ref] = frozenset((root.descriptor.digest, *(child.digest for child in root.children)))
    found = []
    for request in inventory.images:
        target = request.target
        known = digests.get(target.full_name, frozenset())
        named = frozenset((target.digest,)) if target.digest else frozenset()
        found.append(Held(request.requested, target.name, target.tag, known | named))
    return found


def join(sightings: Iterable[Sighting], held: Sequence[Held]) -> list[ScannedImage]:
    """Put the sightings of each image together and say which entry of the inventory brings it."""
    by_image: dict[str, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_image[str(sighting.image)].append(sighting)
    by_name: dict[str, list[Held]] = defaultdict(list)
    for entry in held:
        by_name[entry.name].append(entry)
    images = []
    for seen in by_image.values():
        unique = list(dict.fromkeys(sorted(seen, key=lambda sighting: ORDER[sighting.certainty])))
        found, why = _held_for(unique[0].image, by_name)
        images.append(ScannedImage(unique[0].image, tuple(unique), found, why))
    return sorted(images, key=lambda image: (ORDER[image.certainty], str(image.image)))


def _held_for(image: Reference, by_name: Mapping[str, Sequence[Held]]) -> tuple[Held | None, str]:
    """Find what a node that pulls `image` from the private registry would get.

    A digest decides where there is one: with another digest under the same tag the pull fails.
    """
    why = ""
    for entry in by_name.get(image.name, ()):
        if image.digest:
            if image.digest in entry.digests:
                return entry, ""
            if entry.tag and entry.tag == image.tag:
                if not entry.digests:  # nothing is locked yet: the tag is all there is to go by
                    return entry, ""
                known = ", ".join(sorted(entry.digests)[:1])
                why = _DIFFERS.format(name=entry.name, tag=entry.tag, digest=known)
        elif entry.tag == image.tag:
            return entry, ""
        else:
            why = f"the inventory has {entry.name} with the tag {entry.tag or 'of its digest alone'}"
    return None, why


def unused_entries(images: Iterable[ScannedImage], held: Iterable[Held]) -> list[str]:
    """Return the inventory's own words for entries that nothing seen uses."""
    used = {image.held for image in images if image.held is not None}
    return [entry.requested for entry in held if entry not in used]
