"""Fixtures that all tests share. Servers live as long as the worker process (session scope), unless said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.charts import Chart, make_charts
from tests.support.corpus import Corpus
from tests.support.corpus import corpus as make_corpus
from tests.support.disk import SHARING, NotMounted, mounted, sharing
from tests.support.engine import Engine, run_engine
from tests.support.registries import Registry, run_registry
from tests.support.tls import Authority

# No test is about time: machines are slow, and busy with other tests. Nothing is written beside the sources.
settings.register_profile("airbundle", deadline=None, database=None, print_blob=True)
settings.load_profile("airbundle")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private CA that signs the servers of this session."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """registry:2 over plain HTTP, open to all. Shared: use repository names of your own."""
    with run_registry(tmp_path_factory.mktemp("plain-registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """registry:2 over TLS, open to all. Shared: use repository names of your own."""
    with run_registry(tmp_path_factory.mktemp("tls-registry"), tls=authority) as registry:
        yield registry


@pytest.fixture(scope="session")
def basic_registry(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """registry:2 over TLS with basic auth (htpasswd). Shared: use repository names of your own."""
    with run_registry(tmp_path_factory.mktemp("basic-registry"), tls=authority, auth="basic") as registry:
        yield registry


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """registry:2 over TLS with bearer tokens from a token server. Shared: use repository names of your own."""
    with run_registry(tmp_path_factory.mktemp("token-registry"), tls=authority, auth="token") as registry:
        yield registry


@pytest.fixture
def empty_registry(tmp_path: Path, authority: Authority) -> Iterator[Registry]:
    """An empty registry:2 over TLS for this test alone."""
    with run_registry(tmp_path / "empty-registry", tls=authority) as registry:
        yield registry


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Docker engine of this worker's own, with `registry:2` loaded. Remove the containers you make."""
    with run_engine(tmp_path_factory.mktemp("engine")) as engine:
        engine.import_registry()
        yield engine


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The big, real images; made once per machine, which takes about two minutes."""
    return make_corpus()


@pytest.fixture(scope="session")
def corpus_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, corpus: Corpus
) -> Iterator[Registry]:
    """registry:2 over TLS with basic auth that serves the corpus, read-only, as the mirror of all its hosts."""
    directory = tmp_path_factory.mktemp("corpus-registry")
    with run_registry(directory, tls=authority, auth="basic", storage=corpus.storage, read_only=True) as registry:
        yield registry


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> list[Chart]:
    """A dozen packaged charts that install the corpus's images; some in several versions."""
    return make_charts(tmp_path_factory.mktemp("charts"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 2 MiB."""
    with mounted(tmp_path / "small", "size=2m") as directory:
        yield directory


@pytest.fixture(params=sorted(SHARING))
def sharing_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 512 MiB that shares blocks between files. Where none can be mounted, that is told."""
    with ExitStack() as ending:
        try:
            directory = ending.enter_context(sharing(tmp_path / "sharing", request.param))
        except NotMounted as error:
            pytest.skip(str(error))
        yield directory
