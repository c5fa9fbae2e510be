from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airbundle.crypto import sealed
from airbundle.crypto.sealed import OVERHEAD, check_sealed, seal, unseal
from airbundle.errors import UsageError, VerificationError

WORD = b"correct horse battery"
CHEAP = 4
"""Property tests guess thousands of times."""
CONTENT = b"state and keys" * 9
ONE = seal(CONTENT, WORD, cost=CHEAP)


def corrected(data: bytes) -> bytes:
    """Return a file that was altered on purpose: with the digest that it should have."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(content=st.binary(max_size=300), passphrase=st.binary(min_size=1, max_size=40))
def test_what_was_sealed_comes_back(content: bytes, passphrase: bytes) -> None:
    data = seal(content, passphrase, cost=CHEAP)
    assert len(data) == len(content) + OVERHEAD
    assert unseal(data, passphrase, what="x") == content
    # Sealing again gives other bytes: salt and nonce are never used twice.
    assert seal(content, passphrase, cost=CHEAP) != data


def test_what_lies_in_it_can_not_be_read() -> None:
    assert CONTENT[:8] not in ONE and WORD not in ONE


def test_no_flipped_bit_is_accepted() -> None:
    for bit in range(len(ONE) * 8):
        with pytest.raises(VerificationError):
            unseal(flipped(ONE, bit), WORD, what="x")


def test_nor_one_of_somebody_who_corrects_the_digest() -> None:
    for bit in range((len(ONE) - 32) * 8):
        # In salt, costs and proof it is the passphrase that no longer fits.
        with pytest.raises((VerificationError, UsageError)):
            unseal(corrected(flipped(ONE, bit)), WORD, what="x")
    for bit in range(96 * 8, (len(ONE) - 32) * 8):
        with pytest.raises(VerificationError, match="not what was sealed"):
            unseal(corrected(flipped(ONE, bit)), WORD, what="x")


@given(st.integers(0, len(ONE) - 1))
@example(0)
@example(len(ONE) - 1)
def test_no_file_that_is_cut_off_is_accepted(size: int) -> None:
    for data in {ONE[:size], corrected(ONE[:size] + bytes(32))} - {ONE}:
        with pytest.raises(VerificationError):
            unseal(data, WORD, what="x")


@given(st.binary(min_size=1, max_size=20))
def test_nothing_may_follow(more: bytes) -> None:
    for data in (ONE + more, corrected(ONE[:-32] + more + bytes(32))):
        with pytest.raises(VerificationError):
            unseal(data, WORD, what="x")


@given(st.binary(max_size=300))
def test_no_other_file_is_accepted(data: bytes) -> None:
    for each in (data, b"airbundle-sealed" + data):
        with pytest.raises(VerificationError):
            check_sealed(each, what="x")


# HMAC, and so scrypt, fills short keys up with zeros (RFC 2104 §2): zeros at the end make no other passphrase.
@given(st.binary(max_size=30).filter(lambda word: word.rstrip(b"\0") != WORD))
@example(WORD + b"\n")
@example(b"")
def test_a_wrong_passphrase_is_wrong_usage(word: bytes) -> None:
    with pytest.raises(UsageError, match="does not open it") as caught:
        unseal(ONE, word, what="x")
    assert caught.value.exit_code == 2


def test_damage_is_told_before_a_passphrase_is_asked_for() -> None:
    check_sealed(ONE, what="x")
    with pytest.raises(VerificationError, match="damaged or cut off"):
        check_sealed(flipped(ONE, 900), what="x")


def test_a_newer_version_is_refused() -> None:
    newer = bytearray(ONE)
    newer[16] = 2
    with pytest.raises(UsageError, match="has version 2, expected 1 at most"):
        unseal(corrected(bytes(newer)), WORD, what="x")


@pytest.mark.parametrize(("place", "value"), [(17, 0), (17, 25), (17, 255), (18, 0), (19, 0), (19, 255)])
def test_absurd_costs_are_not_paid(place: int, value: int) -> None:
    hostile = bytearray(ONE)
    hostile[place] = value
    with pytest.raises(VerificationError, match="what no sealed file says"):
        unseal(corrected(bytes(hostile)), WORD, what="x")


def test_what_can_not_be_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="protects nothing"):
        seal(b"x", b"", cost=CHEAP)
    monkeypatch.setattr(sealed, "SEALED_LIMIT", 3)
    with pytest.raises(UsageError, match="more than the 3"):
        seal(b"1234", WORD, cost=CHEAP)


def test_the_cost_of_a_guess() -> None:
    data = seal(b"x", WORD)
    assert data[17:20] == bytes((17, 8, 1))
    assert unseal(data, WORD, what="x") == b"x"


def test_a_host_without_the_memory_is_told() -> None:
    code = """
import resource
from airbundle.crypto.sealed import seal
from airbundle.errors import HostError
resource.setrlimit(resource.RLIMIT_AS, (120 * 1024 * 1024,) * 2)
try:
    seal(b"x", b"word")
except HostError as error:
    print(error.problem)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "takes 128 MiB of memory" in done.stdout, done.stderr
