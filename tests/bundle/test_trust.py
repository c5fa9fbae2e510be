from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airbundle.bundle.statement import Contents, Statement
from airbundle.bundle.trust import FARTHEST_AHEAD, Seen, TrustState, check_signatures, check_trust, trust_keys
from airbundle.crypto.keys import FileSigner
from airbundle.errors import TrustError, UsageError, VerificationError
from tests.support.keys import FIRST, SECOND, signature

CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)
NOW = CREATED + timedelta(days=10)
DIGEST = "sha256:" + "ab" * 32
SUBJECTS = dict.fromkeys(("index.json", "airbundle/lock.json", "airbundle/toc.json"), (DIGEST, 1))


def stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def statement(created: datetime = CREATED, expires: datetime | None = None, name: str = "messenger") -> Statement:
    serial = int(created.timestamp())
    return Statement(name, "1.4.0", serial, stamp(created), stamp(expires) if expires else "", SUBJECTS, Contents(0, 0))


def trusting(*signers: FileSigner, threshold: int = 1) -> TrustState:
    return TrustState({signer.public_key.key_id: signer.public_key.pem for signer in signers}, threshold)


def check(
    claim: Statement,
    state: TrustState,
    *signers: FileSigner,
    now: datetime = NOW,
    allow_older: bool = False,
    allow_expired: bool = False,
) -> Statement:
    raw = claim.to_bytes()
    signatures = [signature(signer, raw) for signer in signers]
    return check_trust(raw, signatures, state, now, allow_older=allow_older, allow_expired=allow_expired)


def test_a_bundle_signed_by_the_trusted_key_is_believed() -> None:
    assert check(statement(), trusting(FIRST), FIRST) == statement()


def test_an_unsigned_bundle_is_refused() -> None:
    with pytest.raises(TrustError, match="not signed"):
        check(statement(), trusting(FIRST))


def test_another_key_is_refused_and_both_are_named() -> None:
    with pytest.raises(TrustError) as caught:
        check(statement(), trusting(FIRST), SECOND)
    assert FIRST.public_key.key_id in caught.value.problem
    assert SECOND.public_key.key_id in caught.value.problem


def test_a_signature_over_other_bytes_is_refused() -> None:
    other = signature(FIRST, statement(name="other").to_bytes())
    with pytest.raises(TrustError, match="altered"):
        check_trust(statement().to_bytes(), [other], trusting(FIRST), NOW)


def test_a_signature_under_another_keys_name_is_refused() -> None:
    raw = statement().to_bytes()
    forged = (FIRST.public_key.key_id, SECOND.sign(raw))
    with pytest.raises(TrustError, match="altered"):
        check_trust(raw, [forged], trusting(FIRST), NOW)


def test_signatures_of_strangers_do_no_harm() -> None:
    raw = statement().to_bytes()
    assert check_trust(raw, [("sha256:" + "0" * 64, b"x"), signature(FIRST, raw)], trusting(FIRST), NOW)


def test_the_threshold_counts_different_keys() -> None:
    both = trusting(FIRST, SECOND, threshold=2)
    assert check(statement(), both, FIRST, SECOND)
    with pytest.raises(TrustError, match="1 valid signatures by trusted keys, and 2 are needed"):
        check(statement(), both, FIRST)


def test_a_signature_given_twice_counts_once() -> None:
    with pytest.raises(TrustError, match="2 are needed"):
        check(statement(), trusting(FIRST, SECOND, threshold=2), FIRST, FIRST)


def test_the_keys_that_signed_are_told() -> None:
    raw = statement().to_bytes()
    (key,) = check_signatures(raw, [signature(FIRST, raw)], trusting(FIRST, SECOND))
    assert key == FIRST.public_key


def test_the_signature_is_checked_before_the_statement_is_read() -> None:
    with pytest.raises(TrustError):
        check_trust(b"not json", [signature(SECOND, b"not json")], trusting(FIRST), NOW)
    with pytest.raises(VerificationError, match="not JSON"):
        check_trust(b"not json", [signature(FIRST, b"not json")], trusting(FIRST), NOW)


def test_an_older_bundle_is_refused_unless_it_is_allowed() -> None:
    newer = statement(CREATED + timedelta(days=1))
    state = trusting(FIRST).accepting(newer, NOW)
    with pytest.raises(TrustError, match="older") as caught:
        check(statement(), state, FIRST)
    assert "--allow-older" in caught.value.hint
    assert check(statement(), state, FIRST, allow_older=True)
    assert check(newer, state, FIRST), "the same bundle may come again"


def test_serials_count_for_each_bundle_by_itself() -> None:
    state = trusting(FIRST).accepting(statement(CREATED + timedelta(days=1), name="other"), NOW)
    assert check(statement(), state, FIRST)


def test_accepting_an_older_bundle_keeps_the_highest_serial() -> None:
    newer = statement(CREATED + timedelta(days=1))
    state = trusting(FIRST).accepting(newer, NOW).accepting(statement(), NOW - timedelta(days=5))
    assert state.seen["messenger"] == Seen(newer.serial, NOW)


def test_an_expired_bundle_is_refused_unless_it_is_allowed() -> None:
    claim = statement(expires=NOW - timedelta(seconds=1))
    with pytest.raises(TrustError, match="expired") as caught:
        check(claim, trusting(FIRST), FIRST)
    assert "--allow-expired" in caught.value.hint
    assert check(claim, trusting(FIRST), FIRST, allow_expired=True)
    assert check(claim, trusting(FIRST), FIRST, now=NOW - timedelta(seconds=1))


def test_setting_the_clock_back_gains_nothing() -> None:
    state = trusting(FIRST).accepting(statement(name="other"), NOW)
    claim = statement(expires=NOW - timedelta(days=1))
    with pytest.raises(TrustError, match="clock"):
        check(claim, state, FIRST, now=CREATED)


def test_the_time_of_a_signed_statement_counts_too() -> None:
    late = statement(NOW + timedelta(days=30), name="other")
    state = trusting(FIRST).accepting(late, CREATED)
    assert state.newest == NOW + timedelta(days=30)


def test_a_bundle_from_the_far_future_is_refused() -> None:
    far = statement(NOW + FARTHEST_AHEAD + timedelta(days=1))
    with pytest.raises(TrustError, match="ahead") as caught:
        check(far, trusting(FIRST), FIRST, allow_older=True, allow_expired=True)
    assert "clock" in caught.value.hint
    seen = trusting(FIRST).accepting(statement(NOW + timedelta(days=300), name="other"), NOW)
    assert check(far, seen, FIRST), "what was accepted before moves the bound"


def test_the_state_survives_its_bytes() -> None:
    state = trusting(FIRST, SECOND, threshold=2).accepting(statement(), NOW)
    raw = state.to_bytes()
    assert TrustState.from_bytes(raw) == state
    assert TrustState.from_bytes(raw).to_bytes() == raw


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": []},
        {"keys": [{"pem": "x"}]},
        {"keys": {}},
        {"keys": [{}]},
        {"threshold": 0},
        {"threshold": 3},
        {"threshold": "1"},
        {"bundles": []},
        {"bundles": {"x": {"serial": -1, "newest": "2026-01-01T00:00:00Z"}}},
        {"bundles": {"x": {"serial": 1, "newest": "yesterday"}}},
        {"bundles": {"x": {}}},
    ],
)
def test_a_state_that_does_not_parse_trusts_nobody(changes: dict[str, object]) -> None:
    body = {**json.loads(trusting(FIRST).to_bytes()), **changes}
    with pytest.raises(TrustError):
        TrustState.from_bytes(json.dumps(body).encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b"7"])
def test_no_state_is_refused(raw: bytes) -> None:
    with pytest.raises(TrustError, match=r"trust\.json"):
        TrustState.from_bytes(raw)


def test_the_first_key_makes_the_state() -> None:
    assert trust_keys(None, [FIRST.public_key.pem]) == trusting(FIRST)


def test_without_a_key_there_is_no_trust() -> None:
    with pytest.raises(TrustError) as caught:
        trust_keys(None, [])
    assert "--key" in caught.value.hint


def test_later_another_key_is_refused() -> None:
    state = trusting(FIRST)
    assert trust_keys(state, []) is state
    assert trust_keys(state, [FIRST.public_key.pem]) is state
    with pytest.raises(TrustError, match="not one that this site trusts"):
        trust_keys(state, [SECOND.public_key.pem])


def test_a_threshold_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(TrustError, match="threshold"):
        trust_keys(None, [FIRST.public_key.pem, FIRST.public_key.pem], 2)
    assert trust_keys(None, [FIRST.public_key.pem, SECOND.public_key.pem], 2).threshold == 2


def test_a_key_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        trust_keys(None, [b"no key"])


def test_the_serial_bounds_itself() -> None:
    with pytest.raises(TrustError, match="ahead"):
        check(replace(statement(), serial=(1 << 53) - 1), trusting(FIRST), FIRST)
