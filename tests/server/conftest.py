"""One bundle for all tests of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airbundle.server.app import App
from tests.server.site import Site, app_of, make_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A bundle with something of every kind."""
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def app(site: Site) -> Iterator[App]:
    """The application over it."""
    made = app_of(site.path)
    yield made
    made.close()
