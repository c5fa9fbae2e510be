"""`airbundle sign`: one more signature on a finished bundle."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_bundle, bundle_paths
from airbundle.cli.connected import add_key, open_signer
from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.store.reader import BundleFile

HELP = "Verify a bundle, then add a signature to it in place; .sha256 and .sig beside it are written anew."
EXAMPLE = "  airbundle sign messenger-1.4.0.airbundle --key second.key"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    add_key(parser, "the statement")
    parser.add_argument("--no-checksum", action="store_true", help="leave .sha256 and .sig alone")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Sign."""
    from airbundle.errors import UsageError
    from airbundle.store.reader import open_bundle
    from airbundle.store.sign import sign_bundle

    signer = open_signer(args, console)
    if signer is None:
        raise UsageError("no key is named", hint="airbundle sign BUNDLE --key release.key")
    with open_bundle(bundle_paths(args), writable=True) as bundle:
        keys = sign_bundle(bundle, signer, reporter=console.reporter, checksum=not args.no_checksum)
        statement = bundle.statement
        console.say(f"{statement.name} {statement.version} is signed by")
        for key_id in keys:
            console.say(f"  {key_id}{'  (this key)' if key_id == signer.public_key.key_id else ''}")
        _tell_beside(bundle, signer.public_key.key_id, checksum=not args.no_checksum, console=console)
        return {"path": str(bundle.path), "signatures": keys}


def _tell_beside(bundle: BundleFile, key_id: str, *, checksum: bool, console: Console) -> None:
    """Say what the files beside the bundle are worth now: only its key signs other bytes."""
    from airbundle.store.checksum import checksum_path, signature_path
    from airbundle.store.volumes import bundle_path

    path = bundle_path(bundle.file.parts[0].path)
    sums, signature = checksum_path(path).name, signature_path(path).name
    if not checksum:
        if checksum_path(path).exists():
            console.note(f"note: {sums} and {signature} still are those of the file before this signature: renew them")
    elif len(bundle.signatures) > 1:
        console.note(
            f"note: {signature} signs {sums}, which is another now; it is by {key_id} alone. All the keys' signatures "
            "over the statement are inside the bundle: `airbundle verify --key` checks them"
        )
