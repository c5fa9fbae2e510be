"""installer.site.bundle_part: what of a site goes with one bundle, and what others still need."""

from __future__ import annotations

from typing import Any

from airbundle.installer.journal import Entry
from airbundle.installer.site.bundle_part import bundle_part, needed_definitions
from airbundle.installer.site.deployment import DeployedRelease, Deployment

T = "2026-01-0{}T00:00:00Z"


def release(name: str, namespace: str, bundle: str, *objects: str, kind: str = "chart") -> DeployedRelease:
    return DeployedRelease(name, namespace, kind, "i", bundle=bundle, objects=objects)


def deployment(number: int, name: str, *releases: DeployedRelease) -> Deployment:
    return Deployment(number, name, "1", number, "s", T.format(number), True, releases=releases)


def entry(step: str, *undo: dict[str, str], day: int = 1) -> Entry:
    return Entry("r", step, "begin", T.format(day), {}, undo)


def space(name: str) -> dict[str, str]:
    return {"object": f"v1/Namespace//{name}"}


def made(kind: str, where: str) -> dict[str, str]:
    return {"object": f"v1/{kind}/{where}"}


WEB = release("web", "shop", "shop", "v1/ConfigMap/shop/web", "v1/ConfigMap/both/web")
GAUGE = release("gauge", "tools", "tools", "v1/ConfigMap/both/gauge")
ENTRIES = [
    entry("nodes/n1", {"node": "n1", "access": "local"}),
    entry("dns", {"restore": "v1/ConfigMap/kube-system/coredns", "file": "before/coredns.json"}),
    entry("trust", space("shop"), space("both"), made("ConfigMap", "shop/airbundle-ca")),
    entry("trust", made("ConfigMap", "tools/airbundle-ca"), {"file": "/state/page"}),
    entry("secrets", made("Secret", "shop/a"), made("Secret", "both/b")),
    entry("release/web", {"helm": "shop/web"}, made("ConfigMap", "both/web")),
    entry("release/gauge", space("tools"), {"helm": "tools/gauge"}, made("ConfigMap", "both/gauge"), day=2),
]


def part(*deployments: Deployment, bundle: str = "shop", entries: Any = ENTRIES) -> tuple[list[str], list[Any]]:
    found = bundle_part(deployments, entries, bundle)
    return [each.name for each in found.releases], list(found.actions)


def test_only_what_nothing_else_needs_goes() -> None:
    shop, tools = deployment(1, "shop", WEB), deployment(2, "tools", WEB, GAUGE)
    assert part(shop, tools) == (
        ["web"],
        [
            space("shop"),
            made("ConfigMap", "shop/airbundle-ca"),
            made("Secret", "shop/a"),
            {"helm": "shop/web"},
            made("ConfigMap", "both/web"),
        ],
    )
    names, actions = part(shop, tools, bundle="tools")
    assert names == ["gauge"]
    assert actions == [
        made("ConfigMap", "tools/airbundle-ca"),
        space("tools"),
        {"helm": "tools/gauge"},
        made("ConfigMap", "both/gauge"),
    ]


def test_a_release_that_passed_to_another_bundle_stays_with_it() -> None:
    moved = release("web", "shop", "tools", *WEB.objects)
    names, actions = part(deployment(1, "shop", WEB), deployment(2, "tools", moved, GAUGE))
    assert (names, actions) == ([], [])


def test_an_object_that_a_release_of_others_has_too_stays() -> None:
    shared = release("gauge", "tools", "tools", "v1/ConfigMap/both/web")
    _, actions = part(deployment(1, "shop", WEB), deployment(2, "tools", WEB, shared))
    assert made("ConfigMap", "both/web") not in actions and {"helm": "shop/web"} in actions


def test_a_release_that_never_came_up_is_of_the_bundle_that_was_deployed_then() -> None:
    entries = [entry("release/late", {"helm": "late/late"}, space("late"), day=3)]
    row = [deployment(1, "shop", WEB), deployment(2, "tools", WEB, GAUGE), deployment(3, "shop", WEB, GAUGE)]
    assert part(*row, entries=entries) == (["web"], [{"helm": "late/late"}, space("late")])
    assert part(*row, entries=entries, bundle="tools") == (["gauge"], [])
    assert part(entries=entries) == ([], [])


def test_the_issuer_goes_with_the_bundle_that_brought_cert_manager() -> None:
    brought = release("cert-manager", "cert-manager", "shop")
    issuer = [made("Secret", "cert-manager/airbundle-ca"), {"object": "cert-manager.io/v1/ClusterIssuer//airbundle-ca"}]
    entries = [entry("release/cert-manager", {"helm": "cert-manager/cert-manager"}), entry("trust/issuer", *issuer)]
    row = [deployment(1, "shop", brought), deployment(2, "tools", brought, GAUGE)]
    assert part(*row, entries=entries)[1] == [{"helm": "cert-manager/cert-manager"}, *issuer]
    assert part(*row, entries=entries, bundle="tools")[1] == []


def test_definitions_that_others_have_objects_of_are_told() -> None:
    definition = "apiextensions.k8s.io/v1/CustomResourceDefinition//certificates.cert-manager.io"
    brought = release("cert-manager", "cert-manager", "shop", definition)
    user = release("gauge", "tools", "tools", "cert-manager.io/v1/Certificate/tools/gauge", "v1/ConfigMap/tools/a")
    (finding,) = needed_definitions([brought], [("bundle tools", user)])
    assert finding.where == "release gauge of bundle tools"
    assert "Certificate tools/gauge would go with CustomResourceDefinition certificates" in finding.message
    assert list(needed_definitions([GAUGE], [("bundle tools", user)])) == []
