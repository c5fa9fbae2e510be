"""The rules of trust (design §6): who must have signed, and which bundles are too old. Pure: bytes and times in.

A site keeps a `TrustState` (`trust.json`). The first `--key` makes it; afterwards only `trust` changes its keys.

- threshold: so many different trusted keys have valid signatures; two by one key count once;
- rollback: a serial below the highest seen is refused (`allow_older`);
- freeze: an expired bundle is refused (`allow_expired`); the time counted with is never before the newest seen, so
  that setting the clock back gains nothing;
- fast-forward: a serial is a time. One far ahead of every clock and serial seen is refused, or one bad signature
  would make every later bundle "older" for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airbundle.bundle.oci import parse_json
from airbundle.bundle.statement import Statement, parse_statement, parse_time
from airbundle.errors import TrustError, UsageError, VerificationError

if TYPE_CHECKING:
    from airbundle.crypto.keys import PublicKey

API_VERSION = "airbundle.dev/v1"
FARTHEST_AHEAD = timedelta(days=366)
"""How far a serial may lie ahead of the clock and of all that was seen."""

_LIMIT = 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Seen:
    """What a site has seen of one bundle's name: the highest serial accepted, and the newest time."""

    serial: int
    newest: datetime


@dataclass(frozen=True)
class TrustState:
    """What a site trusts and has seen.

    Attributes:
        keys: trusted public keys (SPKI PEM) by key id.
        threshold: how many of them must have signed.
        seen: by name of bundle.
    """

    keys: Mapping[str, bytes]
    threshold: int = 1
    seen: Mapping[str, Seen] = field(default_factory=dict)

    @property
    def newest(self) -> datetime:
        """The newest time seen with any bundle."""
        return max((seen.newest for seen in self.seen.values()), default=_EPOCH)

    def accepting(self, statement: Statement, now: datetime) -> TrustState:
        """Return the state after a bundle was accepted at `now`."""
        before = self.seen.get(statement.name, Seen(0, _EPOCH))
        newest = max(before.newest, parse_time(statement.created), now.astimezone(timezone.utc).replace(microsecond=0))
        seen = Seen(max(before.serial, statement.serial), newest)
        return replace(self, seen={**self.seen, statement.name: seen})

    def to_bytes(self) -> bytes:
        """Return `trust.json`."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "Trust",
            "threshold": self.threshold,
            "keys": [{"keyid": key_id, "pem": pem.decode()} for key_id, pem in sorted(self.keys.items())],
            "bundles": {
                name: {"serial": seen.serial, "newest": seen.newest.strftime("%Y-%m-%dT%H:%M:%SZ")}
                for name, seen in sorted(self.seen.items())
            },
        }
        return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> TrustState:
        """Read `trust.json`.

        Raises:
            TrustError: it does not parse; nothing is trusted then.
        """
        try:
            body = parse_json(raw, what="trust.json", limit=_LIMIT)
            keys = _keyed(str(entry["pem"]).encode() for entry in body["keys"])
            threshold = body["threshold"]
            seen = {
                str(name): Seen(_number(entry["serial"]), parse_time(str(entry["newest"])))
                for name, entry in body["bundles"].items()
            }
        except (VerificationError, UsageError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise TrustError(
                f"trust.json: {error}", hint="restore it from a backup; without it this site trusts nobody"
            ) from None
        return _checked(cls(keys, _number(threshold), seen))


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TrustError(f"trust.json: {value!r} is no number")
    return value


def _keyed(pems: Iterable[bytes]) -> dict[str, bytes]:
    from airbundle.crypto.keys import load_public_key

    loaded = [load_public_key(pem) for pem in pems]
    return {key.key_id: key.pem for key in loaded}


def _checked(state: TrustState) -> TrustState:
    if not 1 <= state.threshold <= len(state.keys):
        raise TrustError(
            f"a threshold of {state.threshold} can't be met by {len(state.keys)} trusted keys",
            hint="give as many different keys with --key",
        )
    return state


def trust_keys(state: TrustState | None, pems: Sequence[bytes], threshold: int = 1) -> TrustState:
    """Return the state to check with, given the site's own and the keys of `--key`.

    Args:
        state: the site's; None the first time.
        pems: public keys given; may be empty when there is a state.
        threshold: for the first time; later the state's counts.

    Raises:
        TrustError: no key at all the first time, or one that the site does not trust.
        UsageError: a key does not parse.
    """
    given = _keyed(pems)
    if state is None:
        if not given:
            raise TrustError(
                "this site trusts no release key yet",
                hint="give the public key that came by another way: --key release.pub",
            )
        return _checked(TrustState(given, threshold))
    unknown = sorted(set(given) - set(state.keys))
    if unknown:
        raise TrustError(
            f"--key: {unknown[0]} is not one that this site trusts; it trusts {', '.join(sorted(state.keys))}",
            hint="leave --key out, or change the site's keys with `airbundle trust`",
        )
    return state


def check_trust(
    statement_raw: bytes,
    signatures: Sequence[tuple[str, bytes]],
    state: TrustState,
    now: datetime,
    *,
    allow_older: bool = False,
    allow_expired: bool = False,
) -> Statement:
    """Decide whether a bundle is to be believed, before anything else of it is read.

    Args:
        statement_raw: the exact bytes of its statement.
        signatures: (key id, DER signature) as found in it.
        state: what the site trusts and has seen.
        now: the host's clock, with time zone.
        allow_older, allow_expired: what the operator has allowed; the caller journals it.

    Raises:
        TrustError: unsigned, signed by too few trusted keys, older than what was seen, expired, or from the far future.
        VerificationError: the statement does not parse.
    """
    check_signatures(statement_raw, signatures, state)
    statement = parse_statement(statement_raw)
    seen = state.seen.get(statement.name)
    if seen is not None and statement.serial < seen.serial and not allow_older:
        raise TrustError(
            f"{_title(statement)} of {statement.created} (serial {statement.serial}) is older than what this site has"
            f" seen (serial {seen.serial})",
            hint="carry a newer bundle, or allow this one with --allow-older",
        )
    _check_ahead(statement, state, now)
    effective = max(now, state.newest)
    expiry = statement.expiry
    if expiry is not None and expiry < effective and not allow_expired:
        behind = "" if now >= state.newest else f"; this host's clock says {_shown(now)}, which is past"
        raise TrustError(
            f"{_title(statement)} expired at {statement.expires}; the time is at least {_shown(effective)}{behind}",
            hint="carry a newer bundle, or allow this one with --allow-expired",
        )
    return statement


def check_signatures(
    statement_raw: bytes, signatures: Sequence[tuple[str, bytes]], state: TrustState
) -> tuple[PublicKey, ...]:
    """Return the trusted keys whose signatures are valid.

    Raises:
        TrustError: they are fewer than the threshold; says what was found.
    """
    from airbundle.crypto.keys import load_public_key

    if not signatures:
        raise TrustError(
            "the bundle is not signed",
            hint="ask for a signed one; `airbundle sign` adds a signature on the connected side",
        )
    keys = {key_id: load_public_key(pem) for key_id, pem in state.keys.items()}
    claimed = sorted({key_id for key_id, _ in signatures})
    valid = {
        key_id: keys[key_id]
        for key_id, signature in signatures
        if key_id in keys and keys[key_id].verify(signature, statement_raw)
    }
    if len(valid) >= state.threshold:
        return tuple(valid[key_id] for key_id in sorted(valid))
    broken = [key_id for key_id in claimed if key_id in keys and key_id not in valid]
    if broken:
        raise TrustError(
            f"the signature by {broken[0]} does not fit the statement: one of them was altered",
            hint="do not use this file; carry it again from its source",
        )
    trusted = ", ".join(sorted(keys))
    if not valid:
        raise TrustError(
            f"the bundle is signed by {', '.join(claimed[:5])}; trusted is {trusted}",
            hint="check that this is the right key, and where the bundle comes from",
        )
    raise TrustError(
        f"the bundle has {len(valid)} valid signatures by trusted keys, and {state.threshold} are needed",
        hint="let the other key holders add theirs with `airbundle sign`",
    )


def _check_ahead(statement: Statement, state: TrustState, now: datetime) -> None:
    highest = max((seen.serial for seen in state.seen.values()), default=0)
    known = max(now.timestamp(), state.newest.timestamp(), float(highest))
    if statement.serial > known + FARTHEST_AHEAD.total_seconds():
        raise TrustError(
            f"{_title(statement)} has serial {statement.serial}, which lies more than"
            f" {FARTHEST_AHEAD.days} days ahead of this host's clock ({_shown(now)}) and of all seen here",
            hint="set the clock if it is wrong; else do not use this bundle",
        )


def _title(statement: Statement) -> str:
    return f"{statement.name} {statement.version}"


def _shown(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
