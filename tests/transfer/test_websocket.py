from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.transfer.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    BadFrame,
    Messages,
    accept_of,
    frame,
    masked,
    new_key,
)

LIMIT = 1 << 20
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


def served(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    """Return a frame as a server sends it: not masked."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([(0x80 if final else 0) | kind]) + length + payload


def test_the_handshake_is_that_of_the_rfc() -> None:
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # §1.3
    assert new_key() != new_key()


def test_frames_are_those_of_the_rfc() -> None:
    assert frame(TEXT, b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")  # §5.7
    assert list(Messages(9).feed(bytes.fromhex("810548656c6c6f"))) == [(TEXT, b"Hello")]
    assert list(Messages(9).feed(bytes.fromhex("010348656c80026c6f"))) == [(TEXT, b"Hello")]


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_is_understood(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    assert list(Messages(LIMIT).feed(served(BINARY, payload[:size]))) == [(BINARY, payload[:size])]


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_twice_is_not_masking(payload: bytes, mask: bytes) -> None:
    sent = frame(BINARY, payload, mask)
    start = len(sent) - len(payload)
    assert sent[start - 4 : start] == mask
    assert masked(sent[start:], mask) == payload
    assert all(one ^ other == mask[number % 4] for number, (one, other) in enumerate(zip(payload, sent[start:])))


@given(
    st.lists(
        st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=200), min_size=1, max_size=4)),
        max_size=5,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
    st.booleans(),
)
def test_messages_come_however_the_bytes_are_cut(
    messages: list[tuple[int, list[bytes]]], cuts: list[int], pings: bool
) -> None:
    stream = b""
    for kind, parts in messages:
        for number, part in enumerate(parts):
            stream += served(kind if number == 0 else 0, part, final=number == len(parts) - 1)
            stream += served(PING, b"!") if pings else b""
    reader, found, place, number = Messages(LIMIT), [], 0, 0
    while place < len(stream):
        step = cuts[number % len(cuts)]
        found += list(reader.feed(stream[place : place + step]))
        place, number = place + step, number + 1
    assert [each for each in found if each[0] != PING] == [(kind, b"".join(parts)) for kind, parts in messages]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x80\x00\x00\x00\x00",  # masked
        b"\xc2\x00",  # reserved bit
        b"\x83\x00",  # unknown kind
        b"\x09\x00",  # a ping in parts
        b"\x89\x7e\x00\x7e",  # a long ping
        b"\x80\x00",  # goes on without a beginning
        b"\x02\x00\x82\x00",  # begins within another
        served(BINARY, b"x" * 11),
        served(BINARY, b"x" * 6, final=False) + served(0, b"x" * 6),
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_what_no_server_may_send_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Messages(10).feed(data))


@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    try:
        for kind, payload in Messages(64).feed(data):
            assert kind in (TEXT, BINARY, CLOSE, PING, PONG)
            assert len(payload) <= 125
    except BadFrame:
        pass
