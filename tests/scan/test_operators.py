"""What operators run by themselves, with objects written for these tests."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from airbundle.scan.knowledge import Knowledge, parse_knowledge
from airbundle.scan.model import Manifest, Origin, Scanned
from airbundle.scan.operators import ABSENT, BAD_IMAGE, UNKNOWN_VERSION, operator_images

KNOWLEDGE = parse_knowledge(
    b"""\
apiVersion: airbundle.dev/v1
kind: OperatorKnowledge
operators:
  - name: brewer
    repositories: [example/brewer]
    arguments: [controller]
    images:
      - name: kettle
        resources: [brew.example.org/Beer]
        lacks: [spec.catalog]
        set:
          - field: spec.image
          - env: KETTLE_IMAGE
          - {config: brewer.yaml, inside: images.kettle}
        defaults:
          - {versions: 2.0.0 - 2.1.0, image: example/kettle:2}
          - {versions: 1.x, image: "example/kettle:v{version}"}
      - name: foam
        resources: [brew.example.org/Beer]
        has: [spec.foam]
        set:
          - {field: spec.foam.base, part: repository}
          - {flag: foam-base, part: repository}
          - {field: spec.foam.sha, part: sha}
          - {field: spec.foam.version, part: tag}
        defaults:
          - {versions: 1.x || 2.x, image: quay.io/example/foam:1}
      - name: helper
        set: [{flag: helper-image}]
        defaults: [{versions: "*", image: example/helper:3}]
        certain: false
      - name: cleaner
        defaults: [{versions: "*", image: example/cleaner:3}]
""",
    "knowledge.yaml",
)
CHART = Origin("chart brewer 1.0.0", release="brewer", namespace="ops", app_version="2.0.0")
OTHER = Origin("chart beers 1.0.0", release="beers", namespace="pub")


def brewer(image: str = "mirror.local:5000/x/example/brewer:v2.0.1", **container: Any) -> Manifest:
    container = {"name": "brewer", "image": image, "args": ["controller"], **container}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "brewer"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "example/side:1"}, container]}}},
    }
    return Manifest(CHART, body, "brewer/templates/deployment.yaml")


def beer(name: str = "ale", **spec: Any) -> Manifest:
    return Manifest(
        OTHER, {"apiVersion": "brew.example.org/v1", "kind": "Beer", "metadata": {"name": name}, "spec": spec}
    )


def holder(kind: str, **texts: str) -> Manifest:
    return Manifest(CHART, {"apiVersion": "v1", "kind": kind, "metadata": {"name": "cfg"}, "data": texts})


def found(*manifests: Manifest, knowledge: Knowledge = KNOWLEDGE) -> Scanned:
    return operator_images(knowledge, manifests)


def images(scanned: Scanned, name: str) -> list[tuple[str, str]]:
    """Return (image, certainty) of the sightings of one entry."""
    mark = f"(knowledge: {name},"
    return [(str(one.image), one.certainty) for one in scanned.sightings if mark in one.evidence]


def test_a_resource_makes_the_default_certain() -> None:
    scanned = found(brewer(), beer())
    assert images(scanned, "kettle") == [("docker.io/example/kettle:2", "certain")]
    (kettle,) = [one for one in scanned.sightings if "kettle" in one.evidence]
    assert kettle.evidence == "operator brewer (knowledge: kettle, 2.0.0 - 2.1.0)"
    assert (kettle.place.origin, kettle.place.object, kettle.place.path) == (OTHER, "Beer pub/ale", "spec.image")
    assert not scanned.findings


def test_without_a_resource_it_is_likely_at_the_operator() -> None:
    scanned = found(brewer())
    assert images(scanned, "kettle") == [("docker.io/example/kettle:2", "likely")]
    place = scanned.sightings[0].place
    assert place.object == "Deployment ops/brewer"
    assert place.path == "spec.template.spec.containers[1].image"
    assert place.template == "brewer/templates/deployment.yaml"


def test_without_resources_in_the_entry_the_operator_is_enough() -> None:
    assert images(found(brewer()), "cleaner") == [("docker.io/example/cleaner:3", "certain")]


def test_what_no_render_decides_is_never_certain() -> None:
    assert images(found(brewer(args=["controller", "--helper-image=a/b:1"])), "helper") == [
        ("docker.io/a/b:1", "likely")
    ]


def test_each_resource_counts_for_itself() -> None:
    scanned = found(brewer(), beer("a", image="own/kettle:9"), beer("b"), beer("c", catalog="x"), beer("d", foam={}))
    assert images(scanned, "kettle") == [
        ("docker.io/own/kettle:9", "certain"),
        ("docker.io/example/kettle:2", "certain"),
        ("docker.io/example/kettle:2", "certain"),
    ]
    assert images(scanned, "foam") == [("quay.io/example/foam:1", "certain")]


@pytest.mark.parametrize(
    "said",
    [
        {"env": [{"name": "KETTLE_IMAGE", "value": "own/kettle:1"}]},
        {"env": [{"name": "HOST", "value": "own"}, {"name": "KETTLE_IMAGE", "value": "$(HOST)/kettle:1"}]},
        {"env": [{"name": "KETTLE_IMAGE", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "kettle"}}}]},
        {"envFrom": [{"prefix": "KETTLE_", "configMapRef": {"name": "cfg"}}]},
    ],
)
def test_the_environment_wins_over_the_default(said: dict[str, Any]) -> None:
    scanned = found(brewer(**said), holder("ConfigMap", kettle="own/kettle:1", IMAGE="own/kettle:1"), beer())
    assert images(scanned, "kettle") == [("docker.io/own/kettle:1", "certain")]
    assert "set by environment KETTLE_IMAGE" in scanned.sightings[0].evidence


def test_a_secret_may_hold_the_environment() -> None:
    variable = {"name": "KETTLE_IMAGE", "valueFrom": {"secretKeyRef": {"name": "cfg", "key": "k"}}}
    secret = holder("Secret", k=base64.b64encode(b"own/kettle:1\n").decode(), bytes="//79")
    assert images(found(brewer(env=[variable]), secret, beer()), "kettle") == [("docker.io/own/kettle:1", "certain")]


def test_a_configuration_file_may_set_it() -> None:
    config = holder("ConfigMap", **{"brewer.yaml": "images:\n  kettle: own/kettle:7\n"})
    assert images(found(brewer(), config, beer()), "kettle") == [("docker.io/own/kettle:7", "certain")]
    broken = holder("ConfigMap", **{"brewer.yaml": "images: {"})
    assert images(found(brewer(), broken, beer()), "kettle") == [("docker.io/example/kettle:2", "certain")]


@pytest.mark.parametrize(
    ("arguments", "foam", "image"),
    [
        (["--foam-base=own/foam"], {}, "docker.io/own/foam:1"),
        (["-foam-base", "own/foam"], {}, "docker.io/own/foam:1"),
        (["--foam-base=own/foam:5"], {"version": "v2"}, "docker.io/own/foam:5"),
        (["--foam-base=own/foam"], {"version": "v2"}, "docker.io/own/foam:v2"),
        (["--foam-base", "--other"], {"version": 3}, "quay.io/example/foam:3"),
        (["--foam-base=own/foam"], {"base": "their:5000/foam"}, "their:5000/foam:1"),
        ([], {"version": "their/foam:8"}, "docker.io/their/foam:8"),
        ([], {"sha": "0" * 64}, f"quay.io/example/foam@sha256:{'0' * 64}"),
    ],
)
def test_parts_are_laid_over_the_default(arguments: list[str], foam: dict[str, Any], image: str) -> None:
    scanned = found(brewer(args=["controller", *arguments]), beer(foam=foam))
    assert images(scanned, "foam") == [(image, "certain")]


@pytest.mark.parametrize(
    ("tag", "image"),
    [
        ("v1.4.2", "docker.io/example/kettle:v1.4.2"),
        ("1.4.2-ubi9", "docker.io/example/kettle:v1.4.2"),
        ("v2.1", "docker.io/example/kettle:2"),
    ],
)
def test_the_operators_version_is_that_of_its_tag(tag: str, image: str) -> None:
    assert images(found(brewer(f"example/brewer:{tag}"), beer()), "kettle") == [(image, "certain")]


def test_an_image_without_a_version_takes_the_charts() -> None:
    scanned = found(brewer(f"example/brewer@sha256:{'1' * 64}"), beer())
    assert images(scanned, "kettle") == [("docker.io/example/kettle:2", "certain")]


def test_an_unknown_version_is_told_and_guessed() -> None:
    scanned = found(brewer("example/brewer:2.5.0"), beer())
    assert images(scanned, "kettle") == [("docker.io/example/kettle:2", "likely")]
    (finding,) = scanned.findings
    assert finding.code == UNKNOWN_VERSION
    assert finding.severity == "warning"
    assert finding.found == "2.5.0"
    assert "2.0.0 - 2.1.0" in finding.expected
    assert "Deployment ops/brewer" in finding.where


def test_an_unknown_version_is_told_once_for_all_its_images() -> None:
    (finding,) = found(brewer("example/brewer:9.0.0"), beer(foam={})).findings
    assert "kettle of 2.0.0 - 2.1.0 with example/kettle:2; foam of 1.x || 2.x" in finding.expected


def test_an_absent_operator_is_told_once_for_each_resource() -> None:
    (finding,) = found(beer("a", foam={})).findings
    assert "(kettle, foam)" in finding.message


def test_a_version_that_can_not_be_told_gives_no_image_of_that_version() -> None:
    knowledge = parse_knowledge(
        b"""\
apiVersion: airbundle.dev/v1
kind: OperatorKnowledge
operators:
  - name: brewer
    repositories: [brewer]
    images: [{name: kettle, defaults: [{versions: ">=1.0.0", image: "example/kettle:v{version}"}]}]
""",
        "knowledge.yaml",
    )
    body = {"spec": {"containers": [{"image": "example/brewer:latest"}]}}
    scanned = operator_images(knowledge, [Manifest(OTHER, body)])
    assert not scanned.sightings
    assert "names no version" in scanned.findings[0].found


def test_an_unknown_version_does_not_matter_where_the_image_is_set() -> None:
    scanned = found(brewer("example/brewer:9.0.0"), beer(image="own/kettle:1"))
    assert images(scanned, "kettle") == [("docker.io/own/kettle:1", "certain")]
    assert not scanned.findings


@pytest.mark.parametrize("image", ["example/other-brewer:2.0.0", "example/brewer/web:2.0.0", "brewer:2.0.0"])
def test_other_images_are_not_the_operator(image: str) -> None:
    scanned = found(brewer(image))
    assert not scanned.sightings
    assert not scanned.findings


def test_an_argument_may_be_needed() -> None:
    assert not found(brewer(args=["web"])).sightings


def test_a_resource_whose_operator_is_nowhere_is_told() -> None:
    scanned = found(beer("a"), beer("b", image="own/kettle:1"), beer("c", catalog="x"))
    assert not scanned.sightings
    (finding,) = scanned.findings
    assert finding.code == ABSENT
    assert finding.where == "chart beers 1.0.0: Beer pub/a"
    assert "kettle" in finding.message


def test_a_setting_that_is_no_image_is_told() -> None:
    scanned = found(brewer(env=[{"name": "KETTLE_IMAGE", "value": "CHANGE TO/your:image"}]), beer())
    assert images(scanned, "kettle") == []
    assert [finding.code for finding in scanned.findings] == [BAD_IMAGE]


def test_the_same_again_is_told_once() -> None:
    once, twice = found(brewer(), beer()), found(brewer(), brewer(), beer(), beer())
    assert once == twice


def test_objects_of_any_shape_do_no_harm() -> None:
    odd: list[Any] = [
        {"apiVersion": "brew.example.org/v1", "kind": "Beer", "spec": "text"},
        {"kind": "ConfigMap", "metadata": [], "data": ["x"]},
        {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "%%%", "n": 5}},
        {"spec": {"containers": [None, {"image": 5}, {"image": "NOT AN IMAGE"}, {"image": "example/brewer:1.0.0"}]}},
        {"spec": {"containers": {"image": "example/brewer:1.0.0"}}},
        {"spec": {"containers": [{"image": "example/brewer:1.0.0", "args": "controller", "env": "x", "envFrom": [5]}]}},
    ]
    assert found(*(Manifest(CHART, body) for body in odd)).sightings == ()
