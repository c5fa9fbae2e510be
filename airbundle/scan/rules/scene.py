"""What all rules look at: the objects of all renders together, their texts, and where a text stems from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from airbundle.bundle.template import PLACEHOLDERS
from airbundle.errors import Finding
from airbundle.scan.model import Manifest, Origin, Place, Rendering
from airbundle.scan.rules.given import ValueIndex
from airbundle.scan.rules.texts import Text, texts_of

_COMPARED = 50
"""Most objects of one name that another is compared with: thousands may have no name at all."""


class Scene:
    """The objects of an inventory, as the rules see them. Tests of charts are not part of it: nothing waits for them.

    Attributes:
        manifests: without those that say the same as an earlier one, as variants of a release do.
        secrets: (namespace, name) of those that are made at the site; an empty namespace counts for all.
        has_placeholders: there are renders without a site, where placeholders stand for what sites have.
        domains: DNS suffixes of the sites.
        storage_classes: names that the sites have.
        samples: what names of the inventory's own stand for where no site says.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        renderings: Sequence[Rendering],
        *,
        secrets: Iterable[tuple[str, str]] = (),
        domains: Iterable[str] = (),
        storage_classes: Iterable[str] = (),
        samples: Iterable[str] = (),
    ) -> None:
        self.manifests = _distinct(manifests)
        self.renderings = renderings
        self.secrets = frozenset(secrets)
        self._indexes = {rendering.origin: ValueIndex(rendering) for rendering in renderings}
        named = tuple(domains)
        self.has_placeholders = not named or any(index.is_of_site for index in self._indexes.values())
        self.domains = tuple(domain.lower().strip(".") for domain in (*named, PLACEHOLDERS["domain"]) if domain)
        self.samples = frozenset(samples)
        self.storage_classes = frozenset((*storage_classes, PLACEHOLDERS["storageClass"]))

    @cached_property
    def by_kind(self) -> Mapping[str, Sequence[Manifest]]:
        """Objects by their kind; a kind that isn't there has none."""
        found: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in self.manifests:
            found[manifest.kind].append(manifest)
        return found

    @cached_property
    def texts(self) -> Sequence[Text]:
        """Texts of all objects."""
        return [text for manifest in self.manifests for text in texts_of(manifest)]

    def values(self, origin: Origin) -> ValueIndex | None:
        """Return the values of the render that an object comes from."""
        return self._indexes.get(origin)

    @cached_property
    def indexes(self) -> Sequence[ValueIndex]:
        """The values of each render."""
        return list(self._indexes.values())

    def is_sample(self, found: str) -> bool:
        """Whether a host or an address stands for what each site says otherwise."""
        return any(found in sample for sample in self.samples)

    def is_site_host(self, host: str) -> bool:
        """Whether a host lies in a site's domain."""
        host = host.lower().rstrip(".")
        return any(host == domain or host.endswith("." + domain) for domain in self.domains)


def place(manifest: Manifest, path: str) -> Place:
    """Return the place of a field of an object."""
    return Place(manifest.origin, manifest.template, str(manifest), path, phase=manifest.phase)


def tell(scene: Scene, text: Text, token: str, finding: Finding, *, same_name: bool = False) -> Finding:
    """Return `finding` with where to go: the given value that the text stems from, else the object.

    Args:
        text: where it was found.
        token: the part of the text that is wrong; finds values that only make up a part of the text.
        finding: without `where`.
        same_name: only values that are called alike count.
    """
    values = scene.values(text.manifest.origin)
    leaf = values.written(token, text.value, text.name, same_name=same_name) if values else None
    if leaf:
        return with_where(finding, str(leaf))
    key = values.key(text.value, text.name, text.manifest.template) if values else ""
    hint = finding.hint
    if key:
        hint = f"{hint}; the value {key} sets it" if hint else f"set the value {key}"
    return with_where(finding, str(place(text.manifest, text.path)), hint)


def with_where(finding: Finding, where: str, hint: str | None = None) -> Finding:
    """Return a finding with another place, and another hint."""
    return Finding(
        finding.message,
        where,
        finding.code,
        finding.found,
        finding.expected,
        finding.hint if hint is None else hint,
        finding.severity,
    )


def mapping(value: object) -> Mapping[str, Any]:
    """Return `value` where it is a mapping, else an empty one: objects from outside hold anything."""
    return value if isinstance(value, dict) else {}


def entries(value: object) -> Sequence[Mapping[str, Any]]:
    """Return the mappings of a list; nothing when it is none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _distinct(manifests: Sequence[Manifest]) -> list[Manifest]:
    seen: dict[tuple[str, str, str, str], list[Manifest]] = defaultdict(list)
    kept = []
    for manifest in manifests:
        if manifest.phase == "test":
            continue
        same = seen[(manifest.origin.source, manifest.kind, manifest.namespace, manifest.name)]
        if all(other.body != manifest.body for other in same[-_COMPARED:]):
            same.append(manifest)
            kept.append(manifest)
    return kept
