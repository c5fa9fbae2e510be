"""What releases bring and use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airbundle.deploy.brings import crd_provider, namespaces_of
from airbundle.deploy.wanted import WantedRelease
from airbundle.scan.model import Manifest, Origin


def release(name: str, namespace: str, *bodies: Mapping[str, Any], chart: str = "") -> WantedRelease:
    origin = Origin("x", name, namespace)
    return WantedRelease(name, namespace, tuple(Manifest(origin, body) for body in bodies), chart=chart)


def crd(group: str, kind: str) -> dict[str, Any]:
    return {"kind": "CustomResourceDefinition", "spec": {"group": group, "names": {"kind": kind}}}


def test_the_first_release_with_the_definition_brings_it() -> None:
    releases = [
        release("base", "", {"kind": "ConfigMap"}, crd("other.io", "ClusterIssuer")),
        release("cert-manager", "cm", crd("cert-manager.io", "Certificate"), crd("cert-manager.io", "X")),
        release("later", "cm", crd("cert-manager.io", "X")),
    ]
    assert crd_provider(releases, "cert-manager.io", "X") == "cert-manager"
    assert crd_provider(releases, "cert-manager.io", "ClusterIssuer") == ""
    assert crd_provider([], "cert-manager.io", "X") == ""


@pytest.mark.parametrize("spec", [None, [], {"group": "g"}, {"group": "g", "names": "K"}, {"names": {"kind": "K"}}])
def test_what_is_no_definition_brings_nothing(spec: object) -> None:
    assert crd_provider([release("a", "", {"kind": "CustomResourceDefinition", "spec": spec})], "g", "K") == ""


def test_namespaces_are_those_of_releases_and_of_their_objects() -> None:
    releases = [
        release("base", "", {"kind": "Namespace", "metadata": {"name": "made"}}),
        release(
            "app",
            "shop",
            {"kind": "Namespace", "metadata": {"name": "chart-made"}},
            {"kind": "Deployment", "metadata": {"name": "x", "namespace": "elsewhere"}},
            {"kind": "Deployment", "metadata": {"name": "y"}},
            {"kind": "ClusterRole", "metadata": {"name": "z", "namespace": "ignored"}},
            chart="charts/app",
        ),
    ]
    found = namespaces_of(releases)
    assert list(found) == ["chart-made", "default", "elsewhere", "made", "shop"]
    assert {name for name, metadata in found.items() if metadata} == {"chart-made"}
    assert found["chart-made"]["annotations"] == {
        "meta.helm.sh/release-name": "app",
        "meta.helm.sh/release-namespace": "shop",
    }
