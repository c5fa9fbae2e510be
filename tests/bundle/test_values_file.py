from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.values_file import VALUES_LIMIT, parse_values, read_values
from airbundle.errors import DocumentError

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), TREES, max_size=4))
def test_what_is_written_is_read(body: dict[str, object]) -> None:
    text = yaml.safe_dump(body, allow_unicode=False, default_style='"')  # plain Y would be true, as it is to helm
    assert parse_values(text, "v") == (body, [])


def test_scalars_are_what_helm_makes_of_them() -> None:
    body, _ = parse_values("a: on\nb: 'on'\nc: =\nd: 2020-01-01\ne: 010\nf: !!str 5\n1: x\ny: z\n", "v")
    assert body == {"a": True, "b": "on", "c": "=", "d": "2020-01-01", "e": 8, "f": "5", "1": "x", "true": "z"}


def test_merge_keys_and_aliases() -> None:
    text = "a: &a {x: 1, w: 1}\nb: &b {w: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {<<: *a}\n"
    body, findings = parse_values(text, "v")
    assert (body["c"], body["d"], findings) == ({"x": 1, "w": 1, "z": 3}, {"x": 1, "w": 1}, [])


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(DocumentError, match="unfolds to more than"):
        parse_values("\n".join(lines), "v")
    merges = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    with pytest.raises(DocumentError, match="unfolds to more than"):
        parse_values("\n".join(merges), "v")


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(DocumentError, match="nested deeper"):
        parse_values("a: " + "[" * 5000, "v")


def test_doubled_keys_are_told_with_their_line() -> None:
    body, findings = parse_values("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "v.yaml")
    assert body == {"a": 3, "b": {"c": 2}}
    assert [(finding.where, finding.severity) for finding in findings] == [
        ("v.yaml:4", "warning"),
        ("v.yaml:5", "warning"),
    ]


def test_only_the_first_document_counts() -> None:
    body, (finding,) = parse_values("---\na: 1\n---\nb: 1\n", "v")
    assert body == {"a": 1}
    assert "helm reads only the first" in str(finding)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_values_may_be_empty(text: str) -> None:
    assert parse_values(text, "v") == ({}, [])


def test_a_tab_inside_text_is_none_of_our_business() -> None:
    assert parse_values('a: |\n  x\n  \ty\nb: "\t"\n', "v")[0] == {"a": "x\n\ty\n", "b": "\t"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a:\n\tb: 1\n", "v:2: a tab indents this line; expected spaces"),
        (b"ok: 1\na: \xe4\n", "v:2: the values are not UTF-8; found byte 0xe4"),
        (b"- 1\n", "v:1: the values are no mapping; found list"),
        (b"text\n", "v:1: the values are no mapping; found str"),
        (b"? {a: 1}\n: 2\n", "a key: found dict, expected text"),
        (b"a: {<<: 5}\n", "only a mapping can be merged"),
        (b"a: *nothing\n", "not YAML: found undefined alias"),
        (b"a: !!python/object:os.system {}\n", "'a'"),
    ],
)
def test_what_is_no_values_file(raw: bytes, said: str) -> None:
    if said == "'a'":
        assert read_values(raw, {}, "v").body == {"a": {}}
        return
    with pytest.raises(DocumentError) as caught:
        read_values(raw, {}, "v")
    assert said in str(caught.value)


def test_a_file_that_is_too_large() -> None:
    with pytest.raises(DocumentError, match="are more than the"):
        read_values(b"#" * (VALUES_LIMIT + 1), {}, "v")


def test_names_of_the_site_are_filled_in_before_it_is_read(tmp_path: Path) -> None:
    read = read_values("\ufeffhost: {{ site.domain }}\nother: '{{ .Values.x }}'\n".encode(), {"domain": "x.test"}, "v")
    assert read.text == "host: x.test\nother: '{{ .Values.x }}'\n"
    assert read.body == {"host": "x.test", "other": "{{ .Values.x }}"}
