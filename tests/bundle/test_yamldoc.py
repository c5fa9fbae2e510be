from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle import yamldoc
from airbundle.bundle.yamldoc import DEPTH_LIMIT, SIZE_LIMIT, load
from airbundle.errors import DocumentError

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if hasattr(yaml, "CSafeLoader") else [])]


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every test runs with the parser in C and with the one in Python."""
    monkeypatch.setattr(yamldoc, "_LOADER", request.param)
    return request.param


def plain(text: str) -> Any:
    return load(text.encode(), where="x.yaml").root.plain()


def refusal(raw: bytes) -> str:
    with pytest.raises(DocumentError) as caught:
        load(raw, where="x.yaml")
    (finding,) = caught.value.findings
    return str(finding)


def noted(text: str) -> list[str]:
    return [str(finding) for finding in load(text.encode(), where="x.yaml").findings]


def test_keeps_lines_and_columns() -> None:
    root = load(b"a: 1\nlist:\n  - x\n  - y: z\n", where="x.yaml").root
    second = root.entries["list"].items[1]
    assert (root.line, second.line, second.column) == (1, 4, 5)
    assert second.entries["y"].column == 8
    assert root.key_lines == {"a": 1, "list": 2}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:20", "1:20"),
        ("2027-01-31", "2027-01-31"),
        ("=", "="),
        ("1.4.0", "1.4.0"),
        ("1_000", "1_000"),
        ("10", 10),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'true'", "true"),
        ('"1.33"', "1.33"),
        ("!!str 1.33", "1.33"),
        ("! 12", "12"),
        ("9" * 5000, float("inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(written: str, value: object) -> None:
    assert plain(f"a: {written}") == {"a": value}
    assert isinstance(plain(f"a: {written}")["a"], type(value))


def test_block_scalars_are_text() -> None:
    assert plain("a: |\n  12\n") == {"a": "12\n"}


def test_byte_order_mark_is_skipped() -> None:
    assert load(b"\xef\xbb\xbfa: b\n", where="x").root.plain() == {"a": "b"}


def test_aliases_are_followed() -> None:
    assert plain("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_doubled_keys_are_noted_with_both_lines() -> None:
    assert noted("a: 1\nb: 2\na: 3\n") == ["x.yaml:3: the key 'a' stands twice; found the first on line 1"]


def test_the_first_of_doubled_keys_counts() -> None:
    assert plain("a: 1\na: 2\n") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !include x\n", "a value that begins with '!' is a tag, which is not supported"),
        ("a: !!python/object:os.system x\n", "is not supported"),
        ("a: !!int '5'\n", "the tag '!!int' is not supported"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "merge keys are not supported"),
        ("1: x\n", "found the number 1; expected a name"),
        ("? [a]\n: x\n", "found a list; expected a name"),
        ("null: x\n", "found nothing; expected a name"),
    ],
)
def test_notes_what_is_read_in_two_ways(text: str, words: str) -> None:
    (note,) = noted(text)
    assert words in note


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "x.yaml:1: the document is empty; expected a mapping"),
        (b"# nothing\n", "the document is empty"),
        (b"a: 1\n---\nb: 2\n", "x.yaml:2: a second document begins here; expected one document"),
        (b"a: 1\n...\n---\nb: 2\n", "x.yaml:3: a second document"),
        (b"a: b\nc: \xff\n", "x.yaml:2: the document is not UTF-8; found byte 0xff"),
        (b"a:\n\tb: 1\n", "x.yaml:2: a tab indents this line; expected spaces"),
        (b"a: [1, 2\nb: 3\n", "x.yaml:2:"),
        (b"a: b: c\n", "x.yaml:1:5: not YAML"),
        (b"a: \x00\n", "x.yaml:1: "),
        (b"a: b\nc: *nowhere\n", "x.yaml:2: a value that begins with '*' is an alias"),
        (b"a: &x [*x]\n", "no anchor is before it"),
        (b"a: %x\n", "not YAML"),
        (b'a: "\\ud800"\n', "x.yaml:1:"),
        (b"a" * (SIZE_LIMIT + 1), f"has {SIZE_LIMIT + 1} bytes; expected at most {SIZE_LIMIT}"),
        (b"[" * 1000, f"nested deeper than {DEPTH_LIMIT}"),
        (b"a: " + b"{a: " * 100, f"nested deeper than {DEPTH_LIMIT}"),
    ],
)
def test_refuses(raw: bytes, words: str) -> None:
    assert words in refusal(raw)


def test_an_alias_bomb_does_not_unfold() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "unfolds to more than" in refusal("\n".join(lines).encode())


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        load(raw, where="x")
    except DocumentError as error:
        assert error.findings


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#\n \t,?%@`~<=1.0\u00e9\x85"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load(text.encode(), where="x").root.plain()
    except DocumentError as error:
        assert error.findings


# JSON writes what is beyond as two escapes, which are two characters to YAML.
CHARACTERS = st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs",))
# The merge key is refused, however it is written.
KEYS: st.SearchStrategy[str] = st.text(CHARACTERS, min_size=1, max_size=8).filter(lambda key: key != "<<")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(CHARACTERS, max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_json_says_is_what_is_read(value: Any) -> None:
    # JSON in ASCII is YAML; keys are quoted, so they are text.
    value = value if isinstance(value, (dict, list)) else [value]
    assert plain(json.dumps(value)) == value
