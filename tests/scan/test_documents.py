"""Renders as helm prints them, and what people break in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import Finding
from airbundle.scan import documents
from airbundle.scan.documents import read_manifests
from airbundle.scan.model import Manifest
from tests.scan.support import manifests, rendering

GOOD = "apiVersion: v1\nkind: Pod\nmetadata: {name: good}\n"


def _read(text: str | bytes) -> tuple[list[Manifest], list[Finding]]:
    return read_manifests(rendering(text))


def test_a_render_of_helm() -> None:
    text = """\
        ---
        # Source: app/templates/a.yaml
        apiVersion: v1
        kind: Pod
        metadata: {name: a}
        ---
        # Source: app/templates/empty.yaml
        # nothing but a comment
        ---
        # Source: app/charts/b/templates/b.yaml
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: b, namespace: other}
        data:
          file: |
            ---
            kind: not an object
        """
    first, second = manifests(text)
    assert (first.kind, first.name, first.namespace, first.template) == ("Pod", "a", "apps", "app/templates/a.yaml")
    assert (second.kind, second.namespace, second.template) == ("ConfigMap", "other", "app/charts/b/templates/b.yaml")
    assert second.body["data"]["file"] == "---\nkind: not an object\n"


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ("pre-install", "hook"),
        ("pre-install,post-upgrade", "hook"),
        ("test", "test"),
        ("test-success", "test"),
        ("test-success, test-failure", "test"),
        ("test,post-install", "hook"),
        ("", "run"),
    ],
)
def test_hooks_and_tests_are_told_apart(events: str, phase: str) -> None:
    (found,) = manifests(f'kind: Pod\nmetadata: {{name: a, annotations: {{helm.sh/hook: "{events}"}}}}\n')
    assert found.phase == phase


def test_lists_are_taken_apart() -> None:
    text = """\
        kind: List
        items:
          - {kind: Pod, metadata: {name: a}}
          - {kind: List, items: [{kind: Pod, metadata: {name: b}}]}
        ---
        apiVersion: v1
        kind: PodList
        items: [{metadata: {name: c}}]
        """
    found = manifests(text)
    assert [(one.kind, one.name) for one in found] == [("Pod", "a"), ("Pod", "b"), ("Pod", "c")]
    assert found[2].api_version == "v1"


def test_scalars_are_those_of_helm() -> None:
    text = "kind: A\na: =\nb: yes\nc: 1.10\nd: '1.10'\ne: 2024-01-01\nf: ~\n1: x\n"
    (found,) = manifests(text)
    assert found.body == {
        "kind": "A",
        "a": "=",
        "b": True,
        "c": 1.1,
        "d": "1.10",
        "e": "2024-01-01",
        "f": None,
        "1": "x",
    }


def test_of_doubled_keys_the_last_counts_and_is_told() -> None:
    (found,), (finding,) = _read("# Source: app/templates/a.yaml\nkind: A\nx: 1\nx: 2\n")
    assert found.body["x"] == 2
    assert "'x' stands twice" in finding.message
    assert finding.where == "chart app 1.2.3: app/templates/a.yaml, line 4 of what it renders"
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("kind: Pod\n  bad: indent\n", "not YAML"),
        ("a: [1, 2\n", "not YAML"),
        ("a: 'open\n", "not YAML"),
        ("a: *missing\n", "not YAML"),
        ("{{ template }}\n", "not rendered"),
        ("just some words\n", "holds the text"),
        ("- a\n- b\n", "holds a list"),
        ("a: &a [*a]\n", "an alias leads to what it is part of"),
        ("[" * 5000, "nested deeper"),
        ("- " * 5000 + "a", "nested deeper"),
    ],
)
def test_a_broken_document_does_not_lose_the_others(broken: str, message: str) -> None:
    found, (finding,) = _read(f"{GOOD}---\n{broken}\n---\n{GOOD}")
    assert [one.name for one in found] == ["good", "good"]
    assert message in finding.message
    assert finding.severity == "error"
    assert finding.where.startswith("chart app 1.2.3:")


def test_the_line_of_a_file_is_told() -> None:
    _, (finding,) = _read(f"{GOOD}---\na: 1\nb: [\n---\n{GOOD}")
    assert finding.where in {"chart app 1.2.3:6", "chart app 1.2.3:7"}


def test_tabs_are_told_and_read_all_the_same() -> None:
    (found,), (finding,) = _read("kind: A\nspec:\n\timage: redis:7\n")
    assert found.body["spec"] == {"image": "redis:7"}
    assert "a tab indents this line" in finding.message
    assert finding.where.endswith(":3")


def test_what_is_not_utf_8_is_told_and_read_all_the_same() -> None:
    (found,), (finding,) = _read(b"kind: A\n# caf\xe9\nimage: redis:7\n")
    assert found.body["image"] == "redis:7"
    assert "not UTF-8: found the byte 0xe9" in finding.message
    assert finding.where.endswith(":2")


def test_a_character_that_yaml_forbids_is_told_and_read_all_the_same() -> None:
    (found,), (finding,) = _read("kind: A\nx: a\x07b\n")
    assert found.body["kind"] == "A"
    assert "U+0007" in finding.message


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbfkind: A\n", "kind: A\n".encode("utf-16"), b"kind: A\r\n---\r\n"])
def test_other_beginnings_and_line_ends(raw: bytes) -> None:
    (found,) = manifests(raw)
    assert found.kind == "A"


def test_anchors_and_merge_keys_are_followed() -> None:
    text = """\
        kind: A
        base: &base {image: redis, tag: 1}
        one: {<<: *base, tag: 2}
        two: {<<: [*base, {more: x}]}
        same: *base
        """
    (found,) = manifests(text)
    assert found.body["one"] == {"image": "redis", "tag": 2}
    assert found.body["two"] == {"image": "redis", "tag": 1, "more": "x"}
    assert found.body["same"] == {"image": "redis", "tag": 1}


def test_a_bomb_of_aliases_does_not_unfold() -> None:
    lines = ["kind: A", "a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    found, (finding,) = _read("\n".join(lines))
    assert found == []
    assert "unfold" in finding.message


def test_a_render_that_is_too_large_is_cut_at_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "SIZE_LIMIT", len(GOOD) * 2)
    found, (finding,) = _read(f"{GOOD}---\n{GOOD}---\n{GOOD}")
    assert [one.name for one in found] == ["good"]
    assert "only the first" in finding.message


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_anything_is_read_or_told(raw: bytes) -> None:
    found, findings = _read(raw)
    assert all(isinstance(one.body, dict) for one in found)
    assert all(finding.where for finding in findings)


_YAML = st.text(alphabet="ab:-?[]{}&*<|>!%#'\"\n \t,~=01.", max_size=120)


@given(st.lists(_YAML, max_size=4))
def test_pieces_of_yaml_never_break_their_neighbours(pieces: list[str]) -> None:
    pieces = [piece.replace("\n---", "\n").replace("\n...", "\n").removeprefix("---") for piece in pieces]
    found, _ = _read(f"{GOOD}\n---\n" + "\n---\n".join(pieces) + f"\n---\n{GOOD}")
    assert sum(1 for one in found if one.name == "good") == 2
