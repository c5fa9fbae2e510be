"""An image seen within one object: what the finders hand to `scan.find`, before the object's place is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airbundle.bundle.reference import Reference
from airbundle.scan.model import ORDER, Certainty
from airbundle.scan.names import Says
from airbundle.scan.spelling import Spelled, is_official

ARROW = " → "
"""Stands between a field's path and the path within the text that the field holds."""


@dataclass(frozen=True)
class Seen:
    """An image at a path of an object; certainty and evidence as of `Sighting`."""

    image: Reference
    written: str
    certainty: Certainty
    evidence: str
    path: str

    def at_most(self, certainty: Certainty) -> Seen:
        """Return it with no more than `certainty`."""
        return self if ORDER[self.certainty] >= ORDER[certainty] else replace(self, certainty=certainty)


def judged(spelled: Spelled, says: Says, *, prose: bool = False) -> Certainty | None:
    """Return how sure an image is that a field, flag or variable holds; None when it is taken for something else.

    Args:
        spelled: its value, as an image.
        says: what its name says.
        prose: it stands in some file's text, where a bare word may be anything.
    """
    if says == "image":
        if spelled.pinned:
            return "certain"
        if prose and "/" not in spelled.written and not is_official(spelled.image):
            return None
        return "likely"
    if spelled.unmistakable or spelled.telling:
        return "likely"
    return None
