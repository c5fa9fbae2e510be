"""Changing what a site trusts: keys are added and removed on purpose, never by a bundle (design §6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from airbundle.bundle.trust import TrustState, trust_keys
from airbundle.crypto.keyfile import read_public_file
from airbundle.errors import TrustError, UsageError
from airbundle.installer.journal import Journal
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import read_trust, write_trust


def add_keys(state: StateDirectory, paths: Sequence[Path], threshold: int | None) -> TrustState:
    """Trust more keys.

    Args:
        state: of the site.
        paths: public keys.
        threshold: how many of all keys must have signed from now on; None leaves it.

    Raises:
        UsageError: a file is no key.
        TrustError: the threshold can't be met.
        Busy: another run is under way.
    """
    pems = [read_public_file(path) for path in paths]

    def change(before: TrustState | None) -> TrustState:
        added = trust_keys(None, pems)
        keys = {**(before.keys if before else {}), **added.keys}
        base = before or TrustState(keys)
        return replace(base, keys=keys, threshold=base.threshold if threshold is None else threshold)

    return _change(state, "trust add", change)


def remove_key(state: StateDirectory, key_id: str) -> TrustState:
    """Trust a key no longer.

    Args:
        state: of the site.
        key_id: `sha256:<hex>`, or its beginning where that is unique.

    Raises:
        UsageError: no key, or more than one, is named so.
        TrustError: fewer keys would be left than must sign.
    """

    def change(before: TrustState | None) -> TrustState:
        keys = before.keys if before else {}
        found = [known for known in keys if key_id in (known, "") or known.startswith((key_id, f"sha256:{key_id}"))]
        if before is None or len(found) != 1:
            raise UsageError(
                f"{key_id!r} names {len(found)} of the {len(keys)} keys that this site trusts",
                hint="`airbundle trust show` lists them",
            )
        return replace(before, keys={known: pem for known, pem in keys.items() if known != found[0]})

    return _change(state, "trust remove", change)


def _change(state: StateDirectory, command: str, change: Callable[[TrustState | None], TrustState]) -> TrustState:
    state.check_free()
    _checked(change(read_trust(state)))  # what can't be is told before anything is made
    with state.locked(f"airbundle {command}"):
        after = _checked(change(read_trust(state)))
        Journal(state.journal).note(command, info={"keys": sorted(after.keys), "threshold": after.threshold})
        write_trust(state, after)
    return after


def _checked(trust: TrustState) -> TrustState:
    if not 1 <= trust.threshold <= len(trust.keys):
        raise TrustError(
            f"{len(trust.keys)} trusted keys can't give {trust.threshold} signatures",
            hint="add another key first, or lower the number with `airbundle trust add PUB --threshold N`",
        )
    return trust
