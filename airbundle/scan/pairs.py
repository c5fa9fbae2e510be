"""Names and values that stand beside each other: images, and images whose parts stand apart.

The same holds for the fields of a mapping, the variables of a container, the flags of a command, the lines of a
properties file and the annotations of an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from airbundle.scan.model import Certainty
from airbundle.scan.names import Part, Says, part_of, part_within, says_image, switch_of
from airbundle.scan.seen import judged
from airbundle.scan.spelling import Spelled, as_image, is_version, joined, scalar_text

_BETWEEN = re.compile(r"[\s,;|]+")
_LIST_LIMIT = 2000
_BASE_NAMES = frozenset({"reference", "ref", "url", "uri", "fullname", "override", "value"})


@dataclass(frozen=True)
class Pair:
    """A name, its value, and where the value stands."""

    name: str
    value: object
    path: str


@dataclass(frozen=True)
class Held:
    """An image that one pair holds or several: `pair` has its base; `off`: a switch beside it says so."""

    pair: Pair
    spelled: Spelled
    certainty: Certainty
    off: bool = False


@dataclass
class _Parts:
    found: dict[Part, Pair] = field(default_factory=dict)
    named: bool = False
    stem: tuple[str, ...] = ()

    def value(self, part: Part) -> object:
        pair = self.found.get(part)
        return pair.value if pair else None


def images_of(pairs: Sequence[Pair], *, inherited: Says = "", prose: bool = False) -> list[Held]:
    """Return the images that pairs hold.

    Args:
        pairs: what stands beside each other; values that are no scalars are left out.
        inherited: what the name above them says: of `image: {name: …}`.
        prose: they are lines of some file, where a bare word may be anything.
    """
    held: list[Held] = []
    used: set[str] = set()
    for parts in _grouped(pairs, inherited):
        together = _together(parts, inherited)
        if together:
            held.append(together[0])
            used |= together[1]
    for pair in pairs:
        if pair.path not in used and isinstance(pair.value, str):
            held += _alone(pair, inherited, prose=prose)
    switched_off = _switched_off(pairs)
    return [replace(one, off=True) if _stem(one.pair.name) in switched_off else one for one in held]


def is_off(value: object, off: bool) -> bool:
    """Tell whether a switch stands at `off`, as a truth value or as text."""
    return value is off or (isinstance(value, str) and value.strip().lower() == str(off).lower())


def _switched_off(pairs: Sequence[Pair]) -> set[tuple[str, ...]]:
    """Return the stems of what switches beside them switch off: of `SIDECAR_ENABLED=false`, `sidecar`."""
    stems = set()
    for pair in pairs:
        switch = switch_of(pair.name)
        if switch and switch[0] and is_off(pair.value, switch[1]):
            stems.add(switch[0])
    return stems


def _stem(name: str) -> tuple[str, ...]:
    return part_of(name)[0]


def _grouped(pairs: Sequence[Pair], inherited: Says) -> list[_Parts]:
    groups: dict[tuple[str, ...], _Parts] = {}
    for pair in pairs:
        if isinstance(pair.value, (dict, list)) or not scalar_text(pair.value):
            continue
        stem, part = part_of(pair.name)
        if not part and inherited == "image":
            part = part_within(pair.name)
        if not part:
            continue
        group = groups.setdefault(stem, _Parts(named=inherited == "image", stem=stem))
        group.named = group.named or "image" in pair.name.lower()
        group.found.setdefault(part, pair)
    shared = groups.get((), _Parts()).found.get("registry")
    for group in groups.values():
        if shared and "registry" not in group.found and not _is_whole(group):
            group.found["registry"] = shared
    return list(groups.values())


def _is_whole(group: _Parts) -> bool:
    """Whether its image has a host, or a tag: then a registry that stands for all may have nothing to do with it."""
    spelled = as_image(scalar_text(group.value("image") or group.value("repository")))
    return spelled is not None and (spelled.form in {"full", "hosted"} or (bool(group.stem) and spelled.pinned))


def _together(parts: _Parts, inherited: Says) -> tuple[Held, set[str]] | None:
    """Return the image that several values make, and the paths that are used up by it."""
    found = parts.found
    base, name = _base(parts)
    if base is None or not (name or {"registry", "organisation", "tag", "version", "digest"}.intersection(found)):
        return None
    whole = as_image(scalar_text(base.value))
    tag: object = parts.value("tag")
    by_version = False
    if tag is None and not (whole and whole.pinned) and is_version(scalar_text(parts.value("version"))):
        tag, by_version = parts.value("version"), not (inherited == "image" or parts.stem or name)
    path = scalar_text(base.value).strip("/")
    owner = scalar_text(parts.value("organisation")).strip("/") if parts.named and "/" not in path else ""
    path = f"{owner}/{path}" if owner else path
    spelled = joined(parts.value("registry"), path, tag, parts.value("digest"), name and name.value)
    if spelled is None or (whole and spelled.image == whole.image):
        return None
    says: Says = "image" if parts.named and spelled.pinned and says_image(base.name) != "maybe" else ""
    certainty = judged(spelled, says)
    if certainty is None:
        return None
    used = {pair.path for pair in (*found.values(), base)}
    return Held(base, spelled, "likely" if by_version else certainty), used


def _base(parts: _Parts) -> tuple[Pair | None, Pair | None]:
    """Return what holds the repository, and what holds its last component where that stands apart."""
    found = parts.found
    image, repository, name = found.get("image"), found.get("repository"), found.get("name")
    if image and repository:
        whole = as_image(scalar_text(image.value))
        return (image, None) if whole and whole.form in {"full", "hosted", "tagged"} else (repository, image)
    if image or repository:
        return image or repository, name if repository and _wants_name(parts) else None
    if name and (parts.named or _is_hosted(name)) and {"tag", "digest"}.intersection(found):
        return name, None
    return (name, None) if name and parts.named and "version" in found else (None, None)


def _is_hosted(pair: Pair) -> bool:
    spelled = as_image(scalar_text(pair.value))
    return spelled is not None and spelled.form == "hosted"


def _wants_name(parts: _Parts) -> bool:
    """Whether the repository is an organisation's, and `name` the last component."""
    repository = scalar_text(parts.value("repository")).strip("/")
    if not repository or "name" not in parts.found or not parts.named or ":" in repository.rpartition("/")[2]:
        return False
    if "registry" in parts.found:
        return "/" not in repository
    host, slash, path = repository.partition("/")
    return "." in host and (not slash or "/" not in path)


def _alone(pair: Pair, inherited: Says, *, prose: bool) -> Iterator[Held]:
    says = says_image(pair.name)
    part = part_of(pair.name)[1] if says != "image" else ""
    if part in {"registry", "tag", "version", "digest"}:
        return
    if not says and inherited:
        says = _inherits(pair, part, inherited)
    value = str(pair.value)
    spelled = as_image(value)
    if spelled is not None:
        certainty = judged(spelled, says, prose=prose)
        if certainty and part == "repository" and not spelled.pinned:
            certainty = "likely"
        if certainty and (spelled.pinned or not inherited or says_image(pair.name) or _is_base(part, spelled)):
            yield Held(pair, spelled, certainty)
        return
    yield from _listed(pair, value, says)


def _is_base(part: Part, spelled: Spelled) -> bool:
    """Whether a value below `image:` is an image though it has no tag: `pullPolicy: always` is none."""
    return part == "repository" or (part == "name" and spelled.form == "hosted")


def _inherits(pair: Pair, part: Part, inherited: Says) -> Says:
    return inherited if part in {"", "repository", "name"} or pair.name.lower() in _BASE_NAMES else ""


def _listed(pair: Pair, value: str, says: Says) -> Iterator[Held]:
    """Yield images of `a:1,b:2`, `16=a:16 17=a:17` and the like; each entry must be pinned."""
    if value[:1] in "{[" or not ("/" in value or ":" in value):
        return
    entries = _BETWEEN.split(value.strip(), _LIST_LIMIT)
    for entry in entries[:_LIST_LIMIT]:
        before, equals, after = entry.partition("=")
        spelled = as_image(after if equals and "/" not in before else entry)
        if spelled is None and not equals:  # `16:quay.io/x/postgres:16`, `label:docker://node:16`
            before, equals, after = entry.partition(":")
            spelled = as_image(after)
        if spelled is None or not spelled.pinned:
            continue
        own = (says_image(before) if equals else "") or says
        certainty = judged(spelled, own)
        if certainty and (spelled.unmistakable or spelled.telling or (own == "image" and "/" in spelled.written)):
            yield Held(pair, spelled, certainty)
