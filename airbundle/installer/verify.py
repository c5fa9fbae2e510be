"""Open a bundle and believe it, or refuse it, before anything changes (design §3 "Read once", §6).

Signatures first, then serial and expiry, then every byte that is no blob. Blobs verify when they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.statement import Statement
from airbundle.bundle.trust import TrustState, check_trust, trust_keys
from airbundle.crypto.keyfile import read_public_file
from airbundle.errors import TrustError
from airbundle.installer.files import FILE, read_file, write_file
from airbundle.installer.sources import open_blobs
from airbundle.installer.state import StateDirectory
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.union import BlobUnion

_TRUST_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class Gate:
    """What the operator says about trust.

    Attributes:
        keys: files with public keys, of `--key`.
        threshold: how many of them must have signed; counts the first time only.
        allow_older, allow_expired: journalled.
    """

    keys: tuple[Path, ...] = ()
    threshold: int = 1
    allow_older: bool = False
    allow_expired: bool = False


@dataclass(frozen=True)
class Trusted:
    """A bundle that is believed: signature, serial, expiry and head are checked.

    Attributes:
        blobs: the bundle's blobs, and of a delta those that were found elsewhere.
        trust: the site's trust with this bundle accepted; `accept` writes it.
    """

    bundle: BundleFile
    blobs: BlobUnion
    trust: TrustState
    gate: Gate

    @property
    def statement(self) -> Statement:
        """What was signed."""
        return self.bundle.statement

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.statement.name} {self.statement.version}"


def read_trust(state: StateDirectory) -> TrustState | None:
    """Return what the site trusts; None before the first time.

    Raises:
        TrustError: trust.json does not parse.
    """
    raw = read_file(state.trust, limit=_TRUST_LIMIT)
    return None if raw is None else TrustState.from_bytes(raw)


def write_trust(state: StateDirectory, trust: TrustState) -> None:
    """Write what the site trusts, durably."""
    write_file(state.trust, trust.to_bytes(), FILE)


@contextmanager
def open_trusted(
    paths: Sequence[Path], state: StateDirectory, gate: Gate, bases: Sequence[Path] = ()
) -> Iterator[Trusted]:
    """Open a bundle and check all that can be checked without reading its blobs. Changes nothing.

    Args:
        paths: the bundle, or its volumes, or directories with them.
        state: whose trust.json counts.
        gate: keys and allowances.
        bases: bundles that have what a delta leaves out; they are not trusted, their blobs are checked one by one.

    Raises:
        TrustError: nobody is trusted yet and no key is given; unsigned, signed by another key, older, expired.
        VerificationError: it is damaged.
        UsageError: there is no such bundle.
    """
    with open_bundle(paths) as bundle:
        known = read_trust(state)
        if known is None and not gate.keys:
            raise TrustError(
                "this site trusts no release key yet",
                hint=f"give the public key, which came to you by another way than the bundle: --key release.pub "
                f"({bundle.path.name} says it is signed by {_signers(bundle)})",
            )
        trust = trust_keys(known, [read_public_file(path, option="--key") for path in gate.keys], gate.threshold)
        now = datetime.now(timezone.utc)
        statement = check_trust(
            bundle.statement_raw,
            bundle.signatures,
            trust,
            now,
            # What a rollback brought back is what this site has: to install it again takes nothing back.
            allow_older=gate.allow_older or state.read().serves(sha256(bundle.statement_raw)),
            allow_expired=gate.allow_expired,
        )
        bundle.verify_head()
        with open_blobs(bundle, bases, state) as blobs:
            yield Trusted(bundle, blobs, trust.accepting(statement, now), gate)


def _signers(bundle: BundleFile) -> str:
    return ", ".join(sorted({key_id for key_id, _ in bundle.signatures})[:3]) or "nobody"
