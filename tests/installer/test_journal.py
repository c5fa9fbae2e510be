from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import DocumentError
from airbundle.installer.journal import Journal

HEADER = b'{"apiVersion": "airbundle.dev/v1", "kind": "Journal", "version": 1}\n'


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def test_without_a_journal_there_is_nothing_to_read(journal: Journal) -> None:
    assert journal.read() == []
    assert journal.undo() == []


def test_a_step_is_recorded_before_and_after(journal: Journal) -> None:
    with journal.step("copy", undo=[{"file": "/x"}], bundle="a-1") as result:
        (begun,) = journal.read()
        result["bytes"] = 7
    assert (begun.step, begun.event, dict(begun.info), begun.undo) == (
        "copy",
        "begin",
        {"bundle": "a-1"},
        ({"file": "/x"},),
    )
    done = journal.read()[-1]
    assert (done.step, done.event, dict(done.info), done.run) == ("copy", "done", {"bytes": 7}, begun.run)


def test_a_step_that_fails_is_recorded_and_its_error_goes_on(journal: Journal) -> None:
    with pytest.raises(RuntimeError), journal.step("copy"):
        raise RuntimeError("no")
    entry = journal.read()[-1]
    assert (entry.event, dict(entry.info)) == ("failed", {"error": "RuntimeError: no"})


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_group_may_read_whatever_the_umask(journal: Journal, mask: int) -> None:
    before = os.umask(mask)
    try:
        journal.note("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o640


def test_what_was_made_last_is_taken_away_first_and_once(journal: Journal) -> None:
    journal.note("a", "begin", undo=[{"file": "/1"}, {"file": "/2"}])
    journal.note("b", "begin", undo=[{"service": "s"}])
    journal.note("a", "begin", undo=[{"file": "/1"}])
    assert journal.undo() == [{"file": "/1"}, {"service": "s"}, {"file": "/2"}]


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_journal_cut_off_anywhere_is_read_and_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    first = Journal(path)
    for step in ("a", "b", "c"):
        first.note(step, info={"n": step * 10})
    raw = path.read_bytes()
    whole = raw[:cut].count(b"\n")
    path.write_bytes(raw[:cut])
    second = Journal(path)
    assert [entry.step for entry in second.read()] == ["a", "b", "c"][: max(0, whole - 1)]
    second.note("d")
    assert [entry.step for entry in Journal(path).read()] == [*["a", "b", "c"][: max(0, whole - 1)], "d"]


@pytest.mark.parametrize(
    "line",
    [b"{}", b"[]", b"nonsense", b'{"run": 1}', b'{"run":"r","step":"s","event":"e","time":"t","undo":[1]}', b"\xff"],
)
def test_a_broken_line_in_the_middle_is_named(journal: Journal, line: bytes) -> None:
    good = b'{"run":"r","step":"s","event":"e","time":"t"}\n'
    journal.path.write_bytes(HEADER + good + line + b"\n" + good)
    with pytest.raises(DocumentError, match=r"journal\.jsonl:3: does not parse"):
        journal.read()


def test_a_newer_journal_is_refused(journal: Journal) -> None:
    journal.path.write_bytes(HEADER.replace(b"1}", b"2}"))
    with pytest.raises(DocumentError, match="has version 2, expected 1 at most"):
        journal.read()


def test_text_of_any_kind_survives(journal: Journal) -> None:
    journal.note("x", info={"text": 'ä\n"\u2028', "number": 3, "list": [1]})
    assert dict(journal.read()[0].info) == {"text": 'ä\n"\u2028', "number": 3, "list": [1]}
