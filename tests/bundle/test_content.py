from __future__ import annotations

import ctypes

import pytest

from airbundle.bundle.content import piece_buffer


@pytest.mark.parametrize("size", [1, 1000, 64 * 1024, 128 * 1024, 300_000])
def test_a_buffer_is_whole_and_a_large_one_begins_with_a_page(size: int) -> None:
    with piece_buffer(size) as buffer:
        assert len(buffer) == buffer.nbytes == size
        buffer[:] = b"x" * size
        assert bytes(buffer[-1:]) == b"x"
        if size >= 64 * 1024:
            first = ctypes.c_char.from_buffer(buffer)
            assert ctypes.addressof(first) % 4096 == 0
            del first


def test_an_empty_one() -> None:
    assert len(piece_buffer(0)) == 0
