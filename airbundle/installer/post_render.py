"""Helm's post-renderer: a render comes in, the same with every image pinned goes out (design §5).

helm starts it between rendering and applying, so that what runs is what was signed, also where a chart looks into the
cluster (`lookup`) and renders differently from what was planned. What images are called comes from a private file.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

from airbundle.bundle.reference import Reference
from airbundle.deploy.helm_marks import kept
from airbundle.deploy.pins import PinTable
from airbundle.errors import CheckFailed, Finding
from airbundle.scan.documents import SIZE_LIMIT, objects_in, read_manifests
from airbundle.scan.loading import load_document
from airbundle.scan.model import Origin, Rendering
from airbundle.scan.pin import Pinned, PinnedDocument, pin_images


def post_render(raw: bytes, pins: PinTable | None, *, title: str) -> bytes:
    """Return a render with its images pinned, and what holds data marked so that helm never deletes it.

    Args:
        raw: what helm rendered.
        pins: what images are called at the site; None: images keep their names.
        title: the release, for errors.

    Raises:
        CheckFailed: something in it can't be read, or an image that is certain to run is not in the bundle.
    """
    rendering = Rendering(Origin(title), raw)
    findings = [] if len(raw) <= SIZE_LIMIT else [Finding(f"more than {SIZE_LIMIT} bytes", where=title)]
    findings += [finding for finding in read_manifests(rendering)[1] if finding.severity == "error"]
    if findings:
        raise CheckFailed(f"{title}: what helm renders can't be read", findings=findings)
    pinned = pin_images(rendering, pins.of_image if pins else keep_name)
    findings = missing_images(pinned, pins) if pins else []
    if findings:
        raise CheckFailed(f"{title}: images that would run are not in the bundle", findings=findings)
    return text_of(pinned)


def keep_name(_image: Reference) -> str | None:
    """Pin no image."""
    return None


def missing_images(pinned: Pinned, pins: PinTable) -> list[Finding]:
    """Return a finding for each image that is certain to run, is not in the bundle, and was not allowed to be."""
    hint = "switch the part off that runs it, or build a bundle with it"
    return [
        Finding(f"{sighting.image} is not in the bundle", where=str(sighting.place), code="image-missing", hint=hint)
        for sighting in pinned.missing
        if not any(fnmatchcase(str(sighting.image), pattern) for pattern in pins.allowed)
    ]


def text_of(pinned: Pinned) -> bytes:
    """Return the documents of a pinned render as one text; what holds data is marked as kept."""
    texts = (_marked(document) for document in pinned.documents if document.objects)
    return "".join(f"---\n{text}" if text.endswith("\n") else f"---\n{text}\n" for text in texts).encode()


def _marked(document: PinnedDocument) -> str:
    found = [body for _, body in objects_in(load_document(document.text).value)]
    marked = [kept(body) for body in found]
    if marked == found:
        return document.text
    # JSON is YAML; of definitions and claims nobody misses the comments.
    return "\n---\n".join(json.dumps(body) for body in marked)
