"""A release key, and sites, for the tests of the disconnected side's commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.installer.container import container_name, container_status
from tests.cli.test_install import Site
from tests.installer.bundles import Key, make_key
from tests.support.engine import Engine


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """The release key that sites trust."""
    return make_key(tmp_path_factory.mktemp("key"), "release")


@pytest.fixture
def engine_site(tmp_path: Path, key: Key, docker_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site on a host with a Docker engine; in the end nothing of it is left there."""
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document
    assert not made.state.exists()
    assert container_status(container_name(made.state)) is None
