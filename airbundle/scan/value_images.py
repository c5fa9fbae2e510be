"""Images that values spell: one text, or registry, repository, tag and digest apart, in two to five values.

Charts have no grammar for this, only habits. What is read here:

- a map that is an image (`image:`, `fooImage:`, an entry of `images:`): `registry`, `repository`, `name`, `tag`, …
- keys side by side: `image` and `imageTag`, `initRepository` and `initTag`, `repository` and `tag`
- a registry, a namespace or a tag for many images, further up: `global.imageRegistry`, `imageNamespace`
- a text that holds a whole reference, wherever it stands
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

NODE_LIMIT = 100_000
"""Most values looked at: aliases in YAML can unfold into more than any chart has."""
DEPTH_LIMIT = 40

_SUFFIXES = (
    ("imageregistry", "registry"), ("imagerepository", "repository"), ("imagerepo", "repository"),
    ("imagehub", "registry"), ("imagenamespace", "namespace"), ("imagename", "name"), ("imagetag", "tag"),
    ("imageversion", "tag"),
    ("imagedigest", "digest"), ("imagesha256", "digest"), ("imagesha", "digest"), ("image", "image"),
    ("registry", "registry"), ("repository", "repository"), ("repo", "repository"), ("tag", "tag"),
    ("digest", "digest"), ("sha256", "digest"), ("sha", "digest"),
)  # fmt: skip
_ONLY_IN_IMAGES = {
    "name": "name", "version": "tag", "hub": "registry", "host": "registry", "server": "registry", "path": "repository",
    "namespace": "namespace", "org": "namespace", "organization": "namespace", "project": "namespace",
}  # fmt: skip
_SWITCHES = ("enabled", "enable", "create", "install", "deploy")
_COUNTS = ("replicas", "replicaCount")
_WHOLE = re.compile(
    r"(?<![\w./:@-])"
    r"((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64}))"
    r"(?![\w/@])"
)
_IMAGE_LINE = re.compile(r"""(?m)^[ \t]*(?:-[ \t]+)?image:[ \t]*["']?([a-z0-9][^\s"'{}#]*)["']?\s*$""")
_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,500}")


@dataclass(frozen=True)
class Part:
    """One value of an image's spelling: its key, and what it holds."""

    key: str
    text: str


@dataclass(frozen=True)
class Composed:
    """An image as values spell it.

    Attributes:
        repository: what joins to the repository by `/`; the whole reference where `whole`.
        registries: what may be its registry, the strongest first: global, its own, one further up.
        off: key of the switch that turns the part off; empty when it is on.
        guess: another reading of the same values, good only to explain what a render has.
    """

    repository: tuple[Part, ...]
    tag: Part | None = None
    digest: Part | None = None
    registries: tuple[Part, ...] = ()
    off: str = ""
    guess: bool = False

    @property
    def path(self) -> str:
        """The repository, or the whole reference, as the values have it."""
        return "/".join(part.text.strip("/") for part in self.repository)


@dataclass(frozen=True)
class _Scope:
    """What counts for a map and all below it."""

    path: str = ""
    common: tuple[Part, ...] = ()
    registry: Part | None = None
    namespace: Part | None = None
    tag: Part | None = None
    off: str = ""
    is_image: bool = False
    in_images: bool = False
    depth: int = 0


def spelled_images(values: Mapping[str, Any]) -> list[Composed]:
    """Return the images that `values` spell, in their order, those of parts that are off among them."""
    common = tuple(_common_registries(values.get("global")))
    return list(_Walk().mapping(values, _Scope(common=common, tag=_common_tag(values.get("global")))))


def _common_registries(given: object) -> Iterator[Part]:
    """`global.imageRegistry` and its other spellings: charts lay it over the registry of every image."""
    if not isinstance(given, dict):
        return
    for key in ("imageRegistry", "registry", "hub"):
        if _text(given.get(key)):
            yield Part(f"global.{key}", _text(given[key]))
    for above in ("image", "images"):
        inner = given.get(above)
        if isinstance(inner, dict) and _text(inner.get("registry")):
            yield Part(f"global.{above}.registry", _text(inner["registry"]))


def _common_tag(given: object) -> Part | None:
    """`global.tag` and its other spelling: the tag of all images that have none of their own."""
    for key in ("imageTag", "tag"):
        if isinstance(given, dict) and _text(given.get(key)):
            return Part(f"global.{key}", _text(given[key]))
    return None


class _Walk:
    """Goes through values, with a bound on how many it looks at."""

    def __init__(self) -> None:
        self.left = NODE_LIMIT

    def mapping(self, values: Mapping[str, Any], scope: _Scope) -> Iterator[Composed]:
        groups = _groups(values, scope)
        scope = _inherit(replace(scope, off=scope.off or _own_switch(values, scope.path)), groups.get("", {}))
        taken: set[str] = set()
        off_switches = _off_switches(values)
        for stem, roles in groups.items():
            off = scope.off or (_switch_beside(off_switches, stem, scope.path) if stem else "")
            for image in _images_of(stem, roles, replace(scope, off=off)):
                taken.update(part.key for part in image.repository)
                yield image
        for key, value in values.items():
            path = join_key(scope.path, str(key))
            if path not in taken:
                off = scope.off or _switch_beside(off_switches, str(key), scope.path)
                yield from self.value(value, str(key), replace(scope, path=path, off=off, depth=scope.depth + 1))

    def value(self, value: object, key: str, scope: _Scope) -> Iterator[Composed]:
        self.left -= 1
        if self.left < 0 or scope.depth > DEPTH_LIMIT:
            return
        lower = key.lower()
        if isinstance(value, dict):
            is_image = lower.endswith("image") or scope.in_images
            yield from self.mapping(value, replace(scope, is_image=is_image, in_images=lower.endswith("images")))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.value(item, key, replace(scope, path=f"{scope.path}[{index}]", depth=scope.depth + 1))
        elif isinstance(value, str):
            yield from _in_text(value, lower, scope)


def _groups(values: Mapping[str, Any], scope: _Scope) -> dict[str, dict[str, Part]]:
    """Keys of one map that belong together: stem (`init` of `initImage`, `initTag`) → role → value."""
    groups: dict[str, dict[str, Part]] = {}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
            continue
        stem, role = _role(str(key))
        if not role and scope.is_image:
            stem, role = "", _ONLY_IN_IMAGES.get(str(key), "")
        elif not role and key == "hub":
            stem, role = "", "registry"
        if role:
            groups.setdefault(stem, {}).setdefault(role, Part(join_key(scope.path, str(key)), _text(value)))
    return groups


@lru_cache(maxsize=4096)
def _role(key: str) -> tuple[str, str]:
    lower = key.replace("-", "").replace("_", "").lower()
    for suffix, role in _SUFFIXES:
        if lower.endswith(suffix):
            return lower[: len(lower) - len(suffix)], role
    return "", ""


def _inherit(scope: _Scope, roles: Mapping[str, Part]) -> _Scope:
    """What a map says for the maps below it: a registry, a namespace or a tag without a repository of its own."""
    changes: dict[str, Part] = {}
    if not scope.is_image and not any(roles.get(role) for role in ("repository", "name")):
        changes = {role: roles[role] for role in ("registry", "namespace", "tag") if role in roles and roles[role].text}
    return replace(scope, **changes) if changes else scope  # type: ignore[arg-type]  # keys are the fields above


def _images_of(stem: str, roles: Mapping[str, Part], scope: _Scope) -> Iterator[Composed]:
    filled = {role: part for role, part in roles.items() if part.text}
    companions = any(role in roles for role in ("tag", "digest", "registry"))
    readings = [reading for reading in _readings(filled, scope) if all(_NAME.fullmatch(part.text) for part in reading)]
    own = filled.get("registry")
    registries = [*scope.common, *([own] if own else []), *([scope.registry] if scope.registry else [])]
    for number, reading in enumerate(readings):
        text = reading[-1].text
        plain = re.search(r"[/:@]", text) is None and not (scope.common and scope.tag)
        if not scope.is_image and not companions and ("repository" in filled or plain):
            continue
        if stem and not companions and not _looks_like_image(text):
            continue
        tag = filled.get("tag") or (None if _has_tag(text) else scope.tag)
        yield Composed(reading, tag, filled.get("digest"), tuple(registries), scope.off, guess=number > 0)


def _readings(filled: Mapping[str, Part], scope: _Scope) -> Iterator[tuple[Part, ...]]:
    """Which values make the repository; the likeliest first."""
    repository, image, name = (filled.get(role) for role in ("repository", "image", "name"))
    last = image or name
    namespace = filled.get("namespace") or scope.namespace
    if repository:
        if image:
            yield repository, image
        yield (repository,)
        if name:
            yield repository, name
    if last:
        if namespace and "/" not in last.text:
            yield namespace, last
        if image or scope.is_image or "/" in last.text:
            yield (last,)


def _in_text(value: str, key: str, scope: _Scope) -> Iterator[Composed]:
    """Whole references in a text that is no part of a spelling."""
    if ("/" not in value and ":" not in value) or len(value) > 1 << 20:
        return
    if (scope.in_images or key in {"images", "image"}) and _looks_like_image(value):
        yield Composed((Part(scope.path, value),), registries=scope.common, off=scope.off)
        return
    seen: set[str] = set()
    for pattern in (_WHOLE, _IMAGE_LINE):
        for match in pattern.finditer(value):
            if match[1] not in seen and _NAME.fullmatch(match[1]):
                seen.add(match[1])
                yield Composed((Part(scope.path, match[1]),), off=scope.off)


def _own_switch(values: Mapping[str, Any], path: str) -> str:
    """Key of the switch in a map that turns it off: `enabled: false`, `replicas: 0`."""
    for key in _SWITCHES:
        if _is_false(values.get(key)):
            return join_key(path, key)
    for key in _COUNTS:
        if values.get(key) == 0 and not isinstance(values[key], bool):
            return join_key(path, key)
    return ""


def _off_switches(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of a map that are off, by their lower case; of two the first."""
    off: dict[str, str] = {}
    for key, value in values.items():
        if _is_false(value):
            off.setdefault(str(key).lower(), str(key))
    return off


def _switch_beside(off: Mapping[str, str], stem: str, path: str) -> str:
    """Key of a switch for `stem` beside it: `metricsEnabled: false`, `enableMetrics: false`."""
    lower = stem.lower()
    if not lower or not off:
        return ""
    for switch in (*_SWITCHES, "use"):
        for word in (lower + switch, switch + lower):
            if word in off:
                return join_key(path, off[word])
    return ""


def _is_false(value: object) -> bool:
    return value is False or (isinstance(value, str) and value.lower() == "false")


def _looks_like_image(text: str) -> bool:
    return bool(re.search(r"[/:]", text)) and "//" not in text and _NAME.fullmatch(text) is not None


def _has_tag(text: str) -> bool:
    return "@" in text or ":" in text.rsplit("/", 1)[-1]


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    text = str(value).strip()
    return "" if "{{" in text else text


def join_key(path: str, key: str) -> str:
    """Return the key of a value below `path`, with dots in it escaped as `helm --set` wants them."""
    key = key.replace(".", "\\.")
    return f"{path}.{key}" if path else key
