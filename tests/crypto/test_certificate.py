from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.crypto.ca import create_ca
from airbundle.crypto.certificate import certificate_info, load_chain, to_pem, utc_now
from airbundle.errors import UsageError

CA = create_ca("test", ["a.internal"])
LEAF = CA.issue(["www.a.internal"]).chain


def test_text_around_certificates_is_skipped() -> None:
    chain = load_chain(b"subject: x\n" + LEAF + b"issuer\n" + CA.root_pem + b"end", what="file")
    assert to_pem(chain) == LEAF + CA.root_pem


def test_windows_line_ends() -> None:
    assert to_pem(load_chain(LEAF.replace(b"\n", b"\r\n"), what="file")) == LEAF


def test_bounds() -> None:
    with pytest.raises(UsageError, match="found 0 certificates"):
        load_chain(b"", what="file")
    with pytest.raises(UsageError, match="found 17 certificates"):
        load_chain(LEAF * 17, what="file")
    with pytest.raises(UsageError, match="does not parse"):
        load_chain(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", what="file")


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=200, deadline=None)
@given(place=st.integers(min_value=28, max_value=len(LEAF) - 30), value=st.sampled_from(b"ABCXYZ0189+/=\n-"))
def test_a_damaged_certificate_is_described_or_refused(place: int, value: int) -> None:
    damaged = bytearray(LEAF)
    damaged[place] = value
    try:
        certificate_info(bytes(damaged))
    except UsageError:
        pass


def test_life() -> None:
    now = utc_now()
    info = certificate_info(CA.issue(["x.a.internal"], days=29, now=now).chain)
    assert info.life_left(info.not_before) == 1
    assert info.life_left(info.not_after) == 0
    assert info.life_left(info.not_after + timedelta(days=1)) < 0
    assert info.life_left(info.not_after - timedelta(days=10)) == pytest.approx(1 / 3)
