"""`scan --write`: images into `bundle.yaml`, so that a person finds all else as they left it."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from airbundle.builder.yaml_append import CannotAppend, append_items
from airbundle.bundle.image_source import REGISTRY, ImageSource
from airbundle.bundle.inventory import ImageRequest, Inventory, parse_inventory
from airbundle.bundle.reference import parse_reference
from airbundle.bundle.yamldoc import SIZE_LIMIT
from airbundle.errors import DocumentError
from airbundle.store.host import host_errors, read_bounded, write_atomically

_AFTER_IMAGES = ("charts", "manifests", "clamav", "operators", "files", "ca")


def add_images(path: Path, images: Sequence[str]) -> list[str]:
    """Add images to the inventory's `images:` in one step; comments, order and spelling of all else stay.

    Args:
        path: of `bundle.yaml`; where it is a symbolic link, the file that it leads to is replaced.
        images: references; those that the inventory has under the same name are passed over.

    Returns:
        Those added, in their order.

    Raises:
        DocumentError: the inventory does not parse, or is written so that it can't be added to with certainty; then
            nothing is changed, and the error has the lines to add by hand.
        UsageError: an image is no reference.
        HostError: the file can't be read or written.
    """
    real = Path(os.path.realpath(path))
    raw = read_bounded(real, SIZE_LIMIT)
    edited, added = with_images(raw, images, where=str(path))
    if added:
        with host_errors("write", path):
            status = real.stat()
            owner = (status.st_uid, status.st_gid)
            write_atomically(real, edited, mode=stat.S_IMODE(status.st_mode), owner=owner)
    return added


def with_images(raw: bytes, images: Sequence[str], *, where: str) -> tuple[bytes, list[str]]:
    """Return an inventory's bytes with images added, and those that were added.

    Args:
        raw: the bytes of a `bundle.yaml`.
        images: references.
        where: its name, for errors.

    Raises:
        DocumentError, UsageError: as `add_images`.
    """
    old = parse_inventory(raw, where=where)
    added = _missing(old, images)
    if not added:
        return raw, []
    mark = codecs.BOM_UTF8 if raw.startswith(codecs.BOM_UTF8) else b""
    text = raw[len(mark) :].decode()
    try:
        edited = mark + append_items(text, "images", added, before=_AFTER_IMAGES).encode()
        new = parse_inventory(edited, where=where)
    except (CannotAppend, DocumentError, yaml.YAMLError) as error:
        raise _refusal(where, str(error), added) from None
    if new != replace(old, images=(*old.images, *(_request(image, old) for image in added))):
        raise _refusal(where, "the outcome would mean something else", added)
    return edited, added


def _missing(inventory: Inventory, images: Sequence[str]) -> list[str]:
    seen = {image.target.full_name for image in inventory.images}
    missing = []
    for image in images:
        name = parse_reference(image).full_name
        if name not in seen:
            seen.add(name)
            missing.append(image)
    return missing


def _request(image: str, inventory: Inventory) -> ImageRequest:
    return ImageRequest(image, ImageSource(REGISTRY, name=image), parse_reference(image), inventory.platforms)


def _refusal(where: str, reason: str, images: Sequence[str]) -> DocumentError:
    return DocumentError(
        f"{where}: images can't be added to this file: {reason}; it is as it was",
        hint="add them to its images by hand: " + ", ".join(images),
    )
