from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.parts import GATHERED, Part, cut

MIB = 1 << 20


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, int]]]:
    """Blobs with gaps before, between and after them."""
    position, blobs = draw(st.integers(1, 200 * MIB)), []
    for number in range(draw(st.integers(0, 40))):
        size = draw(st.one_of(st.integers(0, 3 * MIB), st.integers(0, 1 << 36)))
        blobs.append((f"sha256:{number:064}", position, size))
        position += size + draw(st.integers(0, 100_000))
    return position + draw(st.integers(0, 3 * MIB)), blobs


@given(layouts(), st.integers(3, 2000))
def test_the_parts_are_the_whole_in_order(layout: tuple[int, list[tuple[str, int, int]]], most: int) -> None:
    size, blobs = layout
    parts = cut(size, blobs, most=most)
    position = 0
    for part in parts:
        assert part.offset == position
        assert part.size > 0
        position += part.size
    assert position == size
    known = {digest: (offset, length) for digest, offset, length in blobs}
    for part in parts:
        assert not part.digest or known[part.digest] == (part.offset, part.size)


@given(layouts())
def test_large_blobs_are_parts_of_their_own(layout: tuple[int, list[tuple[str, int, int]]]) -> None:
    size, blobs = layout
    parts = cut(size, blobs, most=10_000)
    if len(parts) < 5000:
        assert {part.digest for part in parts} - {""} == {d for d, _, length in blobs if length >= MIB}
        assert all(part.size <= max(GATHERED, -(-size // 10_000)) for part in parts if not part.digest)


def test_many_blobs_share_parts() -> None:
    blobs = [(f"sha256:{n:064}", 4096 + n * 2 * MIB, MIB + n) for n in range(5000)]
    parts = cut(4096 + 5000 * 2 * MIB, blobs)
    assert len(parts) <= 1000


def test_an_example() -> None:
    assert cut(3 * MIB, [("sha256:a", MIB, MIB), ("sha256:b", 2 * MIB + 100, 5)]) == [
        Part(0, MIB),
        Part(MIB, MIB, "sha256:a"),
        Part(2 * MIB, MIB),
    ]
