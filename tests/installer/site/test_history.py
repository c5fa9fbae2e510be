"""installer.site.history: the bundles of a site keep apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from airbundle.errors import UsageError
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.history import (
    UNINSTALLED,
    bundles_at,
    choose_bundle,
    failed_since,
    history_of,
    needed_at,
    never_up,
)


def release(name: str, bundle: str, revision: int = 1) -> DeployedRelease:
    return DeployedRelease(name, "ns", "chart", "i", revision, bundle=bundle)


def deployment(number: int, name: str, version: str, *releases: DeployedRelease, **more: Any) -> Deployment:
    given = {"complete": True, **more}
    return Deployment(number, name, version, number, f"sha256:{number}", "2026", releases=releases, **given)


WEB, GAUGE = release("web", "shop"), release("gauge", "tools")
SHOP, NEWER = deployment(1, "shop", "1.0", WEB), deployment(2, "shop", "1.1", release("web", "shop", 2))
TOOLS = deployment(3, "tools", "9", release("web", "shop", 2), GAUGE)


def test_each_bundle_has_a_history_of_its_own() -> None:
    own = history_of([SHOP, NEWER, TOOLS], "shop")
    assert [(each.number, each.version) for each in own] == [(1, "1.0"), (2, "1.1")]
    assert history_of([SHOP, NEWER, TOOLS], "tools") == [replace(TOOLS, releases=(GAUGE,))]
    assert history_of([SHOP], "tools") == [] and history_of([], "shop") == []


def test_what_is_up_of_a_bundle_is_what_the_newest_deployment_says() -> None:
    moved = deployment(3, "tools", "9", release("web", "shop", 7), GAUGE)
    one, two = history_of([SHOP, NEWER, moved], "shop")
    assert (one.releases, two.releases) == ((WEB,), (release("web", "shop", 7),))


IMAGES = deployment(4, "images", "1", WEB)
GONE = deployment(4, "tools", "9", WEB)


@pytest.mark.parametrize(
    ("deployments", "there"),
    [
        ([SHOP], ["shop"]),
        ([SHOP, NEWER, TOOLS], ["shop", "tools"]),
        ([SHOP, TOOLS, IMAGES], ["shop", "images"]),  # one without releases is there; tools' were taken away
        ([SHOP, TOOLS, GONE], ["shop"]),
        ([SHOP, TOOLS, replace(GONE, complete=False)], ["shop", "tools"]),  # cut off: who knows
        ([SHOP, deployment(2, "shop", "1.1")], ["shop"]),
        ([], []),
    ],
)
def test_which_bundles_are_there(deployments: Sequence[Deployment], there: list[str]) -> None:
    assert [each.name for each in bundles_at(deployments)] == there


def test_which_bundle_is_meant() -> None:
    assert choose_bundle([SHOP, NEWER], "", "berlin") == "shop"
    assert choose_bundle([SHOP, TOOLS], "tools", "berlin") == "tools"
    assert choose_bundle([SHOP, TOOLS, GONE], "", "berlin") == "shop"
    with pytest.raises(UsageError, match=r"which bundle\? berlin has shop 1.1, tools 9") as caught:
        choose_bundle([SHOP, NEWER, TOOLS], "", "berlin")
    assert "--bundle NAME" in caught.value.hint
    with pytest.raises(UsageError, match="no such bundle") as caught:
        choose_bundle([SHOP], "tools", "berlin")
    assert "shop 1.0" in caught.value.hint
    with pytest.raises(UsageError, match="nothing was deployed"):
        choose_bundle([], "shop", "berlin")


FAILED = deployment(3, "shop", "1.2", WEB, complete=False)
BACK = replace(NEWER, number=4)
AHEAD = deployment(5, "shop", "1.3", WEB, complete=False, who={"rollback": 1, "rollback-from": 4})


def test_what_was_tried_and_never_came_up() -> None:
    assert never_up([[SHOP, NEWER, FAILED, BACK]]) == {FAILED.statement}
    assert never_up([[SHOP, NEWER, FAILED], [replace(FAILED, complete=True)]]) == frozenset()  # it is up elsewhere
    assert never_up([]) == frozenset()


def test_what_a_site_needs_now() -> None:
    up, was = "up at berlin", "was up at berlin before the run that did not come to its end"
    assert needed_at([], "berlin") == {}
    assert needed_at([SHOP, NEWER, FAILED, BACK], "berlin") == {NEWER.statement: up}
    assert needed_at([SHOP, NEWER, FAILED], "berlin") == {FAILED.statement: up, NEWER.statement: was}
    assert needed_at([SHOP, TOOLS, IMAGES], "berlin") == {SHOP.statement: up, IMAGES.statement: up}
    # A rollback that was cut off: what it began from says what is to be restored.
    begun = [SHOP, NEWER, FAILED, replace(FAILED, number=4, statement="sha256:4"), AHEAD]
    assert needed_at(begun, "berlin") == {AHEAD.statement: up, NEWER.statement: was, "sha256:4": was}


PARTIAL = deployment(4, "shop", "1.3", WEB, complete=False)
BY_ITSELF = replace(BACK, who={"rollback": 2})


@pytest.mark.parametrize(
    ("deployments", "failed"),
    [
        ([SHOP, NEWER], None),
        ([SHOP, NEWER, FAILED], None),  # nobody has gone back yet: that is off, and told as such
        ([SHOP, NEWER, FAILED, BY_ITSELF], FAILED),
        ([SHOP, NEWER, FAILED, PARTIAL, replace(BY_ITSELF, number=5)], PARTIAL),
        ([SHOP, NEWER, FAILED, replace(BY_ITSELF, complete=False)], None),
        ([SHOP, NEWER, FAILED, BY_ITSELF, deployment(5, "shop", "1.3", WEB)], None),
        ([SHOP, NEWER, replace(SHOP, number=3, who={"rollback": 1})], None),  # 1.1 was up
        ([SHOP, NEWER, FAILED, BY_ITSELF, replace(SHOP, number=5, who={"rollback": 1})], FAILED),
        ([SHOP, FAILED, replace(TOOLS, number=4), replace(BY_ITSELF, number=5)], FAILED),
        ([], None),
    ],
)
def test_the_newest_install_that_failed_and_was_gone_back_from(
    deployments: Sequence[Deployment], failed: Deployment | None
) -> None:
    assert failed_since(deployments, "shop") is failed
    assert failed_since(deployments, "tools") is None


def test_an_uninstalled_bundle_begins_anew() -> None:
    ended = replace(SHOP, who={UNINSTALLED: "yes"}, releases=())
    tools = deployment(2, "tools", "9", GAUGE)
    again = deployment(3, "shop", "1.0", GAUGE, WEB)
    assert history_of([ended, tools], "shop") == []
    assert [each.name for each in bundles_at([ended, tools])] == ["tools"]
    assert [each.number for each in history_of([ended, tools, again], "shop")] == [3]
    assert [each.name for each in bundles_at([ended, tools, again])] == ["tools", "shop"]
    # Also one that has images alone, and one that never came up.
    alone = replace(IMAGES, who={UNINSTALLED: "yes"}, releases=())
    assert [each.name for each in bundles_at([tools, alone, replace(alone, name="x", complete=False)])] == ["tools"]
