"""`airbundle key`: make a release key, or show the public half of one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import Actions
from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.crypto.keys import PublicKey

HELP = "Make a release key, or show the public half of one. The private half signs, the public half goes to the sites."
EXAMPLE = "  airbundle key generate -o release.key\n  airbundle key public release.key"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = Actions(parser)
    generate = actions.add("generate", "Make an ECDSA P-256 key pair.", "airbundle key generate -o release.key")
    generate.add_argument(
        "-o",
        "--output",
        default="release.key",
        metavar="FILE",
        help="the private key, encrypted (%(default)s); the public one gets the ending .pub",
    )
    public = actions.add("public", "Print the public half of a key.", "airbundle key public release.key")
    public.add_argument("key", metavar="KEY", help="private key (PKCS#8 or cosign.key), or a public one")
    public.add_argument("-o", "--output", metavar="FILE", help="write it to a file")
    for action in (generate, public):
        action.add_argument("--passphrase-file", metavar="FILE", help="the passphrase is the first line of this file")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run the action."""
    return _generate(args, console) if args.action == "generate" else _public(args, console)


def _generate(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from airbundle.crypto.keyfile import write_new_file
    from airbundle.crypto.keys import generate_key, load_public_key
    from airbundle.errors import UsageError

    private, public = Path(args.output), Path(args.output).with_suffix(".pub")
    if private == public:
        raise UsageError(f"{private} is the name of the public half", hint="such as -o release.key")
    for path in (private, public):
        if path.exists():
            raise UsageError(f"{path} is there already", hint="a key is never overwritten: choose another name with -o")
    keys = generate_key(console.passphrase(f"the new key {private}", file=args.passphrase_file, new=True))
    write_new_file(private, keys[0], 0o600)
    write_new_file(public, keys[1], 0o644)
    key = load_public_key(keys[1])
    console.say(f"{private}  the private key, encrypted: signs bundles; keep a copy in a safe place")
    console.say(f"{public}  the public key: give it to the sites, by another way than the bundles")
    console.say(f"key id {key.key_id}")
    return {"private": str(private), "public": str(public), "keyId": key.key_id}


def _public(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from airbundle.crypto.keyfile import write_new_file

    key = _load(args, console)
    if args.output:
        write_new_file(Path(args.output), key.pem, 0o644)
        console.say(f"{args.output}  key id {key.key_id}")
    else:
        console.say(key.pem.decode().rstrip("\n"))
        console.note(f"key id {key.key_id}")
    return {"keyId": key.key_id, "pem": key.pem.decode()}


def _load(args: argparse.Namespace, console: Console) -> PublicKey:
    from airbundle.crypto.keyfile import read_public_file
    from airbundle.crypto.keys import load_public_key, load_signer
    from airbundle.crypto.pkcs8 import pem_label

    path = Path(args.key)
    if path.is_file() and pem_label(read_public_file(path)) == "PUBLIC KEY":
        return load_public_key(read_public_file(path), what=str(path))
    word = console.passphrase
    return load_signer(args.key, lambda: word(f"the key {args.key}", file=args.passphrase_file)).public_key
