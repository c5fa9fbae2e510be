"""`airbundle uninstall`: take away what install made."""

from __future__ import annotations

import argparse
from typing import Any

from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

HELP = "Stop the server and the registry's container, and take away every file that install made; asks first."
EXAMPLE = "  airbundle uninstall --keep-data"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--keep-data", action="store_true", help="leave copies of bundles, CA, trust, journal and the registry's volume"
    )
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Uninstall."""
    from airbundle.errors import Interrupted
    from airbundle.installer.uninstall import uninstall, what_goes

    state = state_of(args)
    goes = what_goes(state, keep_data=args.keep_data)
    if not goes:
        console.say(f"nothing is installed in {state.root}")
        return {"removed": [], "kept": []}
    if not console.yes:  # else it would be told twice: once here, once as done
        console.note("\n".join(["this takes away:", *(f"  {each}" for each in goes)]))
    if not console.confirm("Take all of this away?"):
        raise Interrupted("nothing was taken away")
    done = uninstall(state, keep_data=args.keep_data)
    for each in done.removed:
        console.say(f"removed  {each}")
    for each in done.kept:
        console.say(f"kept     {each}")
    return {"removed": done.removed, "kept": done.kept}
