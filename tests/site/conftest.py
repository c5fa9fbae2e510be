"""Tests on a real cluster: a sealed one of two nodes, shared by the tests here, or the one that KUBECONFIG names.

Where there is none, all of them are left out, and the reason is told once for each. A test that must begin with a bare
cluster, or breaks it, takes `bare_site`, which costs 15 seconds and 1.3 GB of memory; all others take `site`, with
namespaces of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sealed import Site, any_site, sealed_site


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in this very hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here, and keep those of a file, or of a directory here, together: they share a cluster."""
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker("site")
        alone = "bare_site" in getattr(item, "fixturenames", ())
        shared = item.path.stem if item.path.parent == here else item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(f"site-{shared}{'-' + item.name if alone else ''}"))
    # Some take minutes by themselves: begun last, all others would be waited for by one.
    first = set(ours)
    items[:] = [*ours, *(item for item in items if item not in first)]


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A cluster of two nodes that these tests share."""
    with any_site() as cluster:
        yield cluster


@pytest.fixture
def bare_site() -> Iterator[Site]:
    """A sealed cluster of two nodes for this test alone, as a site is before airbundle comes."""
    with sealed_site() as cluster:
        yield cluster
