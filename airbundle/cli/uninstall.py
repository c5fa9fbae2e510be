"""`airbundle uninstall`: take away what install made."""

from __future__ import annotations

import argparse
from typing import Any

from airbundle.cli.console import Console
from airbundle.cli.kept_site import add_reach, named_sites, reach_of
from airbundle.cli.site import add_state, state_of

HELP = (
    "Take back what install made: at sites releases, objects, DNS and nodes, newest first; then the server, the "
    "registry's container and every file. Volumes and what else holds data stay, unless told otherwise; asks first."
)
EXAMPLE = "  airbundle uninstall --keep-data\n  airbundle uninstall --site berlin --delete-data"

_PATIENCE = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
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
    from airbundle.installer.site.leave import Leaving
    from airbundle.installer.uninstall import uninstall, what_goes

    if args.keep_cluster and args.delete_data:
        raise UsageError("--keep-cluster and --delete-data contradict each other", hint="leave one out")
    state = state_of(args)
    leaving = Leaving(named_sites(args, state), reach_of(args), args.delete_data, args.keep_cluster)
    goes = what_goes(state, keep_data=args.keep_data, leaving=leaving)
    if not goes:
        console.say(f"nothing is installed in {state.root}")
        return {"removed": [], "kept": []}
    if not console.yes:  # else it would be told twice: once here, once as done
        console.note("\n".join(["this takes away:", *(f"  {each}" for each in goes)]))
    if not console.confirm("Take all of this away?"):
        raise Interrupted("nothing was taken away")
    done = uninstall(state, keep_data=args.keep_data, leaving=leaving, reporter=console.reporter)
    for each in done.removed:
        console.say(f"removed  {each}")
    for each in done.kept:
        console.say(f"kept     {each}")
    return {"removed": done.removed, "kept": done.kept}
