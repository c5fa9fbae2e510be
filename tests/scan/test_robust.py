"""Whatever objects, texts and lines hold: nothing raises, and what is found is an image at a place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.scan.commands import GROWTH_LIMIT, Variables, read_command
from airbundle.scan.find import find
from airbundle.scan.lines import read_lines
from airbundle.scan.loading import DEPTH_LIMIT, load_document, load_json
from airbundle.scan.model import Manifest, Rendering
from airbundle.scan.rules import run_rules
from airbundle.scan.texts import unpack
from airbundle.scan.values import images_in_values
from tests.scan.support import ORIGIN

_KEYS = st.sampled_from(
    "image images repository registry tag digest name value version env args command containers initContainers volumes"
    " data stringData binaryData metadata annotations spec template kind enabled hub reference default properties"
    " description x.yaml run.sh config.toml RELATED_IMAGE_X sidecar".split(" ")
) | st.text(max_size=8)
_SAMPLES = """
q.io/a/b:1 redis:7 a/b = $(X) {{x}} --image=q.io/a/b:1 --image {image:b:1} [a] image=b:1 #x X_IMAGE=$Y
""".split()
_TEXTS = (
    st.sampled_from(_SAMPLES)
    | st.lists(st.sampled_from(_SAMPLES), max_size=4).map("\n".join)
    | st.text(alphabet="abq.io/:@=-_ \n\t{}[]\"'#$;,1", max_size=60)
    | st.text(max_size=20)
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=30
)
_KINDS = st.sampled_from(
    ["Pod", "ConfigMap", "Secret", "CustomResourceDefinition", "Thing", "Service", "HelmRelease", "", "Cluster"]
)


@settings(max_examples=200)
@given(_KINDS, st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_any_object_is_searched(kind: str, body: dict[str, Any]) -> None:
    scanned = find([Manifest(ORIGIN, {"apiVersion": "postgresql.cnpg.io/v1", **body, "kind": kind})])
    for sighting in scanned.sightings:
        assert sighting.image.repository
        assert sighting.place.path
        assert sighting.evidence


@given(_TEXTS | st.text(max_size=300), st.booleans())
def test_any_text_is_taken_apart(text: str, script: bool) -> None:
    unpack(text, script=script)


@given(st.lists(_TEXTS.map(lambda text: text.replace("\n", " ")), max_size=10))
def test_any_lines_are_read(lines: list[str]) -> None:
    for group in read_lines(lines):
        assert all(pair.path for pair in group.pairs)


@given(st.lists(_TEXTS, max_size=8))
def test_any_arguments_are_read(items: list[str]) -> None:
    variables = Variables()
    variables.add("X", "".join(items))
    command = read_command([(f"args[{number}]", variables.expanded(text)) for number, text in enumerate(items)])
    assert all(pair.path for pair in (*command.pairs, *command.bare))


def test_what_is_nested_without_end_is_told() -> None:
    deep = "[" * 100_000
    assert load_json(deep).failure is not None
    assert load_document(deep).failure is not None
    pairs = '{"a":[' * DEPTH_LIMIT + "1" + "]}" * DEPTH_LIMIT
    assert load_json(pairs).failure is not None
    assert load_json("[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1)).failure is None
    find([Manifest(ORIGIN, {"kind": "ConfigMap", "data": {"a.json": '{"image":[' * 900 + '"a/b:1"' + "]}" * 900}})])
    within = load_document("[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1))
    assert within.failure is None


def test_an_object_as_deep_as_is_read_is_searched_to_its_end() -> None:
    body: Any = {"image": "q.io/a/b:1"}
    for _ in range(DEPTH_LIMIT - 5):
        body = {"x": body}
    scanned = find([Manifest(ORIGIN, {"kind": "Thing", "spec": body})])
    assert [str(sighting.image) for sighting in scanned.sightings] == ["q.io/a/b:1"]


def test_texts_within_texts_end() -> None:
    text = "image: q.io/a/b:1\n"
    for _ in range(12):
        text = "x: |\n" + "".join(f"  {line}\n" for line in text.splitlines())
    find([Manifest(ORIGIN, {"kind": "ConfigMap", "data": {"a.yaml": text}})])


def test_numbers_that_json_lacks_are_text() -> None:
    assert load_document("[.inf, -.Inf, .nan]").value == [".inf", "-.Inf", ".nan"]


_MANY = 100_000
_ENDLESS = {
    "arrays": "=[" * _MANY + "]",
    "blanks": "x" + " " * _MANY + "x;",
    "lines": "a: b" + "\n" * _MANY + "c",
    "names": "\n".join(["image" * 790] * 100),
    "schemes": "http://a " + "http:" * _MANY,
    "services": ".svc " + "a.svc." * _MANY,
    "to fill in": "CHANGE_TO_" * _MANY + "x",
    "to replace": "REPLACE_WITH_" * _MANY + "x",
    "to set": "SET_" * _MANY,
    "tags": 'a: &x 1\nb: *x\nc: "' + "!" * _MANY + '"',
}


@pytest.mark.parametrize("text", _ENDLESS.values(), ids=_ENDLESS)
def test_texts_that_no_pattern_ends_soon_at(text: str) -> None:
    """Each would take hours if a pattern looked at all that follows from each of its places."""
    manifest = Manifest(ORIGIN, {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"x.conf": "image\n" + text}})
    find([manifest])
    load_document(text)
    values = {"image": "a/b:1", "x": text}
    rendering = Rendering(ORIGIN, text.encode(), values, values, [("values.yaml", values)])
    images_in_values(rendering)
    run_rules([manifest], [rendering])


def test_variables_of_variables_grow_within_bounds() -> None:
    variables = Variables()
    variables.add("A", "x" * 1000)
    for name, before in zip("BCDE", "ABCD"):
        variables.add(name, variables.expanded(f"$({before})" * 1000))
    assert sum(len(variables.get(name)) for name in "BCDE") < 3 * GROWTH_LIMIT
    assert variables.expanded("$(A) $(Z)") == "$(A) $(Z)"
    lines = [f"a{number}=" + "x" * 1900 for number in range(9)] + [f"b{number}=" + "$a1" * 600 for number in range(500)]
    assert sum(len(str(pair.value)) for group in read_lines(lines) for pair in group.pairs) < 12_000_000


def test_thousands_of_objects_without_a_name_are_looked_at() -> None:
    run_rules([Manifest(ORIGIN, {"kind": "ConfigMap", "data": {"a": str(number)}}) for number in range(30_000)], [])
