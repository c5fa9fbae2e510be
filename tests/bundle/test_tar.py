from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.bundle.table import BlobTable
from airbundle.bundle.tar import (
    ALIGNED_FROM,
    ALIGNMENT,
    BLOBS,
    BLOCK,
    END,
    LARGEST_OCTAL,
    Member,
    frame,
    header,
    parse_header,
    place,
)
from airbundle.errors import VerificationError

GIB = 1024**3
SIZES = st.one_of(
    st.integers(0, 2000),
    st.integers(ALIGNED_FROM - 2, ALIGNED_FROM + 2),
    st.integers(0, 1 << 50),
    st.integers(LARGEST_OCTAL - 2, LARGEST_OCTAL + 2),
)


def blob_name(number: int) -> str:
    return BLOBS + f"{number:064x}"


@given(st.lists(SIZES, max_size=30), st.integers(0, 50))
def test_members_follow_each_other_and_large_ones_are_aligned(sizes: list[int], blocks: int) -> None:
    members = list(place(((blob_name(i), size) for i, size in enumerate(sizes)), blocks * BLOCK))
    position = blocks * BLOCK
    for member in members:
        assert member.start == position
        assert len(frame(member)) == member.offset - member.start
        if member.size >= ALIGNED_FROM:
            assert member.offset % ALIGNMENT == 0
            assert member.offset - member.start <= ALIGNMENT + 2 * BLOCK
        else:
            assert member.offset - member.start == BLOCK
        position = member.end
        assert position % BLOCK == 0
        assert position >= member.offset + member.size


@given(st.lists(SIZES, max_size=20), st.integers(0, 50))
def test_the_table_places_blobs_as_members_are_placed(sizes: list[int], blocks: int) -> None:
    blobs = [(f"sha256:{i:064x}", size) for i, size in enumerate(sizes)]
    table = BlobTable(blobs, blocks * BLOCK)
    expected = list(place(((blob_name(i), size) for i, size in enumerate(sizes)), blocks * BLOCK))
    assert list(table) == expected
    assert table.end == (expected[-1].end if expected else blocks * BLOCK)
    for member in expected:
        assert table[member.digest] == member


@given(st.lists(st.integers(0, 70000), max_size=8))
def test_python_reads_what_is_framed(sizes: list[int]) -> None:
    data = [bytes([i]) * size for i, size in enumerate(sizes)]
    archive = b"".join(
        frame(member) + piece + bytes(member.end - member.offset - member.size)
        for member, piece in zip(place((blob_name(i), len(piece)) for i, piece in enumerate(data)), data)
    )
    with tarfile.open(fileobj=io.BytesIO(archive + END)) as tar:
        found = tar.getmembers()
        assert [info.name for info in found] == [blob_name(i) for i in range(len(data))]
        assert [info.mode for info in found] == [0o644] * len(data)
        assert all(info.mtime == info.uid == info.gid == 0 and not info.uname for info in found)
        read = [tar.extractfile(info) for info in found]
        assert [stream.read() for stream in read if stream] == data


@given(st.integers(LARGEST_OCTAL - 3, LARGEST_OCTAL + 10**13), st.integers(0, 20))
def test_sizes_beyond_eight_gibibytes_are_in_the_pax_header(size: int, blocks: int) -> None:
    (member,) = place([(blob_name(1), size)], blocks * BLOCK)
    with tarfile.open(fileobj=io.BytesIO(frame(member)), mode="r:") as tar:
        info = tar.next()
    assert info is not None
    assert info.size == size


def test_gnu_tar_lists_a_member_of_nine_gibibytes(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    last = b"after"
    members = list(place([(blob_name(1), 9 * GIB + 1), (blob_name(2), len(last))]))
    with path.open("wb") as file:
        for member in members:
            file.seek(member.start)
            file.write(frame(member))
        file.write(last)
        file.seek(members[-1].end)
        file.write(END)
    listed = subprocess.run(["tar", "tvf", path], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [int(line.split()[2]) for line in listed] == [9 * GIB + 1, len(last)]
    with tarfile.open(path) as tar:
        assert [info.size for info in tar] == [9 * GIB + 1, len(last)]
    assert os.stat(path).st_blocks * 512 < 1024**2, "the file is sparse; the test writes nothing large"


@given(st.integers(0, LARGEST_OCTAL))
def test_headers_are_ustar(size: int) -> None:
    info = tarfile.TarInfo.frombuf(header("airbundle/toc.json", size), "ascii", "strict")
    assert (info.name, info.size, info.type, info.mode) == ("airbundle/toc.json", size, tarfile.REGTYPE, 0o644)
    assert parse_header(header("airbundle/toc.json", size), "airbundle/toc.json") == size


@given(st.integers(0, 511), st.integers(0, 7))
def test_no_bit_of_a_header_may_differ(byte: int, bit: int) -> None:
    block = bytearray(header("index.json", 1234))
    block[byte] ^= 1 << bit
    with pytest.raises(VerificationError, match=r"index\.json"):
        parse_header(bytes(block), "index.json")


@given(st.binary(min_size=512, max_size=512))
def test_anything_else_is_refused(block: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_header(block, "index.json")


def test_a_header_of_another_member_is_refused() -> None:
    with pytest.raises(VerificationError, match="oci-layout"):
        parse_header(header("index.json", 3), "oci-layout")


def test_a_name_that_does_not_fit_is_a_fault() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        header("x" * 101, 1)


def test_a_member_knows_its_digest() -> None:
    digest = sha256(b"x")
    assert Member(BLOBS + digest[7:], 1, 0, 512).digest == digest
