"""`airbundle verify`: proof of origin, with a key, and of wholeness."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.errors import DigestMismatch, HostError

if TYPE_CHECKING:
    from airbundle.store.reader import BundleFile

HELP = "Prove where a bundle comes from (--key) and that every byte of it is as it was signed."
EXAMPLE = """  airbundle verify messenger-1.4.0.airbundle --key release.pub
  airbundle verify messenger-1.5.0.airbundle --key release.pub --base messenger-1.4.0.airbundle     # a delta
  airbundle verify --how > first-contact.txt     # to carry to a site, with the key, by another way than the bundle"""
_UNPROVEN = """
WARNING: THE ORIGIN OF THIS BUNDLE IS NOT PROVEN: no --key was given{unsigned}.
         The file is undamaged; anyone could have made it. Give the release key that came by another way: --key PUB
"""


_SELF = """
note: this bundle verified itself. That detects damage, not forgery: a forged one would say the same.
      At first contact use the host's own tools: a trusted airbundle's `verify --how` prints the commands, and
      docs/verify.md has them. Later, use the airbundle that is installed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    add_base(parser)
    parser.add_argument(
        "--key", action="append", default=[], metavar="PUB", help="a trusted public key; may be repeated"
    )
    parser.add_argument(
        "--threshold", type=int, default=1, metavar="N", help="so many keys must have signed (%(default)s)"
    )
    parser.add_argument("--allow-expired", action="store_true", help="accept a bundle after its time")
    parser.add_argument(
        "--how",
        action="store_true",
        help="print the commands that prove a bundle with the host's own tools (tar, openssl, …); do nothing else",
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Check the signature, then the head, then every blob."""
    if args.how:
        return _how(args, console)
    from airbundle.store.proven import statuses
    from airbundle.store.reader import open_bundle

    with open_bundle(bundle_paths(args)) as bundle:
        signers = _origin(bundle, args) if args.key else []
        before = statuses(bundle.file)
        bundle.verify_head()
        bundle.verify_blobs(console.reporter)
        _record(bundle, before, args)
        checked = _check_base(bundle, args, console)
        _tell(bundle, signers, console, checked=checked)
        statement = bundle.statement
        return {
            "name": statement.name,
            "version": statement.version,
            "serial": statement.serial,
            "expires": statement.expires,
            "origin": "proven" if signers else "not proven",
            "signers": signers,
            "signatures": [key_id for key_id, _ in bundle.signatures],
            "blobs": len(bundle.toc.blobs),
            "size": bundle.size,
            "base": statement.base.to_json() if statement.base else None,
            "external": len(bundle.toc.external),
            "externalVerified": checked,
        }


def _how(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Print the commands of first contact; nothing is read, so that it works without a bundle at hand."""
    import shlex

    from airbundle.cli.verify_how import COMMANDS, how

    names = shlex.quote(args.bundle or "NAME-VERSION.airbundle"), shlex.quote((args.key or ["release.pub"])[0])
    console.say(how(*names))
    return {"commands": COMMANDS}


def _origin(bundle: BundleFile, args: argparse.Namespace) -> list[str]:
    """Return the ids of the trusted keys that have signed, before anything but the statement is read."""
    from datetime import datetime, timezone

    from airbundle.bundle.trust import check_signatures, check_trust, trust_keys
    from airbundle.crypto.keyfile import read_public_file

    state = trust_keys(None, [read_public_file(Path(name), option="--key") for name in args.key], args.threshold)
    now = datetime.now(timezone.utc)
    check_trust(bundle.statement_raw, bundle.signatures, state, now, allow_expired=args.allow_expired)
    return [key.key_id for key in check_signatures(bundle.statement_raw, bundle.signatures, state)]


def _check_base(bundle: BundleFile, args: argparse.Namespace, console: Console) -> bool:
    """Check that `--base` has what a delta leaves out; return whether that is proven.

    Raises:
        DigestMismatch: a base is damaged where no other has the blob.
        CheckFailed: something is in none.
    """
    if not args.base:
        return not bundle.toc.external
    # Brings the HTTP client along, which takes as long to load as verifying 300 MB.
    from airbundle.installer.missing import prove_blobs
    from airbundle.store.delta import base_bundles, lacking_findings, refuse_lacking
    from airbundle.store.reader import open_bundle
    from airbundle.store.union import BlobUnion, Holder

    with ExitStack() as undo:
        bases = [undo.enter_context(open_bundle(paths)) for paths in base_bundles(base_paths(args))]
        blobs = BlobUnion(bundle, [Holder(base) for base in bases])
        prove_blobs(blobs, bundle.missing(), console.reporter)
        lacking = [blob for blob in bundle.missing() if not blobs.has_blob(blob.digest)]
        names = sorted({name for blob in lacking for name in blobs.damaged.get(blob.digest, ())})
        if names:
            raise DigestMismatch(
                f"{bundle.path.name}: blobs that it leaves out are damaged in {', '.join(names)}",
                findings=lacking_findings(bundle, lacking, blobs.damaged, bases),
                hint="carry the base again",
            )
        refuse_lacking(bundle, lacking, blobs.damaged, bases)
    return True


def _record(bundle: BundleFile, before: Sequence[os.stat_result], args: argparse.Namespace) -> None:
    """Note what was verified: a build that takes from this bundle need not hash it again."""
    from airbundle.cli.arguments import open_cache
    from airbundle.store.proven import proof, record

    try:
        records = open_cache(args).records
    except HostError:  # no home directory, no cache
        return
    # An earlier record may know more: the SHA-256 of the files.
    if records.root.is_dir() and proof(records, bundle) is None:
        record(records, bundle.file, before, bundle.statement_raw)


def _tell(bundle: BundleFile, signers: list[str], console: Console, *, checked: bool) -> None:
    from airbundle.bundle.sizes import counted, human
    from airbundle.cli.main import running_bundle
    from airbundle.store.delta import base_of

    statement = bundle.statement
    blobs = counted(len(bundle.toc.blobs), "blob")
    console.say(f"{statement.name} {statement.version}: whole: {blobs}, {human(bundle.size)}")
    for key_id in signers:
        console.say(f"  signed by {key_id}")
    console.say(f"  created {statement.created}, expires {statement.expires or 'never'}")
    if bundle.toc.external:
        size = human(sum(size for _, size in bundle.toc.external))
        left = f"{counted(len(bundle.toc.external), 'blob')}, {size}"
        there = "all are in --base" if checked else "--base checks that they are there"
        console.say(f"  a delta on {base_of(statement)}: leaves out {left}; {there}")
    if not signers:
        unsigned = "" if bundle.signatures else ", and it carries no signature"
        console.note(_UNPROVEN.format(unsigned=unsigned))
    running = running_bundle()
    if running and any(part.path.samefile(running) for part in bundle.file.parts):
        console.note(_SELF)
