"""`airbundle uninstall`: take away what install made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import refuse_empty
from airbundle.cli.console import Console
from airbundle.cli.kept_site import add_reach, named_sites, reach_of
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.installer.removed import Loss

HELP = (
    "Take back what install made: at sites releases, objects, DNS and nodes; then the server, the "
    "registry's container and every file. Volumes and what else holds data stay, unless told otherwise; asks first."
)
EXAMPLE = "  airbundle uninstall --dry-run\n  airbundle uninstall --site berlin --bundle shop --delete-data"

_PATIENCE = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--dry-run", action="store_true", help="say what would go and what stays, and change nothing")
    parser.add_argument(
        "--bundle", metavar="NAME", help="only its releases, and what nothing else needs; by default all"
    )
    parser.add_argument(
        "--keep-data", action="store_true", help="leave copies of bundles, CA, trust, journal and the registry's volume"
    )
    parser.add_argument(
        "--delete-data",
        action="store_true",
        help="at sites also delete volumes, definitions of custom resources, and what owns volumes",
    )
    parser.add_argument(
        "--keep-cluster", action="store_true", help="leave clusters and nodes as they are, such as one that is gone"
    )
    add_reach(parser, patience=_PATIENCE)
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Uninstall."""
    from airbundle.errors import Interrupted, UsageError
    from airbundle.installer.site.leaving import Leaving
    from airbundle.installer.uninstall import uninstall, what_goes

    refuse_empty(args, "bundle")
    for other, given in (("--delete-data", args.delete_data), ("--bundle", args.bundle)):
        if args.keep_cluster and given:
            raise UsageError(f"--keep-cluster and {other} contradict each other", hint="leave one out")
    state = state_of(args)
    leaving = Leaving(named_sites(args, state), reach_of(args), args.delete_data, args.keep_cluster, args.bundle or "")
    if args.dry_run:
        state.check_free()
    goes = what_goes(state, keep_data=args.keep_data, leaving=leaving, reporter=console.reporter)
    if not goes:
        console.say(f"nothing is installed in {state.root}")
        return _answer([], [], dry=args.dry_run)
    if args.dry_run:
        return _plan(goes, console)
    if not console.yes:  # else it would be told twice: once here, once as done
        console.note("\n".join(["this takes away:", *(f"  {each}" for each in goes)]))
    if not console.confirm("Take all of this away?"):
        raise Interrupted("nothing was taken away")
    done = uninstall(state, keep_data=args.keep_data, leaving=leaving, reporter=console.reporter)
    for each in done.removed:
        console.say(f"removed  {each}")
    for each in done.kept:
        console.say(f"kept     {each}")
    return _answer(done.removed, done.kept)


def _plan(goes: Sequence[Loss], console: Console) -> dict[str, Any]:
    for each in goes:
        console.say(f"kept     {each.title}: {each.stays}" if each.stays else f"goes     {each}")
    gone, kept = [each for each in goes if not each.stays], [each for each in goes if each.stays]
    body = _answer([each.title for each in gone], [f"{each.title}: {each.stays}" for each in kept], dry=True)
    return {**body, "plan": [each.to_json() for each in goes]}


def _answer(removed: list[str], kept: list[str], *, dry: bool = False) -> dict[str, Any]:
    return {"changed": bool(removed) and not dry, "dryRun": dry, "removed": removed, "kept": kept}
