"""All images that objects name: the finders put together, kind by kind."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from airbundle.errors import Finding
from airbundle.scan.fields import is_silent, known_fields, surest
from airbundle.scan.model import ORDER, Certainty, Manifest, Place, Scanned, Sighting
from airbundle.scan.names import Says, is_doubtful, says_image
from airbundle.scan.pairs import Pair, images_of
from airbundle.scan.seen import Seen
from airbundle.scan.spelling import as_image
from airbundle.scan.texts import is_structured, references
from airbundle.scan.variables import image_variables
from airbundle.scan.walk import Scope, Walk, join

_SECRET_TYPES_WITHOUT = ("kubernetes.io/", "helm.sh/release", "bootstrap.kubernetes.io/")
_SECRET_LIMIT = 4 << 20  # base64 characters of one value
_SCHEMA_LIMIT = 500_000  # nodes of one CRD
_WORKLOADS = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "PodTemplate"})
_DOCUMENT = re.compile(r"\.(?:md|rst|adoc|html?)$|(?:^|[._-])(?:readme|changelog|license|notes)\b", re.IGNORECASE)
_SCRIPT = re.compile(r"\.(?:sh|bash|py|pl|rb|lua|js)$", re.IGNORECASE)
_SET_ASIDE = re.compile(r"[._-](?:bak|orig|old|disabled|dist|tmp|swp)$|~$", re.IGNORECASE)
_FILE = re.compile(
    r"\.(?:ya?ml|json|toml|ini|conf|cfg|properties|env|sh|tpl|txt|md|hcl|alloy|tf|xml|groovy|js|py)$", re.IGNORECASE
)
_ASSIGNS = re.compile(r"^[\w\"' .-]{1,100}(?:: | ?= ?[\"'\w])")
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_ROOT = frozenset({"apiVersion", "kind", "metadata", "status"})


def find_images(manifests: Sequence[Manifest]) -> list[Sighting]:
    """Find every image that objects name; each once for each place, with its surest evidence."""
    return list(find(manifests).sightings)


def find(manifests: Sequence[Manifest]) -> Scanned:
    """Find images, and the container images that no kubelet would take for a reference."""
    found = list(find_each(manifests))
    sightings = dict.fromkeys(sighting for each in found for sighting in each.sightings)
    return Scanned(tuple(sightings), tuple(finding for each in found for finding in each.findings))


def find_each(manifests: Sequence[Manifest]) -> Iterator[Scanned]:
    """Yield what `find` finds in each object, in their order."""
    keys = image_variables(manifests)
    for manifest in manifests:
        walk = _walked(manifest, keys.get((manifest.kind, manifest.name), {}))
        limit = _limit(manifest)
        sightings = tuple(_sighting(manifest, seen.at_most(limit)) for seen in _surest(walk.seen))
        unreadable = [_unreadable(manifest, path, text) for path, text in walk.unreadable if _is_meant(manifest, text)]
        yield Scanned(sightings, tuple(unreadable))


def _limit(manifest: Manifest) -> Certainty:
    limit = surest(manifest.api_version, manifest.kind)
    if manifest.phase == "test" and limit == "certain":
        return "likely"
    return limit


def _surest(found: Iterable[Seen]) -> list[Seen]:
    best: dict[tuple[str, str], Seen] = {}
    for seen in found:
        key = (str(seen.image), seen.path)
        if key not in best or ORDER[seen.certainty] < ORDER[best[key].certainty]:
            best[key] = seen
    return list(best.values())


def _sighting(manifest: Manifest, seen: Seen) -> Sighting:
    place = Place(manifest.origin, manifest.template, str(manifest), seen.path, phase=manifest.phase)
    return Sighting(seen.image, seen.written, seen.certainty, seen.evidence, place)


def _is_meant(manifest: Manifest, text: str) -> bool:
    """Whether it is meant as it stands: custom resources hold templates and patterns of their own."""
    return manifest.kind in _WORKLOADS or not any(mark in text for mark in ("{{", "$", "*", "<", "(", "|"))


def _unreadable(manifest: Manifest, path: str, text: str) -> Finding:
    return Finding(
        f"{path} is no image reference; the container will not start",
        where=f"{manifest.origin.source}: {manifest}",
        code="image-unreadable",
        found=repr(text[:200]),
        hint="a repository is lower-case; name[:tag][@sha256:…]",
        severity="error" if manifest.kind in _WORKLOADS else "warning",
    )


def _walked(manifest: Manifest, variables: Mapping[str, str]) -> Walk:
    walk = Walk()
    body, kind = manifest.body, manifest.kind
    walk.annotations(manifest.metadata.get("annotations"), "metadata.annotations", Scope())
    if kind == "CustomResourceDefinition":
        walk.seen += _schema_images(body)
    elif kind == "ConfigMap":
        _texts(walk, body.get("data"), "data", "ConfigMap", says=says_image(manifest.name), variables=variables)
        _texts(walk, _decoded(body.get("binaryData")), "binaryData", "ConfigMap")
    elif kind == "Secret":
        if not str(body.get("type") or "").startswith(_SECRET_TYPES_WITHOUT):
            says = says_image(manifest.name)
            _texts(walk, _decoded(body.get("data")), "data", "Secret", says=says, variables=variables)
            _texts(walk, body.get("stringData"), "stringData", "Secret", says=says, variables=variables)
    elif not is_silent(manifest.api_version, kind):
        walk.mapping({key: value for key, value in body.items() if key not in _ROOT}, "", Scope())
        walk.seen += _known(manifest, walk.seen)
    return walk


def _known(manifest: Manifest, found: Sequence[Seen]) -> Iterator[Seen]:
    """Yield what known fields hold; with the tag that another field gives, where the walk has put them together."""
    by_path: dict[str, list[Seen]] = {}
    for seen in found:
        by_path.setdefault(seen.path, []).append(seen)
    for path, text in known_fields(manifest.api_version, manifest.kind, manifest.body):
        spelled = as_image(text)
        there = by_path.get(path, [])
        if any(seen.certainty != "likely" for seen in there):
            continue
        if there:
            yield from (replace(seen, certainty="certain", evidence=f"field {path}") for seen in there)
        elif spelled is not None:
            yield Seen(spelled.image, spelled.written, "certain", f"field {path}", path)


def _texts(
    walk: Walk, data: Any, path: str, label: str, *, says: Says = "", variables: Mapping[str, str] = _NO_VARIABLES
) -> None:
    """Search the files and values of a ConfigMap or a Secret.

    Args:
        says: what its own name says.
        variables: its keys that containers take as variables, with the variables' names.
    """
    values: list[Pair] = []
    for key, value in _mapping(data).items():
        if isinstance(value, str) and (is_structured(value) or _FILE.search(key) or _ASSIGNS.search(value)):
            text = Walk()
            scope = Scope(label=label, says=says_image(key))
            text.text(value, join(path, key), scope, script=_SCRIPT.search(key) is not None)
            walk.seen += [seen.at_most(_surest_of_file(key)) for seen in text.seen]
        elif isinstance(value, str):
            values.append(Pair(variables.get(key, key), value, join(path, key)))
    walk.pairs(values, Scope(label=label, texts=1, says=says))


def _surest_of_file(name: str) -> Certainty:
    """Return how sure an image in a file of this name can be: what people read runs nothing."""
    if _DOCUMENT.search(name):
        return "decoy"
    return "likely" if name.lower().endswith(".txt") or _SET_ASIDE.search(name) or is_doubtful(name) else "certain"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _decoded(data: Any) -> dict[str, str]:
    """Return the values of base64 that are text."""
    found = {}
    for key, value in _mapping(data).items():
        if not isinstance(value, str) or len(value) > _SECRET_LIMIT:
            continue
        try:
            found[key] = _plain(base64.b64decode("".join(value.split()), validate=True)).decode()
        except (binascii.Error, zlib.error, ValueError):
            continue
    return found


def _plain(raw: bytes) -> bytes:
    """Return bytes, unpacked where they are gzip's; no more than a value may have."""
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    return zlib.decompressobj(wbits=31).decompress(raw, _SECRET_LIMIT)


def _schema_images(body: Mapping[str, Any]) -> list[Seen]:
    """Return the images in the schemas of a CRD: defaults are likely, descriptions and examples decoys."""
    found: list[Seen] = []
    stack: list[tuple[str, str, Any]] = [("spec", "", body.get("spec"))]
    for _ in range(_SCHEMA_LIMIT):
        if not stack:
            break
        path, name, node = stack.pop()
        if isinstance(node, list):
            stack += [(f"{path}[{index}]", name, item) for index, item in enumerate(node) if isinstance(item, dict)]
            continue
        if not isinstance(node, dict):
            continue
        for key, value in node.items():
            if key == "default":
                found += _default_images(f"{path}.default", name, value)
            elif key in {"description", "example", "examples"} and isinstance(value, str):
                found += _told_images(f"{path}.{key}", value)
            elif isinstance(value, (dict, list)):
                stack.append((f"{path}.{key}", name if key in {"items", "properties"} else key, value))
    return found


def _default_images(path: str, name: str, value: Any) -> Iterator[Seen]:
    walk = Walk()
    scope = Scope(label="default in the CRD's schema")
    if isinstance(value, (dict, list)):
        walk.node(value, path, scope.within(name), name)
    else:
        for held in images_of([Pair(name, value, path)]):
            if held.spelled.pinned:
                walk.seen.append(Seen(held.spelled.image, held.spelled.written, "likely", scope.label, path))
    return (seen.at_most("likely") for seen in walk.seen)


def _told_images(path: str, text: str) -> Iterator[Seen]:
    if ":" in text and "/" in text:
        for spelled in references(text):
            yield Seen(spelled.image, spelled.written, "decoy", "description in the CRD's schema", path)
