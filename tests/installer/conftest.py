"""Keys for the tests of this package."""

from __future__ import annotations

import pytest

from tests.installer.bundles import Key, make_key


@pytest.fixture(scope="session")
def release_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """The release key that the site trusts."""
    return make_key(tmp_path_factory.mktemp("release-key"), "release")


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """Somebody else's key."""
    return make_key(tmp_path_factory.mktemp("other-key"), "other")
