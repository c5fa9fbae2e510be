"""What images are called at a site, as a table that can be written into a file and read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.digest import parse_digest
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import AirbundleError, DocumentError

API_VERSION = "airbundle.dev/v1"
KIND = "ImagePins"


@dataclass(frozen=True)
class Pin:
    """A tag at the private registry.

    Attributes:
        digest: of what the bundle has under the name.
        standing: digest that the tag has at the registry; another where it refuses an index that lacks children.
    """

    repository: str
    tag: str
    digest: str
    standing: str


@dataclass(frozen=True)
class PinTable:
    """Finds images by the names that charts have for them.

    Attributes:
        registry: host and port of the private registry.
        pins: an image's full name → its tag.
        manifests: repository → digests of what can be pulled from it.
        allowed: patterns of images that whoever built the bundle allowed to be missing.
    """

    registry: str
    pins: Mapping[str, Pin] = field(repr=False)
    manifests: Mapping[str, frozenset[str]] = field(repr=False)
    allowed: tuple[str, ...] = ()

    def of_image(self, image: Reference) -> str | None:
        """Return what an image is called at the site; None when the bundle lacks it."""
        pin = self.pins.get(image.full_name)
        if image.digest:
            return self._by_digest(image, pin)
        return self._name(pin, pin.standing) if pin else None

    def _by_digest(self, image: Reference, pin: Pin | None) -> str | None:
        """Return the name of an image that says its digest: what a tag leads to, or a platform's own manifest."""
        for each in [*([pin] if pin else []), *self._of_name(image.name)]:
            if image.digest == each.digest:
                return self._name(each, each.standing)
            if image.digest in self.manifests.get(each.repository, ()):
                return self._name(each, image.digest)
        return None

    def _name(self, pin: Pin, digest: str) -> str:
        return f"{self.registry}/{pin.repository}:{pin.tag}@{digest}"

    def _of_name(self, name: str) -> Iterator[Pin]:
        return (pin for ref, pin in self.pins.items() if parse_reference(ref).name == name)

    def to_bytes(self) -> bytes:
        """Return the table as a document; equal tables give equal bytes."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "registry": self.registry,
            "pins": {ref: [pin.repository, pin.tag, pin.digest, pin.standing] for ref, pin in self.pins.items()},
            "manifests": {repository: sorted(digests) for repository, digests in self.manifests.items()},
            "allowed": list(self.allowed),
        }
        return json.dumps(body, sort_keys=True).encode()


def parse_pins(raw: bytes, *, where: str) -> PinTable:
    """Read what `PinTable.to_bytes` wrote.

    Raises:
        DocumentError: nothing of that kind did.
    """
    try:
        body = json.loads(raw)
        if body["kind"] != KIND or body["apiVersion"] != API_VERSION:
            raise ValueError(f"it is no {KIND} of {API_VERSION}")
        return PinTable(
            str(body["registry"]),
            {str(ref): _pin(pin) for ref, pin in body["pins"].items()},
            {str(name): frozenset(map(parse_digest, digests)) for name, digests in body["manifests"].items()},
            tuple(map(str, body["allowed"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AirbundleError) as error:
        raise DocumentError(f"{where}: does not parse as what images are called at a site: {error}") from None


def _pin(body: Any) -> Pin:
    repository, tag, digest, standing = map(str, body)
    return Pin(repository, tag, parse_digest(digest), parse_digest(standing))
