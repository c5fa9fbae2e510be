"""The Messenger inventory, as its files are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from airbundle.bundle.inventory import Inventory, parse_inventory
from airbundle.bundle.site import Site, parse_site
from airbundle.bundle.template import fill, site_names

HOME = Path(__file__).parent.parent.parent / "manifests-index" / "messenger"
SITES = ("small", "large")


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Strict(_Loader):  # type: ignore[misc,valid-type]  # the C loader where PyYAML has it
    """YAML in which a key that stands twice is an error: the first of the two would be lost."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"a key stands twice: {sorted(map(str, keys))} at {node.start_mark}"
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@cache
def documents(text: str) -> list[Any]:
    """Return the documents of a YAML text."""
    return [body for body in yaml.load_all(text, Loader=_Strict) if body is not None]


@cache
def read_inventory() -> Inventory:
    """Return the inventory."""
    return parse_inventory((HOME / "bundle.yaml").read_bytes())


@cache
def read_site(name: str) -> Site:
    """Return a site file."""
    return parse_site((HOME / "sites" / f"{name}.yaml").read_bytes(), where=f"sites/{name}.yaml")


def filled(path: str, site: Site) -> str:
    """Return a file of the inventory with the names of a site in it."""
    return fill((HOME / path).read_text(), site_names(site), path)


def values_of(release: str, site: Site) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (path, values) that a site's release is deployed with, later ones win."""
    found = next(each for each in read_inventory().releases if each.name == release)
    paths = [*found.values, *(f"sites/{path}" for path in site.values.get(release, ()))]
    return [(path, body) for path in paths for body in documents(filled(path, site)) or [{}]]


def strings(body: object) -> Iterator[str]:
    """Yield each text in nested data, keys too."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for key, value in body.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(body, list):
        for value in body:
            yield from strings(value)


def objects() -> list[tuple[str, Mapping[str, Any]]]:
    """Return (file, object) of all plain manifests."""
    paths = sorted((HOME / "manifests").rglob("*.yaml"))
    return [(str(path.relative_to(HOME)), body) for path in paths for body in documents(path.read_text())]


@pytest.fixture
def inventory() -> Inventory:
    """The inventory."""
    return read_inventory()


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """Each of the sites."""
    return read_site(str(request.param))
