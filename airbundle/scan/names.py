"""What the name of a field, flag or variable says: that its value is an image, or a part of one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Says = Literal["image", "maybe", ""]
"""`image`: the value is an image; `maybe`: it has to do with images; empty: nothing."""
Part = Literal["registry", "repository", "organisation", "image", "name", "tag", "version", "digest", ""]

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_IMAGE = frozenset({"image", "images", "img", "imgs"})
_SWITCHED = frozenset({"dockerimage", "containerimage", "baseimage", "imagename", "imageref"})
# After `image`, these make it something else than an image.
_OTHER_THINGS = """
    pull policy secret secrets registry registries tag tags version versions digest digests sha hash format formats
    size width height type types prefix suffix repository repositories repo mirror mirrors cache dir directory scan
    scanner gc high low threshold minimum maximum ttl credentials credential arch architecture platform os auth
    user username password count limit limits updater automation filesystem fs interval timeout family stream
    streams path quality pullsecrets pullsecret pullpolicy id ids selector renderer puller provider builder enabled
    storage bucket proxy content kind quota review webhook
"""
# An image is named to be let in, kept out or shown: nothing runs it for that.
_NO_USE = """
    allow allowed deny denied disallowed exclude excluded exempt ignore ignored block blocked blocklist match matches
    verify verified list lists whitelist blacklist allowlist denylist old previous former deprecated example examples
    sample samples disabled unused stale except references pattern patterns forbidden trusted filter known supported
    last output destination
"""
_DOUBTFUL_ABOVE = """
    allow allowed allowlist deny denied denylist disallowed exclude excluded exempt ignore ignored block blocked
    blocklist whitelist blacklist forbidden old previous former deprecated example examples sample samples unused stale
    output verify pattern patterns
"""
_NOT_AFTER = frozenset(_OTHER_THINGS.split())
_WEAK = frozenset(_NO_USE.split())
_DOUBTFUL = frozenset(_DOUBTFUL_ABOVE.split())
_PARTS: dict[str, Part] = {
    **dict.fromkeys(("registry", "hub", "registryurl", "registryhost"), "registry"),
    **dict.fromkeys(("repository", "repo"), "repository"),
    **dict.fromkeys(("org", "organization", "organisation"), "organisation"),
    **dict.fromkeys(("name",), "name"),
    **dict.fromkeys(("tag",), "tag"),
    **dict.fromkeys(("version",), "version"),
    **dict.fromkeys(("digest", "sha", "sha256", "hash"), "digest"),
}
# Within `image: {…}` only.
_PARTS_OF_IMAGE: dict[str, Part] = {
    **dict.fromkeys(("host", "domain", "server"), "registry"),
    **dict.fromkeys(("path",), "repository"),
    **dict.fromkeys(("namespace", "project", "owner"), "organisation"),
}
_FILLERS = frozenset({"default", "base", "container", "docker"})


@lru_cache(maxsize=20_000)
def words(name: str) -> tuple[str, ...]:
    """Split a name as people write them: `proxyImage`, `PROXY_IMAGE`, `--proxy-image`, `x.io/proxy.image`."""
    return tuple(word.lower() for word in _WORDS.findall(name[:300]))


def _is_image(word: str) -> bool:
    # `VM_CUSTOMCONFIGRELOADERIMAGE`: words that are written together can't be told apart but by their end.
    return word in _IMAGE or word in _SWITCHED or (word.endswith("image") and len(word) > len("multiimage"))


@lru_cache(maxsize=20_000)
def says_image(name: str) -> Says:
    """Tell whether a name says that its value is an image."""
    parts = words(name)
    at = [index for index, word in enumerate(parts) if _is_image(word)]
    if not at:
        return ""
    if _NOT_AFTER.intersection(parts[at[-1] + 1 :]):
        return ""
    return "maybe" if _WEAK.intersection(parts) else "image"


@lru_cache(maxsize=20_000)
def is_doubtful(name: str) -> bool:
    """Tell whether what is below a name is named for other reasons than to run: `examples`, `allowed`."""
    return not _DOUBTFUL.isdisjoint(words(name))


@lru_cache(maxsize=20_000)
def switch_of(name: str) -> tuple[tuple[str, ...], bool] | None:
    """Return (stem, value that means off) of a name that switches something: `SIDECAR_ENABLED`, `x.disabled`."""
    parts = words(name)
    for word, off in (("enabled", False), ("enable", False), ("disabled", True), ("disable", True)):
        if word in parts:
            return tuple(part for part in parts if part != word), off
    return None


def part_within(name: str) -> Part:
    """Return the part that a name means within `image: {…}`, where it means none elsewhere."""
    return _PARTS_OF_IMAGE.get(name.lower(), "")


@lru_cache(maxsize=20_000)
def part_of(name: str) -> tuple[tuple[str, ...], Part]:
    """Return (stem, part) of a name: `x.imageTag` and `X_IMAGE_TAG` are the tag of `x`; no part where it is none."""
    parts = words(name)
    if parts[-2:] == ("sha", "256"):
        parts = (*parts[:-2], "sha256")
    if not parts:
        return (), ""
    part: Part = "image" if _is_image(parts[-1]) else _PARTS.get(parts[-1], "")
    if not part:
        return (), ""
    stem = tuple(word for word in parts[:-1] if word not in _IMAGE and word not in _FILLERS)
    if part == "name" and not (set(parts[:-1]) & _IMAGE) and len(parts) > 1:
        return (), ""
    return stem, part
