"""Copying inside the kernel, and by hand where the kernel can't."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.store.ranges import Segment, can_share, copy_segments
from tests.support.images import noise


@pytest.fixture(params=["", "/dev/shm"], ids=["one-file-system", "two-file-systems"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory beside `tmp_path`, or on another file system."""
    with tempfile.TemporaryDirectory(dir=request.param or tmp_path) as name:
        yield Path(name)


def open_new(path: Path, data: bytes = b"") -> int:
    path.write_bytes(data)
    return os.open(path, os.O_RDWR)


def test_bytes_arrive_whatever_the_cuts(tmp_path: Path, elsewhere: Path) -> None:
    data = noise("ranges", 300_000)
    sources = [open_new(elsewhere / "a", data[:70_001]), open_new(elsewhere / "b", data[70_001:])]
    target = open_new(tmp_path / "out", bytes(400_000))
    told: list[int] = []
    whole = copy_segments(
        [(sources[0], 1, 70_000), (sources[1], 0, len(data) - 70_001)],
        [(target, 10, 100_000), (target, 200_000, len(data) - 100_001)],
        told.append,
    )
    assert whole
    assert sum(told) == len(data) - 1
    written = (tmp_path / "out").read_bytes()
    assert written[10:100_010] + written[200_000 : 200_000 + len(data) - 100_001] == data[1:]
    assert not any(written[:10])
    for fd in (*sources, target):
        os.close(fd)


def test_a_source_that_became_shorter_is_told(tmp_path: Path, elsewhere: Path) -> None:
    source, target = open_new(elsewhere / "a", b"x" * 100), open_new(tmp_path / "out", bytes(200))
    assert not copy_segments([(source, 50, 100)], [(target, 0, 100)], lambda _: None)
    os.close(source)
    os.close(target)


def test_a_target_that_is_full_is_an_error(tmp_path: Path) -> None:
    source, target = open_new(tmp_path / "a", b"x" * 100), os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OSError) as caught:
        copy_segments([(source, 0, 100)], [(target, 0, 100)], lambda _: None)
    assert caught.value.errno == errno.ENOSPC
    os.close(source)
    os.close(target)


def test_files_share_blocks_on_one_disk_that_can(sharing_disk: Path, elsewhere: Path) -> None:
    one, other = open_new(sharing_disk / "a", noise("ranges", 10_000)), open_new(elsewhere / "a", bytes(10_000))
    assert can_share(one, sharing_disk)
    assert not can_share(one, elsewhere)
    assert not can_share(other, sharing_disk)
    assert not can_share(one, sharing_disk / "nowhere")
    os.close(one)
    os.close(other)


@given(st.lists(st.integers(1, 50), max_size=8), st.lists(st.integers(1, 50), max_size=8))
def test_any_two_cuts_fit(left: list[int], right: list[int]) -> None:
    size = min(sum(left), sum(right))
    data = noise("cuts", 400)
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(data)
        source.flush()
        target.truncate(400)
        assert copy_segments(cut(source.fileno(), left, size), cut(target.fileno(), right, size), lambda _: None)
        assert os.pread(target.fileno(), 400, 0) == data[:size] + bytes(400 - size)


def cut(fd: int, sizes: list[int], total: int) -> list[Segment]:
    found, position = [], 0
    for size in sizes:
        count = min(size, total - position)
        if count:
            found.append((fd, position, count))
            position += count
    return found
