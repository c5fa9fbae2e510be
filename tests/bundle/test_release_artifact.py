"""Releases as artifacts: what is described comes back, and nothing else is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.clamav_artifact import FILE_TYPE, TITLE
from airbundle.bundle.inventory import ChartRequest, KubernetesTarget, ManifestRequest, parse_inventory
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import (
    FILES_LIMIT,
    CarriedRelease,
    describe_release,
    read_carried,
    release_layers,
    release_paths,
)
from airbundle.errors import VerificationError
from tests.bundle.documents import DIGEST, minimal

TARGET = KubernetesTarget("1.33", ("a/v1", "b/v1"))
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)
PATHS = st.from_regex(r"[a-zA-Z0-9_ äß.-]{0,8}[a-z]\.yaml", fullmatch=True)
CHECKS = st.sampled_from(
    [
        {"http": "https://x.test/{{ site.domain }}", "status": 204, "body": "fine", "timeout": "30s"},
        {"http": "https://x.test/"},
        {"tcp": "[::1]:80"},
        {"tls": "turn.{{ site.domain }}:5349", "days": 0},
        {"exec": {"pod": "app=web", "command": ["true", "{{ site.name }}"]}},
        {"sql": {"pod": "StatefulSet/db", "container": "postgres", "database": "app", "query": "select now()"}},
        {"redis": {"pod": "app=redis"}, "timeout": "1m"},
    ]
)
RELEASES = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "namespace": NAMES,
        "values": st.lists(PATHS, max_size=3),
        "timeout": st.sampled_from(["5m", "1h30m"]),
        "rollback": st.sampled_from(["ask", "auto", "never"]),
        "before": st.lists(PATHS, max_size=2),
        "restore": st.lists(PATHS, max_size=2),
        "checks": st.lists(CHECKS, max_size=3),
        "test": st.booleans(),
        "images": st.sampled_from(["pin", "keep-names"]),
        "enabled": st.booleans(),
    },
)
DEPLOYED = st.one_of(
    st.builds(lambda path: {"manifests": [{"path": path}]}, PATHS),
    st.builds(
        lambda variants: {"charts": [{"name": "c", "repo": "https://h.test", "version": "1.x", "variants": variants}]},
        st.dictionaries(NAMES, st.lists(PATHS, min_size=1, max_size=2), max_size=2),
    ),
)


def _request(release: dict[str, Any], deployed: dict[str, Any]) -> ChartRequest | ManifestRequest:
    ((kind, (entry,)),) = deployed.items()
    inventory = parse_inventory(minimal(**{kind: [{**entry, "release": release}]}))
    return inventory.charts[0] if inventory.charts else inventory.manifests[0]


def _layers(paths: list[str]) -> tuple[Descriptor, ...]:
    return release_layers({path: Descriptor("", DIGEST, 7) for path in paths})


@given(RELEASES, DEPLOYED)
def test_what_is_described_comes_back(release: dict[str, Any], deployed: dict[str, Any]) -> None:
    request = _request(release, deployed)
    paths = release_paths(request)
    carried = read_carried(describe_release(request, TARGET), _layers(paths), where="x")
    assert (carried.release, carried.kubernetes) == (request.release, TARGET)
    assert carried.files == {path: Descriptor(FILE_TYPE, DIGEST, 7, {TITLE: path}) for path in paths}
    if isinstance(request, ManifestRequest):
        assert (carried.chart, carried.manifests, carried.manifest_files()) == ("", request.path, [request.path])
    else:
        assert (carried.chart, carried.manifests) == (request.requested, "")
        assert carried.variants == request.variants


def test_manifests_of_a_directory() -> None:
    request = _request({"name": "base", "values": ["v.yaml"]}, {"manifests": [{"path": "m"}]})
    layers = _layers(["m/b/c.yaml", "m/a.yaml", "v.yaml"])
    assert read_carried(describe_release(request, TARGET), layers, where="x").manifest_files() == [
        "m/a.yaml",
        "m/b/c.yaml",
    ]
    everything = CarriedRelease(Release("base"), manifests=".", files={"a": layers[0]})
    assert everything.manifest_files() == ["a"]


@pytest.mark.parametrize(
    ("change", "paths", "words"),
    [
        ({}, ["m.yaml"], "files that it names are not in it: 'v.yaml'"),
        ({}, ["v.yaml"], "files that it names are not in it: 'm.yaml'"),
        ({}, ["m.yaml", "v.yaml", "../x"], "found the file '../x'"),
        ({}, ["m.yaml", "v.yaml", "/etc/passwd"], "found the file '/etc/passwd'"),
        ({}, ["m.yaml", "v.yaml", "a//b"], "found the file 'a//b'"),
        ({}, ["m.yaml", "v.yaml", ""], "found the file ''"),
        ({}, ["m.yaml", "v.yaml", "a\nb"], r"found the file 'a\nb'"),
        ({}, ["m.yaml", "v.yaml", *(f"{n}.yaml" for n in range(FILES_LIMIT))], "expected at most"),
        ({"chart": "c"}, ["m.yaml", "v.yaml"], "to put right"),
        ({"more": 1}, ["m.yaml", "v.yaml"], "to put right"),
        ({"kind": "Site"}, ["m.yaml", "v.yaml"], "to put right"),
        ({"release": {"name": "UPPER"}}, ["m.yaml", "v.yaml"], "to put right"),
        ({"release": None}, ["m.yaml", "v.yaml"], "to put right"),
    ],
)
def test_what_is_not_as_airbundle_writes_it_is_refused(change: dict[str, Any], paths: list[str], words: str) -> None:
    request = _request({"name": "base", "values": ["v.yaml"]}, {"manifests": [{"path": "m.yaml"}]})
    raw = json.dumps({**json.loads(describe_release(request, TARGET)), **change}).encode()
    with pytest.raises(VerificationError) as refused:
        read_carried(raw, _layers(paths), where="x")
    assert words in refused.value.problem


def test_a_file_twice_is_refused() -> None:
    request = _request({"name": "base"}, {"manifests": [{"path": "m.yaml"}]})
    layers = _layers(["m.yaml"])
    with pytest.raises(VerificationError, match=r"m\.yaml"):
        read_carried(describe_release(request, TARGET), [*layers, layers[0]], where="x")


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"a: [", b'{"release": {"name": "x"}}'])
def test_what_is_no_description_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError):
        read_carried(raw, _layers([]), where="x")


def test_a_release_without_later_fields_has_the_bytes_it_had() -> None:
    release = {"name": "base", "checks": [{"http": "https://x.test/", "status": 200}], "before": ["b.yaml"]}
    described = describe_release(_request(release, {"manifests": [{"path": "m.yaml"}]}), KubernetesTarget())
    assert described == (
        b'{"apiVersion":"airbundle.dev/v1","kind":"Release","kubernetes":{},"manifests":"m.yaml","release":'
        b'{"before":["b.yaml"],"checks":[{"http":"https://x.test/","status":200}],"enabled":true,"name":"base",'
        b'"rollback":"ask","timeout":"5m"}}'
    )
