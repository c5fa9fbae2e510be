"""installer.site.leaving: which sites are left, whole or one bundle of theirs, and what others need."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.errors import UsageError
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.leaving import Leaving, check_bundle, drops_content, needed_by
from airbundle.installer.site.site_state import SiteState, sites_of
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory


def installed(*names: str) -> Installed:
    bundles = tuple(InstalledBundle(name, "1.0", 1, f"sha256:{name}") for name in names)
    return Installed(mode="embedded", bundles=bundles)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """Return a host with shop and tools at berlin, and tools at oslo."""
    made = StateDirectory(tmp_path / "state")
    with made.locked("test"):
        for name, bundles in (("berlin", ["shop", "tools"]), ("oslo", ["tools"])):
            releases = tuple(DeployedRelease(each, each, "chart", "i", bundle=each) for each in bundles)
            for number, bundle in enumerate(bundles, 1):
                row = Deployment(number, bundle, "1.0", 1, "s", "2026", True, releases=releases[:number])
                SiteState(made, name).write(row)
    return made


def leaving(state: StateDirectory, bundle: str = "", *sites: str) -> Leaving:
    chosen = [each for each in sites_of(state) if not sites or each.name in sites]
    return Leaving(chosen, bundle=bundle)


def test_a_bundle_leaves_the_sites_that_have_it_and_the_last_one_takes_the_site_along(state: StateDirectory) -> None:
    for bundle, expected in (("", {"berlin": True, "oslo": True}), ("shop", {"berlin": False})):
        chosen = leaving(state, bundle)
        assert {each.name: chosen.whole(each) for each in chosen.affected} == expected
    tools = leaving(state, "tools")
    assert {each.name: tools.whole(each) for each in tools.affected} == {"berlin": False, "oslo": True}


def test_who_needs_the_registry(state: StateDirectory) -> None:
    both = installed("shop", "tools")
    assert needed_by(state, leaving(state), both) is None
    assert needed_by(state, leaving(state, "", "oslo"), both) == ("other sites", "berlin")
    assert needed_by(state, leaving(state, "tools"), both) == ("sites", "berlin")
    nowhere = StateDirectory(state.root / "nowhere")
    assert needed_by(nowhere, leaving(nowhere, "shop"), both) == ("other bundles", "tools 1.0")
    assert needed_by(nowhere, leaving(nowhere, "shop"), installed("shop")) is None


def test_content_goes_when_no_site_has_the_bundle(state: StateDirectory) -> None:
    assert drops_content(state, leaving(state, "shop", "berlin"))
    assert not drops_content(state, leaving(state, "tools", "berlin"))
    assert drops_content(state, leaving(state, "tools"))
    assert not drops_content(state, leaving(state))


def test_an_unknown_bundle_is_refused_with_those_that_there_are(state: StateDirectory) -> None:
    for bundle in ("", "shop", "images"):
        check_bundle(leaving(state, bundle), installed("shop", "images"))
    with pytest.raises(UsageError, match="--bundle web: no such bundle was deployed at berlin, oslo") as caught:
        check_bundle(leaving(state, "web"), installed("images"))
    assert caught.value.hint == "bundles there: shop 1.0, tools 1.0, images 1.0"
    with pytest.raises(UsageError) as caught:
        check_bundle(Leaving([], bundle="web"), Installed())
    assert caught.value.hint == "bundles there: none"
