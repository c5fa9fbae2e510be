from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.gzipstream import BytesStream, GunzipStream
from airbundle.bundle.tarstream import TarEntry, TarStream, linked_name, safe_name
from airbundle.errors import VerificationError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
names = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def tar_of(files: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def linked(kind: bytes, target: str, name: str = "a/link") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)
    return buffer.getvalue()


def contents(data: bytes) -> list[tuple[str, bytes]]:
    stream = TarStream(BytesStream(data), what="archive")
    return [(entry.name, stream.read(1 << 20)) for entry in stream]


def by_offset(data: bytes) -> list[tuple[str, bytes]]:
    file = io.BytesIO(data)
    stream = TarStream(file, what="archive", skip=lambda count: file.seek(count, io.SEEK_CUR), total=len(data))
    return [(entry.name, data[entry.offset : entry.offset + entry.size]) for entry in stream]


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read(kind: str) -> None:
    files = [("short", b"1"), ("d/" * 40 + "x" * 60, b"x" * 1000), ("empty", b""), ("block", b"b" * 512)]
    archive = tar_of(files, FORMATS[kind])
    assert contents(archive) == files
    assert by_offset(archive) == files


@pytest.mark.parametrize("kind", ["gnu", "pax"])
@given(files=st.lists(st.tuples(names, st.binary(max_size=600)), max_size=4))
def test_any_names_and_contents(kind: str, files: list[tuple[str, bytes]]) -> None:
    # tarfile itself takes a slash off the end of names, as of directories.
    files = [(name.rstrip("/") or "x", data) for name, data in files]
    archive = tar_of(files, FORMATS[kind])
    assert contents(archive) == files
    assert by_offset(archive) == files


def test_a_member_that_is_not_read_is_passed_over() -> None:
    stream = TarStream(BytesStream(tar_of([("a", b"x" * 3000), ("b", b"y")])), what="archive")
    assert [entry.name for entry in stream] == ["a", "b"]
    for entry in (stream := TarStream(BytesStream(tar_of([("a", b"x" * 3_000_000), ("b", b"y")])), what="archive")):
        assert next(stream.pieces())[:1] == (b"x" if entry.name == "a" else b"y")


def test_links_and_directories() -> None:
    (entry,) = TarStream(BytesStream(linked(tarfile.SYMTYPE, "../b")), what="archive")
    assert (entry.kind, entry.link, linked_name(entry, what="archive")) == ("symlink", "../b", "b")
    (entry,) = TarStream(BytesStream(linked(tarfile.LNKTYPE, "a/b")), what="archive")
    assert (entry.kind, linked_name(entry, what="archive")) == ("hardlink", "a/b")
    (entry,) = TarStream(BytesStream(linked(tarfile.DIRTYPE, "")), what="archive")
    assert entry.kind == "directory"
    (entry,) = TarStream(BytesStream(linked(tarfile.CHRTYPE, "")), what="archive")
    assert entry.kind == "other"


@pytest.mark.parametrize("target", ["../../x", "/etc/passwd", "b/../../../x", "..\\x"])
def test_a_link_that_leads_outside_is_refused(target: str) -> None:
    (entry,) = TarStream(BytesStream(linked(tarfile.SYMTYPE, target)), what="archive")
    with pytest.raises(VerificationError, match="outside"):
        linked_name(entry, what="archive")


@pytest.mark.parametrize("name", ["/x", "../x", "a/../x", "a//b", "a\\b", "a\nb", "a\0b", "//", "/", ".."])
def test_unsafe_names(name: str) -> None:
    with pytest.raises(VerificationError, match="outside"):
        safe_name(name, what="archive")


@pytest.mark.parametrize(("name", "plain"), [("./a/./b/", "a/b"), ("a", "a"), ("./", ""), (".", ""), ("...", "...")])
def test_safe_names(name: str, plain: str) -> None:
    assert safe_name(name, what="archive") == plain


@pytest.mark.parametrize("size", range(0, 3072, 256))
def test_a_cut_archive_is_refused(size: int) -> None:
    archive = tar_of([("a", b"x" * 600), ("b", b"y" * 600)])
    for read in (contents, by_offset):
        with pytest.raises(VerificationError, match="cut off"):
            read(archive[:size])


def test_sizes_over_eight_gibibytes_in_both_spellings() -> None:
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("big")
        info.size = 1 << 40
        stream = TarStream(BytesStream(info.tobuf(kind)), what="archive")
        assert next(iter(stream)).size == 1 << 40


def test_what_is_refused() -> None:
    plain = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)
    negative = tarfile.TarInfo("a")
    negative.size = -1
    sparse = tarfile.TarInfo("a")
    sparse.pax_headers = {"GNU.sparse.size": "100000000000"}
    wrong_size = tarfile.TarInfo("a")
    wrong_size.pax_headers = {"size": "-5"}
    renaming = tarfile.TarInfo.create_pax_global_header({"path": "b"})
    for block in (
        plain[:20] + b"x" + plain[21:],
        b"not a tar" * 100,
        negative.tobuf(tarfile.GNU_FORMAT),
        sparse.tobuf(tarfile.PAX_FORMAT),
        wrong_size.tobuf(tarfile.PAX_FORMAT),
        renaming,
    ):
        with pytest.raises(VerificationError):
            contents(block + bytes(2048))


def test_a_huge_header_is_not_read() -> None:
    info = tarfile.TarInfo("x" * 2_000_000)
    with pytest.raises(VerificationError, match="larger than"):
        contents(info.tobuf(tarfile.PAX_FORMAT))


@given(st.randoms(use_true_random=False), st.integers(1, 20))
def test_a_damaged_archive_gives_only_our_errors(chooser: random.Random, count: int) -> None:
    archive = bytearray(tar_of([("a" * 150, b"x" * 600), ("b", b"y" * 600)]) + linked(tarfile.SYMTYPE, "../b"))
    for _ in range(count):
        archive[chooser.randrange(len(archive))] = chooser.randrange(256)
    found: list[TarEntry] = []
    stream = TarStream(BytesStream(bytes(archive)), what="archive")
    try:
        for entry in stream:
            found.append(entry)
            stream.read(10_000)
            safe_name(entry.name, what="archive")
            if entry.kind == "symlink":
                linked_name(entry, what="archive")
    except VerificationError:
        pass
    assert len(found) <= len(archive) // 512


@given(st.binary(max_size=3000))
def test_any_bytes_give_only_our_errors(data: bytes) -> None:
    for source in (BytesStream(data), GunzipStream(BytesStream(gzip.compress(data)), limit=10_000, what="archive")):
        try:
            for _ in TarStream(source, what="archive"):
                pass
        except VerificationError:
            pass


def unpacked(data: bytes, limit: int = 1 << 20, step: int = 1000) -> bytes:
    stream = GunzipStream(BytesStream(data), limit=limit, what="file")
    return b"".join(iter(lambda: stream.read(step), b""))


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3), st.integers(1, 5000))
def test_gzip_of_several_members(members: list[bytes], step: int) -> None:
    assert unpacked(b"".join(map(gzip.compress, members)), step=step) == b"".join(members)


def test_gzip_that_is_large() -> None:
    data = random.Random(1).randbytes(300_000) + bytes(700_000)
    assert unpacked(gzip.compress(data)) == data


@pytest.mark.parametrize("size", [0, 1, 10, 15, 30])
def test_cut_gzip_is_refused(size: int) -> None:
    with pytest.raises(VerificationError, match="cut off"):
        unpacked(gzip.compress(bytes(random.Random(1).randbytes(100)))[:size])


def test_gzip_followed_by_something_else_is_refused() -> None:
    with pytest.raises(VerificationError):
        unpacked(gzip.compress(b"x") + b"trailing")


def test_a_gzip_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert len(unpacked(bomb, limit=10_000_000, step=1 << 20)) == 10_000_000
    with pytest.raises(VerificationError, match="more than the 9999999 bytes"):
        unpacked(bomb, limit=9_999_999, step=1 << 20)


@given(st.binary(max_size=500), st.randoms(use_true_random=False))
def test_damaged_gzip_gives_only_our_errors(data: bytes, chooser: random.Random) -> None:
    packed = bytearray(gzip.compress(data))
    packed[chooser.randrange(len(packed))] ^= 1 << chooser.randrange(8)
    try:
        unpacked(bytes(packed))
    except VerificationError:
        pass
