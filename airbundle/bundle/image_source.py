"""Where an image of the inventory comes from: a registry, the Docker engine, or an archive (design §8).

`docker-daemon:NAME`, `oci:DIR:REF`, `oci-archive:FILE:REF` and `docker-archive:FILE:REF` as skopeo writes them
(containers-transports(5)); all else is a registry's reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from airbundle.bundle.digest import is_digest
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.terms import check_inside_or_absolute, normal_path
from airbundle.errors import UsageError

REGISTRY = "registry"
DOCKER_DAEMON = "docker-daemon"
FILE_TRANSPORTS = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True)
class ImageSource:
    """A parsed source.

    Attributes:
        transport: `registry`, `docker-daemon`, `oci`, `oci-archive` or `docker-archive`.
        path: of the layout or archive; relative to the inventory, or absolute.
        name: of the image at its source: the reference for a registry, the engine's own words (a name or an ID),
            or the entry's name in a layout or archive (empty: its only one).
    """

    transport: str
    path: str = ""
    name: str = ""

    @property
    def own_name(self) -> Reference | None:
        """The image's full name, where the source tells one; else `as` must.

        Raises:
            UsageError: the name at the source is no reference.
        """
        if self.transport == REGISTRY:
            return parse_reference(self.name)
        if not self.name or is_digest(self.name) or is_digest(f"sha256:{self.name}"):
            return None
        # A layout's entry is often just a tag, such as "latest": no name for an image.
        if self.transport != DOCKER_DAEMON and not set(self.name) & set("/:"):
            return None
        return parse_reference(self.name)


def parse_image_source(text: str) -> ImageSource:
    """Parse the `ref` of an image.

    Raises:
        UsageError: it is no reference, or what follows the transport is wrong.
    """
    transport, colon, rest = text.partition(":")
    if colon and transport == DOCKER_DAEMON:
        if not rest:
            raise UsageError("docker-daemon: names no image", hint="write docker-daemon:NAME:TAG")
        return ImageSource(transport, name=rest)
    if colon and transport in FILE_TRANSPORTS:
        path, _, name = rest.partition(":")
        if not path:
            raise UsageError(f"{transport}: names no path", hint=f"write {transport}:PATH:REF")
        check_inside_or_absolute(path)
        return ImageSource(transport, normal_path(path), name)
    parse_reference(text)
    return ImageSource(REGISTRY, name=text)


def check_image_source(text: str) -> None:
    """Raise UsageError unless `text` is the `ref` of an image."""
    parse_image_source(text)


def check_target(text: str) -> None:
    """Raise UsageError unless `text` is a name an image may have in the bundle: without a digest."""
    if parse_reference(text).digest:
        raise UsageError(f"the name {text!r} holds a digest", hint="`as` is a name with a tag")
