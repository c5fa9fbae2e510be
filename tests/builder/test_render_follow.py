"""Objects of Flux and Argo CD are followed into what they deploy."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from airbundle.scan.model import Rendering
from tests.builder.rendering import POD, Kitchen, images
from tests.support.helm import package, write_chart

REPO = "https://charts.invalid/x"


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    """A kitchen whose charts come from a directory: shop 1.0.0 and 1.4.0."""
    for version in ("1.0.0", "1.4.0"):
        chart = write_chart(
            tmp_path / version,
            "shop",
            version,
            files={"templates/pod.yaml": POD, "big.yaml": "image: big:1\n", "notes": "a b c other"},
        )
        (chart / "values.yaml").write_text("image: default:1\n")
        package(chart, tmp_path / "packages", home=tmp_path / "helm")
    return Kitchen(tmp_path)


def flux(group: str, kind: str, name: str, spec: dict[str, Any], namespace: str = "apps") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{group}.toolkit.fluxcd.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def release(name: str = "web", **spec: Any) -> dict[str, Any]:
    reference = {"kind": "HelmRepository", "name": "repo"}
    chart = {"spec": {"chart": "shop", "version": "^1", "sourceRef": reference}}
    return flux("helm", "HelmRelease", name, {"chart": chart, **spec})


def repository(url: str = REPO, **spec: Any) -> dict[str, Any]:
    return flux("source", "HelmRepository", "repo", {"url": url, **spec})


def held(kind: str, name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "apps"}, "data": data}


def write(kitchen: Kitchen, *objects: dict[str, Any], listed: bool = True) -> None:
    """Write objects into the inventory's manifests; `listed`: the inventory has the chart that they deploy."""
    kitchen.write("manifests/all.yaml", "\n---\n".join(map(json.dumps, objects)))
    kitchen.fields["manifests"] = ["manifests"]
    kitchen.fields["charts"] = [{"name": "shop", "repo": REPO, "version": "1.4.0"}] if listed else []


def fine(kitchen: Kitchen, **options: Any) -> list[Rendering]:
    """Return what is deployed by objects; nothing else is wrong."""
    renderings = kitchen.fine(charts_from=kitchen.root / "packages", **options)
    return [rendering for rendering in renderings if " of " in rendering.origin.source]


def wrong(kitchen: Kitchen) -> str:
    _, findings = kitchen.render(charts_from=kitchen.root / "packages")
    assert len(findings) == 1, "\n".join(map(str, findings))
    return str(findings[0])


def test_a_helm_release_with_its_repository_and_values(kitchen: Kitchen) -> None:
    values = [
        {"kind": "ConfigMap", "name": "base"},
        {"kind": "Secret", "name": "more", "valuesKey": "x.yaml"},
        {"kind": "ConfigMap", "name": "tag", "valuesKey": "tag", "targetPath": "other.tag"},
        {"kind": "ConfigMap", "name": "gone", "optional": True},
    ]
    secret = base64.b64encode(b"b: 2\nc: 2\n").decode()
    write(
        kitchen,
        release(targetNamespace="there", releaseName="www", valuesFrom=values, values={"c": 3, "image": "own:3"}),
        repository(),
        held("ConfigMap", "base", {"values.yaml": "a: 1\nb: 1\nimage: base:1\n"}),
        held("Secret", "more", {"x.yaml": secret}),
        held("ConfigMap", "tag", {"tag": "v9"}),
    )
    (rendering,) = fine(kitchen)
    origin = rendering.origin
    assert origin.source == "chart shop 1.4.0 of HelmRelease apps/web"
    assert (origin.release, origin.namespace, origin.chart) == ("www", "there", "shop")
    assert images(rendering) == ["own:3"]
    assert rendering.values == {"image": "own:3", "a": 1, "b": 2, "c": 3, "other": {"tag": "v9"}}


def test_a_chart_that_objects_deploy_is_not_deployed_with_its_own_values(kitchen: Kitchen) -> None:
    write(kitchen, release(values={"image": "own:3"}), repository())
    found = [each for rendering in kitchen.fine(charts_from=kitchen.root / "packages") for each in images(rendering)]
    assert found == ["own:3"]


def test_releases_are_named_as_flux_does(kitchen: Kitchen) -> None:
    write(kitchen, release(), release("api", targetNamespace="there"), repository())
    assert [each.origin.release for each in fine(kitchen)] == ["web", "there-api"]


def test_values_files_inside_the_chart(kitchen: Kitchen) -> None:
    each = release()
    each["spec"]["chart"]["spec"]["valuesFiles"] = ["values.yaml", "big.yaml"]
    write(kitchen, each, repository())
    assert [images(rendering) for rendering in fine(kitchen)] == [["big:1"]]
    each["spec"]["chart"]["spec"]["valuesFiles"] = ["none.yaml"]
    write(kitchen, each, repository())
    assert "HelmRelease apps/web names the values file none.yaml, which the chart lacks" in wrong(kitchen)


def test_an_oci_source_by_its_tag(kitchen: Kitchen) -> None:
    source = flux("source", "OCIRepository", "oci", {"url": "oci://charts.invalid/x/shop", "ref": {"tag": "1.0.0"}})
    each = flux("helm", "HelmRelease", "web", {"chartRef": {"kind": "OCIRepository", "name": "oci"}})
    write(kitchen, each, source)
    kitchen.fields["charts"] = [{"name": "shop", "repo": "oci://charts.invalid/x", "version": "1.0.0"}]
    assert [rendering.origin.version for rendering in fine(kitchen)] == ["1.0.0"]


def test_a_helm_chart_object(kitchen: Kitchen) -> None:
    reference = {"kind": "HelmRepository", "name": "repo"}
    chart = flux("source", "HelmChart", "c", {"chart": "shop", "version": "1.4.0", "sourceRef": reference})
    each = flux("helm", "HelmRelease", "web", {"chartRef": {"kind": "HelmChart", "name": "c"}})
    write(kitchen, each, chart, repository())
    assert len(fine(kitchen)) == 1


def test_a_chart_that_the_inventory_lacks_is_rendered_and_told(kitchen: Kitchen) -> None:
    write(kitchen, release(), repository(), listed=False)
    said = wrong(kitchen)
    assert (
        "HelmRelease apps/web deploys the chart shop ^1 of https://charts.invalid/x, which the inventory lacks" in said
    )
    assert f"(add it to `charts`: {{name: shop, repo: '{REPO}', version: '^1'}})" in said


def test_a_repository_at_the_site_has_the_inventorys_charts(kitchen: Kitchen) -> None:
    write(kitchen, release(), repository("oci://{{ site.registry }}/charts.invalid/x", type="oci"))
    (rendering,) = fine(kitchen)
    assert rendering.origin.version == "1.4.0"
    site = kitchen.site("berlin", domain="berlin.test")
    assert [each.origin.variant for each in fine(kitchen, sites=[site])] == ["", "site berlin"]


NOT_FOLLOWED = [
    ([release()], "the chart 'shop' of HelmRepository apps/repo, which is not among the objects"),
    (
        [flux("helm", "HelmRelease", "web", {"chartRef": {"kind": "OCIRepository", "name": "none"}})],
        "OCIRepository apps/none is not among the objects",
    ),
    (
        [
            flux(
                "helm",
                "HelmRelease",
                "web",
                {"chart": {"spec": {"chart": "./far", "sourceRef": {"kind": "GitRepository", "name": "git"}}}},
            )
        ],
        "the chart './far' of GitRepository apps/git, which is not fetched",
    ),
    (
        [
            flux(
                "kustomize",
                "Kustomization",
                "all",
                {"path": "./far", "sourceRef": {"kind": "GitRepository", "name": "g"}},
            )
        ],
        "Kustomization apps/all deploys what is not looked at: 'far' of GitRepository apps/g, which is not fetched",
    ),
    (
        [release(valuesFrom=[{"kind": "ConfigMap", "name": "gone"}]), repository()],
        "HelmRelease apps/web takes values from ConfigMap apps/gone values.yaml, which is not among the objects",
    ),
    (
        [
            flux(
                "kustomize",
                "Kustomization",
                "all",
                {"path": "a\0b", "sourceRef": {"kind": "GitRepository", "name": "g"}},
            )
        ],
        "'a\\x00b' of GitRepository apps/g, which is not fetched",
    ),
    ([release(releaseName="--post-renderer=/bin/sh"), repository()], "has no legal form: shop ^1 of https://charts"),
    ([release(targetNamespace="-x"), repository()], "has no legal form"),
    ([release(), repository("file:///etc")], "has no legal form"),
    ([release(), repository("https://user:secret@charts.invalid/x")], "of https://…@charts.invalid/x, release 'web'"),
    (
        [
            flux(
                "helm",
                "HelmRelease",
                "web",
                {"chart": {"spec": {"chart": "/etc", "sourceRef": {"kind": "GitRepository", "name": "git"}}}},
            )
        ],
        "the chart '/etc' of GitRepository apps/git, which is not fetched",
    ),
    (
        [{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": {"name": "x"}}],
        "an ApplicationSet makes its Applications in the cluster",
    ),
]


@pytest.mark.parametrize(("objects", "said"), NOT_FOLLOWED, ids=[said[:30] for _, said in NOT_FOLLOWED])
def test_what_cannot_be_followed_is_told(kitchen: Kitchen, objects: list[dict[str, Any]], said: str) -> None:
    write(kitchen, *objects)
    assert said in wrong(kitchen)


def test_a_kustomization_of_manifests_beside_the_inventory(kitchen: Kitchen) -> None:
    pod = {"kind": "Pod", "spec": {"containers": [{"image": "${image:=none:1}"}, {"image": "${other:=none:2}"}]}}
    kitchen.write("apps/pod.yaml", json.dumps(pod))
    spec = {
        "path": "./apps",
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
        "targetNamespace": "there",
        "postBuild": {"substitute": {"image": "set:1"}},
    }
    write(kitchen, flux("kustomize", "Kustomization", "all", spec), listed=False)
    (rendering,) = fine(kitchen)
    assert images(rendering) == ["set:1", "none:2"]
    assert rendering.origin.source == "apps/pod.yaml of Kustomization apps/all"
    assert rendering.origin.namespace == "there"


def test_circles_and_depth_have_an_end(kitchen: Kitchen) -> None:
    def link(path: str, name: str) -> dict[str, Any]:
        return flux(
            "kustomize", "Kustomization", name, {"path": path, "sourceRef": {"kind": "GitRepository", "name": "g"}}
        )

    kitchen.write("one/a.yaml", json.dumps(link("two", "b")))
    kitchen.write("two/b.yaml", json.dumps(link("one", "a")))
    write(kitchen, link("one", "a"), listed=False)
    assert len(fine(kitchen)) == 2
    for number in range(9):
        kitchen.write(f"d{number}/x.yaml", json.dumps(link(f"d{number + 1}", f"k{number}")))
    kitchen.write("d9/x.yaml", "kind: A\n")
    write(kitchen, link("d0", "start"), listed=False)
    assert "objects that deploy each other are not followed further than 5 deep" in wrong(kitchen)


def application(**source: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "web", "namespace": "argocd"},
        "spec": {"destination": {"namespace": "there"}, "source": source},
    }


def test_an_argo_application(kitchen: Kitchen) -> None:
    helm = {
        "releaseName": "www",
        "values": "image: written:1\nother: {x: 1}\n",
        "parameters": [{"name": "image", "value": "set:2"}, {"name": "other.y", "value": "true"}],
    }
    write(kitchen, application(repoURL=REPO, chart="shop", targetRevision="1.4.0", helm=helm))
    (rendering,) = fine(kitchen)
    assert rendering.origin.source == "chart shop 1.4.0 of Application argocd/web"
    assert (rendering.origin.release, rendering.origin.namespace) == ("www", "there")
    assert rendering.values == {"image": "set:2", "other": {"x": 1, "y": True}}


PARAMETERS = [("0", 0), ("-3", -3), ("--5", "--5"), ("\u00b2", "\u00b2"), ("007", "007"), ("9" * 40, "9" * 40)]


@pytest.mark.parametrize(("written", "meant"), PARAMETERS, ids=ascii)
def test_a_parameter_is_a_number_where_helm_takes_it_for_one(kitchen: Kitchen, written: str, meant: object) -> None:
    helm = {"parameters": [{"name": "other.y", "value": written}]}
    write(kitchen, application(repoURL=REPO, chart="shop", targetRevision="1.4.0", helm=helm))
    (rendering,) = fine(kitchen)
    assert rendering.values["other"]["y"] == meant


def test_a_parameter_that_is_set_too_deep(kitchen: Kitchen) -> None:
    helm = {"parameters": [{"name": "a." * 50_000 + "b", "value": "1"}]}
    write(kitchen, application(repoURL=REPO, chart="shop", targetRevision="1.4.0", helm=helm), listed=False)
    assert "a value is set too deep; found 50001; expected 100 at most" in wrong(kitchen)


def test_an_argo_application_with_several_sources(kitchen: Kitchen) -> None:
    each = application()
    each["spec"]["sources"] = [
        {
            "repoURL": "charts.invalid/x",
            "chart": "shop",
            "targetRevision": "1.4.0",
            "helm": {"valueFiles": ["$git/v.yaml"]},
        },
        {"repoURL": "https://git.invalid/x", "ref": "git"},
        {"repoURL": "https://git.invalid/x", "path": "apps"},
    ]
    del each["spec"]["source"]
    kitchen.write("apps/pod.yaml", '{"kind": "Pod", "spec": {"containers": [{"image": "beside:1"}]}}')
    write(kitchen, each)
    kitchen.fields["charts"] = [{"name": "shop", "repo": "oci://charts.invalid/x", "version": "1.4.0"}]
    renderings, findings = kitchen.render(charts_from=kitchen.root / "packages")
    assert [images(rendering) for rendering in renderings if " of " in rendering.origin.source] == [
        ["default:1"],
        ["beside:1"],
    ]
    assert [finding.code for finding in findings] == ["not-followed"]
    assert "its values file $git/v.yaml" in str(findings[0])


def test_a_chart_beside_the_inventory(kitchen: Kitchen) -> None:
    kitchen.chart("mine", {"templates/pod.yaml": POD, "values.yaml": "image: mine:1\n"})
    write(kitchen, application(repoURL="https://git.invalid/x", path="charts/mine"), listed=False)
    assert [images(rendering) for rendering in fine(kitchen)] == [["mine:1"]]


def test_objects_in_charts_are_followed_too(kitchen: Kitchen) -> None:
    kitchen.chart(
        "apps",
        {
            "templates/r.yaml": json.dumps(release(values={"image": "deep:1"})),
            "templates/s.yaml": json.dumps(repository()),
        },
    )
    kitchen.fields["charts"] = [
        {"name": "apps", "path": "charts/apps", "release": {"name": "apps"}},
        {"name": "shop", "repo": REPO, "version": "1.4.0"},
    ]
    assert [images(rendering) for rendering in fine(kitchen)] == [["deep:1"]]
