"""installer.site.release_apply: what somebody has edited by hand stops nothing that is only to be put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.deploy.desired import Desired
from airbundle.deploy.helm_marks import owned
from airbundle.deploy.objects import key_of
from airbundle.errors import Conflict
from airbundle.installer.site import release_apply
from airbundle.installer.site.drift import Drift
from airbundle.installer.site.release_apply import apply_definitions, apply_manifests, put_back

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "status": {"conditions": [{"type": "Established", "status": "True"}]},
}
THING: dict[str, Any] = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"name": "one", "namespace": "shop"},
}
OBJECTS = [Desired(key_of(body), body) for body in (DEFINITION, THING)]
Apply = Callable[..., None]


class Site:
    """A cluster that has the definition, and remembers what was applied and told."""

    def __init__(self, others: tuple[tuple[str, str], ...] | None, live: Mapping[str, Any] = DEFINITION) -> None:
        self.others = others
        self.live = live
        self.applied: list[str] = []
        self.told: list[str] = []
        self.run = cast(Any, SimpleNamespace(cluster=self, site_state=None, reporter=self))

    def apply(self, body: Mapping[str, Any], *, force: bool = False) -> bool:
        if self.others is not None and not force:
            raise Conflict(f"{body['kind']}: kubectl-edit sets it", fields=self.others)
        self.applied.append(f"{body['kind']}{' by force' if force else ''}")
        return True

    def get(self, _key: object) -> Mapping[str, Any]:
        return self.live

    def forget(self) -> None: ...

    def warn(self, message: str) -> None:
        self.told.append(message)


def material(chart: str = "") -> Any:
    release = SimpleNamespace(name="web")
    return SimpleNamespace(chart=chart, namespace="shop", release=release, running=OBJECTS, timeout=5.0)


@pytest.mark.parametrize("chart", ["", "web"])
@pytest.mark.parametrize("apply", [apply_definitions, apply_manifests])
def test_what_was_edited_stays_where_nobody_agrees_and_stops_nothing(apply: Apply, chart: str) -> None:
    site = Site((("kubectl-edit", ".spec"),))
    apply(site.run, cast(Any, site), material(chart), edited=True)
    (told,) = site.told
    assert told.endswith("sets it; it stays as it is: --yes puts it back")


@pytest.mark.parametrize("apply", [apply_definitions, apply_manifests])
def test_what_is_to_change_ends_where_nobody_agrees(apply: Apply) -> None:
    site = Site((("kubectl-edit", ".spec"),))
    with pytest.raises(Conflict):
        apply(site.run, cast(Any, site), material(), edited=False)


def test_what_is_another_release_is_not_said_to_be_put_back() -> None:
    site = Site(())
    apply_manifests(site.run, cast(Any, site), material(), edited=True)
    assert site.told == ["Thing: kubectl-edit sets it; it stays as it is"]


def test_each_object_is_applied_once_and_asked_for_once() -> None:
    site = Site(None)
    apply_definitions(site.run, cast(Any, site), material(), edited=False)
    apply_manifests(site.run, cast(Any, site), material(), edited=False)
    assert site.applied == ["CustomResourceDefinition", "Thing"]


def test_a_definition_that_helm_would_put_back_is_put_back() -> None:
    ours = owned(DEFINITION, "web", "shop")
    site = Site((("kubectl-edit", ".spec"),), ours)
    apply_definitions(site.run, cast(Any, site), material("web"), edited=True)
    assert (site.applied, site.told) == (["CustomResourceDefinition by force"], [])


def test_a_definition_that_is_nobodys_release_is_not_taken_over() -> None:
    site = Site((("kubectl", ".spec"),))
    with pytest.raises(Conflict):
        apply_definitions(site.run, cast(Any, site), material("web"), edited=False)


def test_what_helm_leaves_as_it_was_edited_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(())
    edited = [Drift(OBJECTS[0].key, gone=True), Drift(OBJECTS[1].key, wanted=THING)]
    monkeypatch.setattr(release_apply, "drifts", lambda *_: iter(edited))
    put_back(site.run, cast(Any, site), cast(Any, SimpleNamespace(name="web", namespace="shop")))
    assert site.applied == ["Thing by force"]
