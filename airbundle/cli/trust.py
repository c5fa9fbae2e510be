"""`airbundle trust`: the release keys that a site trusts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.bundle.trust import TrustState

HELP = "Show or change the release keys that this site trusts. A bundle never changes them."
EXAMPLE = "  airbundle trust show\n  airbundle trust add new-release.pub\n  airbundle trust remove sha256:1f2e3d"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("show", "add", "remove"), help="what to do")
    parser.add_argument("names", nargs="*", metavar="PUB|KEYID", help="add: files of keys; remove: the id of one")
    parser.add_argument("--threshold", type=int, metavar="N", help="add: so many keys must sign from now on")
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Show, add or remove."""
    from airbundle.errors import UsageError
    from airbundle.installer.trust_store import add_keys, remove_key
    from airbundle.installer.verify import read_trust

    state = state_of(args)
    if args.threshold is not None and args.action != "add":
        raise UsageError("--threshold goes with `trust add`", hint="airbundle trust add release.pub --threshold 2")
    if args.action == "show":
        if args.names:
            raise UsageError(f"`trust show` takes no key; found {args.names[0]}", hint="airbundle trust show")
        trust = read_trust(state)
    elif args.action == "add":
        if not args.names:
            raise UsageError("no key is named", hint="airbundle trust add release.pub")
        _confirm(console, f"Trust bundles signed by the keys in {', '.join(args.names)} from now on?")
        trust = add_keys(state, [Path(name) for name in args.names], args.threshold)
    else:
        if len(args.names) != 1:
            raise UsageError("name one key", hint="airbundle trust remove KEYID")
        _confirm(console, f"Trust bundles signed by {args.names[0]} no longer?")
        trust = remove_key(state, args.names[0])
    _tell(trust, console)
    return _body(trust)


def _confirm(console: Console, question: str) -> None:
    from airbundle.errors import Interrupted

    if not console.confirm(question):
        raise Interrupted("nothing was changed")


def _tell(trust: TrustState | None, console: Console) -> None:
    if trust is None:
        console.say("this site trusts no release key yet; `install --key release.pub` begins")
        return
    console.say(f"{trust.threshold} of these keys must have signed:")
    for key_id in sorted(trust.keys):
        console.say(f"  {key_id}")
    for name, seen in sorted(trust.seen.items()):
        console.say(f"  {name}: nothing older than serial {seen.serial}; newest time seen {seen.newest.isoformat()}")


def _body(trust: TrustState | None) -> dict[str, Any]:
    if trust is None:
        return {"keys": [], "threshold": 0, "seen": {}}
    return {
        "keys": sorted(trust.keys),
        "threshold": trust.threshold,
        "seen": {name: {"serial": seen.serial, "newest": seen.newest.isoformat()} for name, seen in trust.seen.items()},
    }
