"""Images renamed where they stand; everything else stays byte for byte."""

from __future__ import annotations

import re
import textwrap

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.reference import Reference
from airbundle.scan.pin import Pinned, pin_images
from tests.scan.support import DIGEST, rendering

HELD = "reg.site:5443"


def _pins(image: Reference) -> str | None:
    if image.repository == "library/lacking":
        return None
    return f"{HELD}/{image.name}:{image.tag or 'x'}@{DIGEST}"


def _pinned(text: str) -> Pinned:
    return pin_images(rendering(text), _pins)


def _text(pinned: Pinned) -> str:
    return "---".join(document.text for document in pinned.documents)


def _pod(image: str, more: str = "") -> str:
    head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: a\n"
    return f"{head}      image: {image}\n{more}"


@pytest.mark.parametrize(
    ("written", "image"),
    [
        ("redis:7.2", "redis:7.2"),
        ('"redis:7.2"', "redis:7.2"),
        ("'quay.io/a/b:1'  # why", "quay.io/a/b:1"),
        (">-\n        redis:7.2", "redis:7.2"),
        ("redis", "redis"),
        (f"redis:7.2@{DIGEST}", f"redis:7.2@{DIGEST}"),
    ],
)
def test_every_style_of_scalar(written: str, image: str) -> None:
    before = _pod(written, '  # 😀 ä\n  nodeName: "😀"\n')
    pinned = _pinned(before)
    (new,) = pinned.images.values()
    assert pinned.images == {image: new}
    assert _text(pinned) == before.replace(image, new)
    assert yaml.safe_load(_text(pinned))["spec"]["containers"][0]["image"] == new


def test_wherever_the_field_notes_say_that_images_hide() -> None:
    text = textwrap.dedent(
        """\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: d, annotations: {told: "redis:7.2 is fine"}}
        spec:
          template:
            spec:
              initContainers: [{name: i, image: "busybox:1"}]
              containers:
                - name: a
                  image: redis:7.2
                  args: [--config-reloader-image=quay.io/r/r:1, --image, "quay.io/s/s:1"]
                  env:
                    - {name: SIDECAR_IMAGE, value: quay.io/e/e:1}
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: c}
        data:
          config.yaml: |
            image: quay.io/c/c:1
            other: quay.io/c/c:12
        """
    )
    pinned = _pinned(text)
    assert set(pinned.images) >= {"busybox:1", "redis:7.2", "quay.io/r/r:1", "quay.io/s/s:1", "quay.io/e/e:1"}
    assert "quay.io/c/c:1" in pinned.images
    result = _text(pinned)
    assert 'told: "redis:7.2 is fine"' in result
    assert "quay.io/c/c:12@" in result or "other: quay.io/c/c:12\n" in result
    assert f"--config-reloader-image={HELD}/quay.io/r/r:1@{DIGEST}," in result
    assert pinned.kept == pinned.missing == ()


def test_objects_of_a_list() -> None:
    item = "- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: 'redis:7.2'}]}}\n"
    pinned = _pinned(f"apiVersion: v1\nkind: List\nitems:\n{item}{item}")
    assert _text(pinned).count(HELD) == 2
    assert len(pinned.documents[0].objects) == 2


def test_what_stands_in_pieces_keeps_its_name() -> None:
    pinned = _pinned(
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
        "spec: {image: {registry: quay.io, repository: a/b, tag: '1'}}\n"
    )
    assert [str(sighting.image) for sighting in pinned.kept] == ["quay.io/a/b:1"]
    assert HELD not in _text(pinned)


def test_what_the_bundle_lacks_is_told_and_stays() -> None:
    pinned = _pinned(_pod("lacking:1"))
    assert [str(sighting.image) for sighting in pinned.missing] == ["docker.io/library/lacking:1"]
    assert _text(pinned) == _pod("lacking:1")


def test_an_alias_is_changed_where_it_is_anchored() -> None:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
        "    - {name: a, image: &i 'redis:7.2'}\n    - {name: b, image: *i}\n"
    )
    result = _text(_pinned(text))
    assert result.count(HELD) == 1
    images = [container["image"] for container in yaml.safe_load(result)["spec"]["containers"]]
    assert images == [f"{HELD}/docker.io/library/redis:7.2@{DIGEST}"] * 2


PIECES = ["redis:7.2", "a/b:1", "😀", "{{ x }}", "x: y", "-", "'", '"', "#", "image: redis:7.2"]


@given(st.lists(st.sampled_from(PIECES)))
def test_texts_of_any_form_stay_readable(pieces: list[str]) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"f.yaml": "\n".join(pieces)}}
    for style in (None, "'", '"', "|"):
        text = yaml.dump(body, default_style=style, allow_unicode=True)
        loaded = yaml.safe_load(_text(_pinned(text)))
        assert loaded["data"]["f.yaml"].replace(f"{HELD}/docker.io/library/redis:7.2@{DIGEST}", "redis:7.2").replace(
            f"{HELD}/docker.io/a/b:1@{DIGEST}", "a/b:1"
        ) == "\n".join(pieces)


def _pin(name: str) -> str:
    return f"{HELD}/{name}@{DIGEST}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_pod("a/b:1\n      image: a/b:2"), _pod(f"a/b:1\n      image: {_pin('docker.io/a/b:2')}")),
        ("\ufeff---\n" + _pod("a/b:1"), _pod(_pin("docker.io/a/b:1"))),
        (_pod("| # a/b:1\n        a/b:1"), _pod(f"| # a/b:1\n        {_pin('docker.io/a/b:1')}")),
        (_pod("!redis redis"), _pod(f"!redis {_pin('docker.io/library/redis:latest')}")),
        (_pod(r'"quay.io\/a\/b:1"'), _pod(f'"{_pin("quay.io/a/b:1")}"')),
        (_pod('"quay.io/a\\\n        /b:1"  # why'), _pod(f'"{_pin("quay.io/a/b:1")}"  # why')),
        (_pod("a/b:1  # \x07"), _pod(f"{_pin('docker.io/a/b:1')}  # \x07")),
        (
            _pod("a/b:1\n      ~: {y: {image: c/d:1}}"),
            _pod(f"{_pin('docker.io/a/b:1')}\n      ~: {{y: {{image: {_pin('docker.io/c/d:1')}}}}}"),
        ),
    ],
)
def test_odd_yaml_is_changed_where_its_value_stands(before: str, after: str) -> None:
    pinned = _pinned(before)
    assert _text(pinned).lstrip("\n") == after
    assert pinned.kept == ()


def test_keys_with_dots_and_the_fields_that_they_look_like() -> None:
    head = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
    result = _text(_pinned(f"{head}spec: {{a.image: a/b:1, a: {{image: c/d:1}}}}\n"))
    assert result == f"{head}spec: {{a.image: {_pin('docker.io/a/b:1')}, a: {{image: {_pin('docker.io/c/d:1')}}}}}\n"


def test_merged_mappings_are_changed_where_they_are_anchored() -> None:
    text = (
        "x-base: &b {image: a/b:1}\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {containers: [{name: a, <<: *b}, {name: b, <<: [*b, {stdin: true}]}]}\n"
    )
    pinned = _pinned(text)
    assert _text(pinned) == text.replace("a/b:1", _pin("docker.io/a/b:1"))
    assert pinned.kept == ()


def test_what_an_anchor_shares_with_a_label_stays() -> None:
    text = _pod("&i redis\n      nodeName: *i")
    pinned = _pinned(text)
    assert _text(pinned) == text
    assert [sighting.written for sighting in pinned.kept] == ["redis"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("# runs a.io/b:1\nimage: a.io/b:1\ntold: a.io/b:1 is good\n", False),
        ("# runs a.io/b:1\nimage: {repository: a.io/b, tag: '1'}\ntold: a.io/b:1 is good\n", True),
        ("# runs a.io/b:1\nx: y\n---\n# x\nimage: a.io/b:1\n", False),
        ("# runs a.io/b:1\n{{ if x }}\nimage: a.io/b:1  # a.io/b:1\n", False),
        ('{"told": "a.io/b:1 is good", "image": "a.io/b:1"}', False),
    ],
)
@pytest.mark.parametrize("style", ["|", '"', "'"])
def test_in_a_file_only_the_field_is_changed(text: str, kept: bool, style: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"f.yaml": text}}
    pinned = _pinned(yaml.dump(body, default_style=style, width=10_000))
    expected = text if kept else re.sub(r'(image"?: "?)a.io/b:1', rf"\g<1>{_pin('a.io/b:1')}", text)
    assert yaml.safe_load(_text(pinned))["data"]["f.yaml"] == expected
    assert [sighting.written for sighting in pinned.kept] == ["a.io/b:1"] * kept
    assert set(pinned.images) == (set() if kept else {"a.io/b:1"})
