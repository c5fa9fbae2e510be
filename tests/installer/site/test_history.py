"""installer.site.history: the bundles of a site keep apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from airbundle.errors import UsageError
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.history import bundles_at, choose_bundle, history_of


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
