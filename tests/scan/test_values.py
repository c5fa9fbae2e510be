"""Values and images: spellings put together, parts that are off, and which value makes what a render has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.reference import parse_reference
from airbundle.scan.model import Origin, Place, Rendering, Sighting
from airbundle.scan.value_images import spelled_images
from airbundle.scan.values import explain, images_in_values

DIGEST = "sha256:" + "0123456789abcdef" * 4
ORIGIN = Origin("chart app 1.0.0", release="app", namespace="apps", chart="app", version="1.0.0", app_version="2.5.0")


def rendering(values: dict[str, Any], output: str = "") -> Rendering:
    return Rendering(ORIGIN, output.encode(), values, values)


def seen(
    image: str, *, template: str = "app/templates/deployment.yaml", object_: str = "Deployment apps/app"
) -> Sighting:
    place = Place(ORIGIN, template, object_, "spec.template.spec.containers[0].image")
    return Sighting(parse_reference(image), image, "certain", "container", place)


def found(values: dict[str, Any], output: str = "") -> list[tuple[str, str, str]]:
    return [(str(s.image), s.certainty, s.place.values_key) for s in images_in_values(rendering(values, output))]


SPELLINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"image": "quay.io/a/b:1"}, "quay.io/a/b:1", "image"),
    ({"image": {"repository": "quay.io/a/b", "tag": "1"}}, "quay.io/a/b:1", "image.repository, image.tag"),
    (
        {"image": {"registry": "quay.io", "repository": "a/b", "tag": "1"}},
        "quay.io/a/b:1",
        "image.registry, image.repository, image.tag",
    ),
    (
        {"image": {"registry": "quay.io", "image": "a/b", "tag": "1", "digest": DIGEST}},
        f"quay.io/a/b:1@{DIGEST}",
        "image.registry, image.image, image.tag, image.digest",
    ),
    (
        {"thanosImage": {"registry": "quay.io", "repository": "thanos/thanos", "tag": "v1", "sha": DIGEST[7:]}},
        f"quay.io/thanos/thanos:v1@{DIGEST}",
        "thanosImage.registry, thanosImage.repository, thanosImage.tag, thanosImage.sha",
    ),
    (
        {"imageRegistry": "quay.io", "imageNamespace": "jetstack", "webhook": {"image": {"name": "hook", "tag": "v1"}}},
        "quay.io/jetstack/hook:v1",
        "imageRegistry, imageNamespace, webhook.image.name, webhook.image.tag",
    ),
    ({"controller": {"image": "ghcr.io/a/b", "tag": "v3"}}, "ghcr.io/a/b:v3", "controller.image, controller.tag"),
    ({"initImage": "busybox", "initImageTag": 1.36}, "docker.io/library/busybox:1.36", "initImage, initImageTag"),
    (
        {"sidecarRepository": "quay.io/a/side", "sidecarTag": "7"},
        "quay.io/a/side:7",
        "sidecarRepository, sidecarTag",
    ),
    (
        {"global": {"imageRegistry": "mirror.test"}, "image": {"registry": "quay.io", "repository": "a/b", "tag": "1"}},
        "mirror.test/a/b:1",
        "global.imageRegistry, image.repository, image.tag",
    ),
    ({"global": {"hub": "docker.io/istio", "tag": "1.2"}, "pilot": {"image": "pilot"}}, "docker.io/istio/pilot:1.2",
     "global.hub, pilot.image, global.tag"),
    ({"image": {"host": "quay.io", "org": "a", "name": "b", "version": "1"}}, "quay.io/a/b:1",
     "image.host, image.org, image.name, image.version"),
    ({"images": {"agent": "quay.io/a/agent:2"}}, "quay.io/a/agent:2", "images.agent"),
    ({"images": {"agent": {"repository": "quay.io/a/agent", "tag": "2"}}}, "quay.io/a/agent:2",
     "images.agent.repository, images.agent.tag"),
    ({"images": ["quay.io/a/agent:2"]}, "quay.io/a/agent:2", "images[0]"),
    ({"sidecars": [{"name": "x", "image": "a/x:1"}]}, "docker.io/a/x:1", "sidecars[0].image"),
    ({"extraArgs": ["--default=quay.io/a/b:7"]}, "quay.io/a/b:7", "extraArgs[0]"),
    ({"extra": "containers:\n  - name: x\n    image: a/x:1\n"}, "docker.io/a/x:1", "extra"),
    ({"image": {"repository": "quay.io/a/b", "tag": f"1@{DIGEST}"}}, f"quay.io/a/b:1@{DIGEST}",
     "image.repository, image.tag"),
    ({"a.b": {"image": "quay.io/a/b:1"}}, "quay.io/a/b:1", "a\\.b.image"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "image", "key"), SPELLINGS)
def test_spellings(values: dict[str, Any], image: str, key: str) -> None:
    assert found(values) == [(image, "likely", key)]


@pytest.mark.parametrize(("values", "image", "key"), SPELLINGS)
def test_spellings_explain_what_the_render_has(values: dict[str, Any], image: str, key: str) -> None:
    (sighting,) = explain([seen(image)], rendering(values))
    assert sighting.place.values_key == key


@pytest.mark.parametrize(("values", "image", "key"), SPELLINGS)
def test_what_is_in_the_render_is_no_second_entry(values: dict[str, Any], image: str, key: str) -> None:
    written = image.replace("docker.io/library/", "").replace("docker.io/", "")
    assert found(values, f'      - image: "{written}"\n') == []
    assert found(values, f"      - image: {image}\n") == []


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"repository": "", "tag": "1"}},
        {"image": {"pullPolicy": "Always"}},
        {"image": "{{ .Values.other }}"},
        {"image": True},
        {"backgroundImage": "none"},
        {"repository": "https://charts.example.com/x"},
        {"gitRepo": "a/b"},
        {"url": "https://quay.io/a/b:1"},
        {"registry": "quay.io"},
        {"image": {"repository": "Not An Image", "tag": "1"}},
        {"serviceAccount": {"name": "x"}, "metrics": {"tag": "x"}},
    ],
)
def test_no_images(values: dict[str, Any]) -> None:
    assert found(values) == []


@pytest.mark.parametrize(
    "off",
    [
        {"metrics": {"enabled": False, "image": "a/b:1"}},
        {"metrics": {"enabled": "false", "deep": {"er": {"image": "a/b:1"}}}},
        {"metrics": {"create": False, "image": "a/b:1"}},
        {"metrics": {"replicas": 0, "image": "a/b:1"}},
        {"metrics": {"replicaCount": 0, "image": "a/b:1"}},
        {"metricsEnabled": False, "metrics": {"image": "a/b:1"}},
        {"enableMetrics": False, "metricsImage": "a/b:1"},
        {"metrics": {"enabled": False, "list": [{"image": "a/b:1"}]}},
    ],
)
def test_parts_that_are_off_are_decoys(off: dict[str, Any]) -> None:
    (sighting,) = images_in_values(rendering(off))
    assert (str(sighting.image), sighting.certainty) == ("docker.io/a/b:1", "decoy")
    assert sighting.evidence == "values of a disabled part"


def test_a_part_that_is_on_is_likely() -> None:
    values = {"metrics": {"enabled": True, "image": "a/b:1"}, "other": {"enabled": False}}
    assert found(values) == [("docker.io/a/b:1", "likely", "metrics.image")]


@pytest.mark.parametrize(
    ("output", "tag"),
    [("", "2.5.0"), ("image: other:v2.5.0", "v2.5.0"), ("image: other:2.5.0", "2.5.0")],
)
def test_without_a_tag_it_is_the_charts_app_version(output: str, tag: str) -> None:
    assert found({"image": {"repository": "a/b", "tag": ""}}, output) == [
        (f"docker.io/a/b:{tag}", "likely", "image.repository")
    ]


def test_the_app_version_of_a_subchart_is_its_own() -> None:
    sub = {"nameOverride": "", "fullnameOverride": "", "image": {"repository": "a/b"}}
    assert found({"sub": sub}) == []  # nothing tells its version
    output = '# Source: app/charts/sub/templates/x.yaml\n  labels:\n    app.kubernetes.io/version: "9.1"\n'
    assert found({"sub": sub}, output) == [("docker.io/a/b:9.1", "likely", "sub.image.repository")]


@pytest.mark.parametrize("tag", ["1.2", "v1.2", "1.2-alpine", "v1.2-debian-12", f"1.2@{DIGEST}"])
def test_a_tag_with_something_added_is_the_same_image(tag: str) -> None:
    values = {"image": {"repository": "quay.io/a/b", "tag": "1.2"}}
    assert found(values, f"image: quay.io/a/b:{tag}\n") == []
    assert explain([seen(f"quay.io/a/b:{tag}")], rendering(values))[0].place.values_key == "image.repository, image.tag"


def test_another_tag_is_another_image() -> None:
    values = {"image": {"repository": "busybox", "tag": "1.31"}}
    assert found(values, "image: busybox:1.36\nimage: my-busybox:1.31\nimage: busybox/x:1.31") == [
        ("docker.io/library/busybox:1.31", "likely", "image.repository, image.tag")
    ]


def test_the_nearest_values_explain_an_image() -> None:
    part = {"repository": "quay.io/a/b", "tag": "1"}
    values = {"image": part, "backend": {"image": part}, "sub": {"image": part, "job": {"image": part}}}
    output = "# Source: app/charts/sub/templates/deployment.yaml\n"
    places = [
        seen("quay.io/a/b:1"),
        seen("quay.io/a/b:1", object_="Deployment apps/app-backend"),
        seen("quay.io/a/b:1", template="app/charts/sub/templates/deployment.yaml"),
        seen("quay.io/a/b:1", template="app/charts/sub/templates/job.yaml", object_="Job apps/sub-job"),
    ]
    keys = [s.place.values_key.partition(",")[0] for s in explain(places, rendering(values, output))]
    assert keys == ["image.repository", "backend.image.repository", "sub.image.repository", "sub.job.image.repository"]


def test_only_sightings_of_this_rendering_are_explained() -> None:
    values = {"image": {"repository": "quay.io/a/b", "tag": "1"}}
    other = seen("quay.io/a/b:1").at(origin=Origin("chart other 1"))
    known = seen("quay.io/a/b:1").at(values_key="known")
    unknown = seen("quay.io/a/c:1")
    assert explain([other, known, unknown], rendering(values)) == [other, known, unknown]


def test_a_tag_from_elsewhere_leaves_the_repository_explained() -> None:
    values = {"image": {"registry": "quay.io", "repository": "a/b"}}
    (sighting,) = explain([seen("quay.io/a/b:v2.5.0")], rendering(values))
    assert sighting.place.values_key == "image.registry, image.repository"


def test_values_that_unfold_without_end_are_bounded() -> None:
    knot: dict[str, Any] = {"image": "a/b:1"}
    knot["again"] = knot
    assert len(spelled_images(knot)) <= 100
    wide: Any = ["a"] * 10
    for _ in range(12):
        wide = [wide] * 10
    assert spelled_images({"wide": wide}) == []


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=30))
KEYS = ["image", "repository", "tag", "registry", "digest", "enabled", "images", "global", "name"]
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=8))
trees = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5))
)


@given(st.dictionaries(keys, trees, max_size=6), st.binary(max_size=100))
def test_any_values_are_read(values: dict[str, Any], output: bytes) -> None:
    whole = Rendering(ORIGIN, output, values, values)
    sightings = images_in_values(whole)
    assert explain(sightings, whole) == sightings
