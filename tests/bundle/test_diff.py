from __future__ import annotations

from airbundle.bundle.diff import Change, compare_roots, new_bytes
from airbundle.bundle.index import make_root
from airbundle.bundle.oci import OCI_MANIFEST, Descriptor


def root(ref: str, content: int = 1, kind: str = "image") -> Descriptor:
    return make_root(kind, ref, Descriptor(OCI_MANIFEST, f"sha256:{content:064x}", 5), 10)


def words(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.change, change.name) for change in changes]


def test_equal_bundles_do_not_differ() -> None:
    assert compare_roots([root("a/b:1")], [root("a/b:1")]) == []


def test_what_came_went_and_changed_is_told() -> None:
    old = [root("a/same:1"), root("a/gone:1"), root("a/changed:1", 1)]
    new = [root("a/changed:1", 2), root("a/new:1"), root("a/same:1")]
    assert words(compare_roots(old, new)) == [("changed", "a/changed:1"), ("added", "a/new:1"), ("removed", "a/gone:1")]


def test_another_tag_of_a_repository_is_a_move() -> None:
    (change,) = compare_roots([root("a/redis:7.2")], [root("a/redis:7.4", 2)])
    assert change.change == "moved"
    assert change.to_json()["old"]["ref"] == "a/redis:7.2"
    assert change.to_json()["new"]["ref"] == "a/redis:7.4"


def test_several_tags_are_not_guessed_at() -> None:
    changes = compare_roots([root("a/redis:6"), root("a/redis:7")], [root("a/redis:8")])
    assert words(changes) == [("added", "a/redis:8"), ("removed", "a/redis:6"), ("removed", "a/redis:7")]


def test_kinds_are_kept_apart() -> None:
    changes = compare_roots([root("a/x:1", kind="image")], [root("a/x:1", kind="chart")])
    assert words(changes) == [("added", "a/x:1"), ("removed", "a/x:1")]


def test_new_bytes_are_those_of_unknown_blobs() -> None:
    assert new_bytes([("a", 1), ("b", 2)], [("b", 2), ("c", 4), ("d", 8)]) == 12
