"""Tests for airbundle.installer.support_archive: where what is gathered lies in the archive."""

from __future__ import annotations

import io
import tarfile

import pytest

from airbundle.installer.support_archive import Archive


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("sites/b/ns/log/web-0-c.log", "sites/b/ns/log/web-0-c.log"),
        ("sites/b/ns/log/../../../../tmp/evil.log", "sites/b/ns/log/_/_/_/_/tmp/evil.log"),
        ("/etc/passwd", "_/etc/passwd"),
        ("a/./b", "a/_/b"),
        ("a/new\nline\0.log", "a/new_line_.log"),
    ],
)
def test_names_of_a_cluster_lead_to_no_place_outside(path: str, member: str) -> None:
    archive = Archive()
    archive.add_text(path, "a log", "lines\n")
    with tarfile.open(fileobj=io.BytesIO(archive.to_bytes())) as tar:
        assert tar.getnames() == ["airbundle-support/MANIFEST.json", f"airbundle-support/{member}"]
    assert [each["path"] for each in archive.contents] == [member]


def test_two_of_one_name_are_both_there() -> None:
    archive = Archive()
    for text in ("one\n", "two\n", "three\n"):
        archive.add_text("log/a?b.log" if text == "two\n" else "log/a_b.log", "a log", text)
    assert [each["path"] for each in archive.contents] == ["log/a_b.log", "log/a_b~2.log", "log/a_b~3.log"]
