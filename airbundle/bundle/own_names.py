"""Names of a bundle's own: what its values ask of a site beside domain, registry and StorageClass (docs/inventory.md).

`bundle.yaml` declares each with a default, or with an example where the site must tell; the lock carries the
declaration, and the site file says in `names` what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from airbundle.bundle.site import Site, SiteValue
from airbundle.bundle.template import HINTS, PLACEHOLDERS, site_names, written
from airbundle.errors import Finding

VALUE_LIMIT = 4096
"""Most characters of a value."""


@dataclass(frozen=True)
class OwnName:
    """A name that the values of a bundle may ask for.

    Attributes:
        sample: its default, or an example of what a site could say; what a site says is of the same kind.
        required: it is an example only: the site must tell.
    """

    name: str
    sample: SiteValue
    required: bool
    description: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return its declaration, in the words of `bundle.yaml`."""
        body: dict[str, Any] = {"example" if self.required else "default": self.sample}
        return {**body, "description": self.description} if self.description else body


def declared(names: Sequence[OwnName]) -> dict[str, Any]:
    """Return names as `bundle.yaml` and the lock have them."""
    return {each.name: each.to_json() for each in sorted(names, key=lambda each: each.name)}


def parse_own_name(name: str, body: object) -> OwnName | None:
    """Return a name as a lock has it; None where that is no declaration."""
    if not isinstance(body, dict) or ("default" in body) is ("example" in body):
        return None
    made = make_own_name(name, body)
    return made if is_value(made.sample) and made.description.isprintable() else None


def make_own_name(name: str, body: Mapping[str, Any]) -> OwnName:
    """Return a name from its declaration, which has either `default` or `example`."""
    required = "default" not in body
    return OwnName(name, body["example" if required else "default"], required, str(body.get("description", "")))


def is_value(value: object) -> bool:
    """Tell whether a name can stand for this: text that is one printable line, a number, true or false."""
    if isinstance(value, str):
        return len(value) <= VALUE_LIMIT and value.isprintable()
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


def samples(own: Sequence[OwnName]) -> dict[str, SiteValue]:
    """Return what a scan without a site file fills in."""
    return {**{each.name: each.sample for each in own}, **PLACEHOLDERS}


def names_at(site: Site, own: Sequence[OwnName]) -> dict[str, SiteValue]:
    """Return what all names stand for at a site; one that nobody tells is left out.

    Args:
        site: what its file says.
        own: what the bundle declares.
    """
    names: dict[str, SiteValue] = {each.name: each.sample for each in own if not each.required}
    names.update({each.name: site.names[each.name] for each in own if each.name in site.names})
    return {**names, **site_names(site)}


def own_name_findings(site: Site, own: Sequence[OwnName]) -> Iterator[Finding]:
    """Yield what a site file says wrongly of a bundle's own names, and which it lacks."""
    known = {each.name: each for each in own}
    for number, name in enumerate(sorted(site.names.keys() - known.keys())):
        close = get_close_matches(name, known, n=1) if number < HINTS else ()
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known)) or 'none of its own'}"
        yield Finding(f"the bundle asks for no name {name!r}", f"{site.where} names.{name}", "site-name", hint=hint)
    for each in own:
        where = f"{site.where} names.{each.name}"
        told = f": {each.description}" if each.description else ""
        expected = f"{kind_of(each.sample)}, such as {written(each.sample)}"
        value = site.names.get(each.name)
        if value is None and each.required:
            yield Finding(f"the site file does not say {each.name!r}{told}", where, "site-name", expected=expected)
        elif value is not None and not _is_alike(value, each.sample):
            found = f"{kind_of(value)}, {written(value)[:80]!r}"
            yield Finding(f"wrong value of {each.name!r}{told}", where, "site-name", found=found, expected=expected)


def kind_of(value: SiteValue) -> str:
    """Return what kind of value this is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    return "a whole number" if isinstance(value, int) else "a number"


def _is_alike(value: SiteValue, sample: SiteValue) -> bool:
    numbers = isinstance(sample, float) and isinstance(value, (int, float)) and not isinstance(value, bool)
    return numbers or kind_of(value) == kind_of(sample)
