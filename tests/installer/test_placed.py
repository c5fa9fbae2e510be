from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.installer.journal import Entry, Journal
from airbundle.installer.placed import REMOVED, Ours, Placed, Placing, Recorder, read_placed

A, B, C = (sha256(name.encode()) for name in "abc")
HERE, ELSEWHERE = "https://registry.corp", "https://other.corp"


def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def begun(path: Path, command: str, version: str, registry: str = HERE) -> Journal:
    """Begin an install or a load, as the commands do."""
    found = Journal(path)
    found.note(command, info={"statement": f"sha256:{version}", "bundle": f"test {version}"})
    found.note("load", "begin", info={"registry": registry})
    return found


def read(path: Path, *known: str) -> Placed:
    return read_placed(Journal(path).read(), HERE, [f"{HERE}:443"], [f"sha256:{each}" for each in known])


def test_what_was_lacking_is_ours_until_it_is_removed(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    Recorder(writer, HERE).note([Placing("a", ((A, ""), (B, A)), (("1", A, ""),)), Placing("nothing")])
    Recorder(writer, ELSEWHERE).note([Placing("a", ((C, ""),))])
    found = read(writer.path).repositories
    assert found == {"a": Ours({A: "", B: A}, {"1": A})}
    assert list(found["a"].manifests) == [A, B]
    Recorder(writer, HERE, step=REMOVED).note([Placing("a", ((A, ""),), (("1", "", ""),))])
    assert read(writer.path).repositories["a"] == Ours({B: A}, removed={"1"})


def test_a_tag_of_others_that_was_moved_is_not_ours(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    Recorder(writer, HERE).note([Placing("a", (), (("1", A, C), ("2", A, "")))])
    Recorder(writer, HERE).note([Placing("a", (), (("1", B, A), ("2", B, A)))])
    assert read(writer.path).repositories["a"].tags == {"2": B}
    # Somebody has set it to something else meanwhile.
    Recorder(writer, HERE).note([Placing("a", (), (("2", A, C),))])
    assert read(writer.path).repositories["a"].tags == {}


def test_many_rows_are_several_lines_of_a_journal(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    digests = [sha256(str(number).encode()) for number in range(9000)]
    tags = tuple((f"{number}", digest, digest) for number, digest in enumerate(digests[:100]))
    Recorder(writer, HERE).note([Placing("a" * 200, tuple((each, each) for each in digests), tags)])
    assert max(map(len, writer.path.read_bytes().splitlines())) < 512 * 1024
    assert list(read(writer.path).repositories["a" * 200].manifests) == digests


def test_what_a_bundle_that_was_only_loaded_found_there_is_unsure(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = begun(path, "install", "1")
    Recorder(first, HERE).note([Placing("a", ((A, ""),), (("1", A, ""),))])
    first.note("install", "done")
    loaded = begun(path, "load", "2", f"{HERE}:443")
    Recorder(loaded, HERE).note([Placing("a", ((B, ""),))])
    loaded.note("load", "done")
    later = begun(path, "install", "3")
    Recorder(later, HERE).note([Placing("a", ((C, ""),))])
    later.note("install", "done")
    found = read(path, "1", "3")
    assert found.repositories["a"].unsure == {A, "1", B} and found.unknown == ("test 2",)
    # Where it is installed, what it needs is known.
    assert read(path, "1", "2", "3").unknown == ()
    begun(path, "install", "2").note("install", "done")
    assert read(path, "1", "3").repositories["a"].unsure == set()


def test_what_was_loaded_elsewhere_needs_nothing_here(tmp_path: Path) -> None:
    begun(tmp_path / "journal.jsonl", "load", "2", ELSEWHERE)
    assert read(tmp_path / "journal.jsonl").unknown == ()


def test_an_install_that_was_cut_off_needs_what_it_found(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Recorder(begun(path, "install", "1"), HERE).note([Placing("a", ((A, ""),))])
    assert read(path).unknown == ("test 1",) and read(path).repositories["a"].unsure == {A}
    # Another one came after it, and to its end: nobody waits for the first any more.
    begun(path, "install", "2").note("install", "done")
    assert read(path, "2").unknown == () and read(path, "2").repositories["a"].unsure == set()


def test_a_bundle_that_was_dropped_and_loaded_again_is_unsure(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    begun(path, "install", "1").note("install", "done")
    Journal(path).note("prune", "done", info={"dropped": ["sha256:1"]})
    assert read(path).unknown == ()
    begun(path, "load", "1")
    assert read(path).unknown == ("test 1",)


def test_uninstall_leaves_all_there(tmp_path: Path) -> None:
    writer = begun(tmp_path / "journal.jsonl", "load", "1")
    Recorder(writer, HERE).note([Placing("a", ((A, ""),))])
    writer.note("uninstall")
    assert read(writer.path) == Placed({})


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.just(A),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["repository", "manifests", "tags"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_what_is_not_as_it_should_be_makes_nothing_ours(value: Any) -> None:
    entry = Entry("r", "placed", "note", "", {"registry": HERE, "placed": json.loads(json.dumps(value))})
    for ours in read_placed([entry], HERE, (), ()).repositories.values():
        assert set(ours.manifests) | set(ours.tags.values()) <= {A}


@pytest.mark.parametrize("row", [{"manifests": [[A, ""]], "tags": []}, {"repository": "a", "manifests": [["x", ""]]}])
def test_rows_that_are_none(row: dict[str, Any]) -> None:
    entry = Entry("r", "placed", "note", "", {"registry": HERE, "placed": [row]})
    assert read_placed([entry], HERE, (), ()).repositories == {}
