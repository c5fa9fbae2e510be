"""installer.site.release_plan: what would change, and which of it somebody else has set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.deploy.desired import Desired
from airbundle.deploy.helm_marks import owned
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import Conflict, Refused
from airbundle.installer.site.put import change_of
from airbundle.installer.site.release_plan import planned_changes
from airbundle.installer.site.step import Change

BY_HAND = (("kubectl-edit", ".data.greeting"),)
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "shop"},
    "data": {"greeting": "hello"},
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "data": {"greeting": "hello"},
}


class Cluster:
    """Answers as the API does for one object that has `greeting` from somebody else."""

    def __init__(self, live: Mapping[str, Any], others: Sequence[tuple[str, str]] = BY_HAND) -> None:
        self.live = {**live, "metadata": {**live["metadata"], "uid": "1"}, "data": {"greeting": "by hand"}}
        self.others = others

    def get(self, _key: ObjectKey) -> Mapping[str, Any]:
        return self.live

    def apply(self, body: Mapping[str, Any], *, force: bool = False, dry_run: bool = False) -> Mapping[str, Any]:
        assert dry_run
        if self.others and not force:
            raise Conflict("somebody sets it", fields=self.others)
        return {**self.live, "data": body["data"]}


def planned(cluster: Cluster, body: dict[str, Any], *, chart: str = "", apart: bool = False) -> list[Change]:
    release = SimpleNamespace(name="web")
    material = SimpleNamespace(
        chart=chart, namespace="shop", release=release, running=[Desired(key_of(body), body, apart=apart)]
    )
    return list(planned_changes(cast(Any, cluster), cast(Any, material), {}))


@pytest.mark.parametrize(("body", "chart"), [(CONFIG, ""), (DEFINITION, ""), (DEFINITION, "web")])
def test_a_field_that_somebody_else_has_set_says_so_where_an_install_asks(body: dict[str, Any], chart: str) -> None:
    (change,) = planned(Cluster(body), body, chart=chart)
    assert (change.action, change.set_by, change.then) == ("change", BY_HAND, "asks")
    assert "-  greeting: by hand\n+  greeting: hello" in change.diff


@pytest.mark.parametrize("body", [CONFIG, DEFINITION])
def test_what_helm_writes_is_not_asked_for(body: dict[str, Any]) -> None:
    (change,) = planned(Cluster(owned(body, "web", "shop")), body, chart="web")
    assert (change.set_by, change.then) == ((), "")
    (change,) = planned(Cluster(owned(DEFINITION, "web", "shop")), DEFINITION, chart="web", apart=True)
    assert change.then == "asks"


def test_what_nobody_else_sets_is_an_ordinary_change() -> None:
    (change,) = planned(Cluster(CONFIG, ()), CONFIG)
    assert (change.set_by, change.then) == ((), "")
    assert "+  greeting: hello" in change.diff


def test_what_an_install_does_not_take_over_ends_it() -> None:
    run = cast(Any, SimpleNamespace(cluster=Cluster(CONFIG)))
    assert change_of(run, CONFIG) == [Change("ConfigMap shop/a", "change", set_by=BY_HAND, then="ends")]


def test_a_cluster_that_refuses_to_tell_leaves_the_plan_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(CONFIG)

    def refuse(*_: object, **__: object) -> None:
        raise Refused("no dry runs here", side="site", status=400)

    monkeypatch.setattr(cluster, "apply", refuse)
    run = cast(Any, SimpleNamespace(cluster=cluster))
    assert change_of(run, CONFIG) == [Change("ConfigMap shop/a", "change")]
    assert "no dry runs here" in planned(cluster, CONFIG)[0].diff
