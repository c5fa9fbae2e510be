"""What is filled into YAML stays one value, whatever a site says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from airbundle.bundle.template_yaml import fill_yaml
from airbundle.errors import DocumentError

LINE: st.SearchStrategy[Any] = st.text(max_size=30).filter(str.isprintable)
TRICKY = st.sampled_from(
    ["", " ", "true", "No", "y", "null", "~", "0123", "1e3", "1:20", "-", "- a", "a: b", "a #b", "#b", "[a]", "{a: b}",
     "*a", "&a b", "!t", "!!int 3", "%x", "@x", "`x", "|", ">", '"', "'", '\\', 'a"b', "a'b", "x\\", ",", "a, b", "? a",
     "---", "...", "<<", "=", "2001-01-01", "a:", "é", " a", "a ", "{{ site.x }}", "\U0010f000\U0010f010\U0010f001"]
)  # fmt: skip
VALUE = LINE | TRICKY | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


def _fill(text: str, value: Any) -> str:
    return fill_yaml(text, {"x": value, "domain": "chat.test"}, "values.yaml")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (3, "a: 3"),
        (True, "a: true"),
        (0.5, "a: 0.5"),
        ("plain", "a: plain"),
        ("turn.chat.test:5349", "a: turn.chat.test:5349"),
        ("true", 'a: "true"'),
        ("0123", 'a: "0123"'),
        ("a: b", 'a: "a: b"'),
        ('say "x" \\ y', 'a: "say \\"x\\" \\\\ y"'),
        ("", 'a: ""'),
    ],
)
def test_a_value_of_its_own_keeps_its_kind(value: Any, line: str) -> None:
    assert _fill("a: {{ site.x }}", value) == line
    found = yaml.safe_load(line)["a"]
    assert (found, type(found)) == (value, type(value))


def test_an_empty_storage_class_leaves_the_place_empty() -> None:
    assert fill_yaml("a: {{ site.storageClass }}\n", {"storageClass": ""}, "v") == "a: \n"


@given(VALUE)
def test_a_whole_value_is_what_the_site_says(value: Any) -> None:
    found = yaml.safe_load(_fill("a: {{ site.x }}\nb: 1\n", value))
    assert found["b"] == 1
    if isinstance(value, float):
        assert float(found["a"]) == value  # 1e+16 is text in YAML 1.1
    else:
        assert (found["a"], type(found["a"])) == (value, type(value))


@given(VALUE)
@example("\U0010f000\U0010f010\U0010f001")
def test_in_quotes_it_is_text(value: Any) -> None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    for quote in "\"'":
        found = yaml.safe_load(_fill(f"a: {quote}<{{{{ site.x }}}}>{quote}\nb: 1\n", value))
        assert found == {"a": f"<{text}>", "b": 1}
    assert json.loads(_fill('{"a": "{{ site.x }}"}', value)) == {"a": text}


PLACES = (
    "a: pre {{ site.x }}\nb: 1\n",
    "a: {{ site.x }}{{ site.x }}\nb: 1\n",
    "a: http://{{ site.x }}/y\n",
    "a: |\n  first {{ site.x }}\n  {{ site.x }}\nb: 1\n",
    "a: >-\n  {{ site.x }}\n  more\n\n  {{ site.x }}\nb: 1\n",
    "{{ site.x }}: 1\nb: 2\n",
    "{{ site.x }}/y: 1\n",
    "a: [1, {{ site.x }}, 2]\n",
    "a: {b: {{ site.x }}, c: 1}\n",
    "a: first\n  {{ site.x }}\n  last\n",
    "# {{ site.x }}\na: 1 # {{ site.x }}\n",
    "- {{ site.x }}\n- a\n---\n- {{ site.x }}\n",
    "&a {{ site.x }}\n",
    "!!str {{ site.x }}\n",
)


@pytest.mark.parametrize("text", PLACES)
@given(value=VALUE)
def test_whatever_a_site_says_the_document_keeps_its_shape(text: str, value: Any) -> None:
    try:
        filled = _fill(text, value)
    except DocumentError as error:
        assert "can't be filled in" in str(error.findings[0])
        return
    spelled = str(value).lower() if isinstance(value, bool) else str(value)
    mark = "MARK"
    expected: list[Any] = list(yaml.parse(text.replace("{{ site.x }}", mark)))
    found: list[Any] = list(yaml.parse(filled))
    assert list(map(type, found)) == list(map(type, expected))
    for event, other in zip(expected, found):
        if isinstance(event, yaml.ScalarEvent):
            assert other.value == event.value.replace(mark, spelled)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: pre {{ site.x }}", "b: c"),
        ("a: pre {{ site.x }}", "#c"),
        ("a: [p {{ site.x }}]", "a, b"),
        ("a: >\n  {{ site.x }}\n  b\n", "  deep"),
        ("{{ site.x }}b: 1", "a: 2 #"),
        ("a: 1\n{{ site.x }}\n", "b: 2"),
        ("a: *{{ site.x }}", "b c"),
    ],
)
def test_what_would_make_another_document_is_refused_with_its_line(text: str, value: str) -> None:
    with pytest.raises(DocumentError) as refused:
        _fill(text, value)
    finding = str(refused.value.findings[0])
    assert "values.yaml:" in finding or "values.yaml: not YAML" in finding
    assert "can't be filled in" in refused.value.problem
    assert value not in finding


def test_a_text_that_is_no_yaml_is_left_to_its_readers_unless_a_value_could_mend_it() -> None:
    assert _fill("a: [\n# {{ site.x }}\n", "berlin-1") == "a: [\n# berlin-1\n"
    with pytest.raises(DocumentError, match="can't be filled in") as refused:
        _fill("a: [\n{{ site.x }}\n", "1]")
    assert "not YAML" in str(refused.value.findings[0])


@given(st.text(alphabet="{} .site\nabc-|\"':#[]", max_size=60))
def test_text_without_our_form_is_untouched(text: str) -> None:
    if "site." not in text:
        assert _fill(text, "z") == text


def test_every_unknown_name_is_told() -> None:
    with pytest.raises(DocumentError) as refused:
        _fill("a: {{ site.y }}\nb: {{ site.domian }}\n", 1)
    assert [str(each).split(":")[1] for each in refused.value.findings] == ["1", "2"]


def test_a_text_that_holds_our_marks_is_refused() -> None:
    with pytest.raises(DocumentError, match="can't be filled in") as caught:
        fill_yaml("a: \U0010f000\U0010f01f\U0010f01f\U0010f001 {{ site.x }}\n", {"x": "b"}, "values.yaml")
    assert "U+10F000" in str(caught.value.findings[0])


def test_a_text_that_grows_without_end_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        fill_yaml("a: |\n" + "  {{site.x}}\n" * 4000, {"x": "y" * 4096}, "values.yaml")
    assert "too long with the site's values" in str(caught.value.findings[0])
