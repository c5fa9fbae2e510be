"""The whole path on real input. What is costly to make is made once: all these tests run in one worker process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.store.cache import Cache
from tests.acceptance.workshop import Workshop
from tests.support.charts import Chart, chart_repository, push_charts
from tests.support.corpus import Corpus, cache_root
from tests.support.locks import once_per_machine
from tests.support.measure import Measured, watch_disk
from tests.support.registries import Registry, run_registry
from tests.support.tls import Authority


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here as slow, and keep them together."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("acceptance")
            item.add_marker(pytest.mark.xdist_group("acceptance"))


@pytest.fixture(scope="session")
def workshop(
    tmp_path_factory: pytest.TempPathFactory,
    corpus: Corpus,
    corpus_registry: Registry,
    charts: list[Chart],
    authority: Authority,
) -> Iterator[Workshop]:
    """A release engineer's directory, with all upstreams running and a release key."""
    root = tmp_path_factory.mktemp("workshop")
    with ExitStack() as stack:
        registry = stack.enter_context(run_registry(root / "chart-registry", tls=authority))
        push_charts(charts, registry, "team", home=root / "helm")
        packages = charts[0].archive.parent
        repository = stack.enter_context(chart_repository(packages, root / "charts", tls=authority, auth=True))
        made = Workshop(root, corpus, corpus_registry, charts, registry, repository, authority.ca_file)
        made.write_registries()
        _seed_installer_parts(Path(made.env["XDG_CACHE_HOME"]) / "airbundle")
        made.do("key", "generate", "-o", made.key)
        yield made
    shutil.rmtree(root)


def _seed_installer_parts(cache: Path) -> None:
    """Give the release engineer's cache the installer's wheels, which are fetched once per machine."""
    kept = cache_root() / "installer-parts"
    with once_per_machine("installer-parts"):
        ensure_parts(pinned_parts(), Cache(kept))
        shutil.copytree(kept, cache)


@dataclass(frozen=True)
class BuiltCorpus:
    """The bundle of the whole corpus, how its build went, and how the scan before it.

    `extra_disk` is the peak use beyond the file itself, in bytes, over all that the build could write to.
    """

    inventory: Path
    path: Path
    scan: Measured
    build: Measured
    extra_disk: int


@pytest.fixture(scope="session")
def built(workshop: Workshop) -> BuiltCorpus:
    """The bundle of all images of the corpus and eight charts, signed."""
    inventory = workshop.write_inventory("corpus", list(workshop.corpus.images))
    workshop.lock(inventory)
    # Helm's memory is no part of what a build of any size takes (docs/decisions/0025).
    scan = workshop.run("scan", inventory, "--registries", workshop.registries, "--offline")
    assert scan.code == 0, scan.stderr
    output = workshop.root / "dist"
    output.mkdir()
    # TMPDIR is inside, too: nothing that a build writes is outside of what is watched.
    with watch_disk(workshop.root) as disk:
        build = workshop.build(inventory, output)
    path = output / "corpus-1.0.0.airbundle"
    return BuiltCorpus(inventory, path, scan, build, disk.peak - path.stat().st_blocks * 512)
