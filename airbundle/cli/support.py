"""`airbundle support`: one archive for somebody who helps from afar, without secrets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

HELP = (
    "Write one archive of what somebody needs who helps from afar: versions, state, journal, configuration, logs, "
    "certificates' terms; no keys, passphrases or credentials. Changes nothing, sends nothing, works on a broken site."
)
EXAMPLE = "  airbundle support -o berlin-1-support.tar.gz"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="where to, a tar.gz; it must not be there yet"
    )
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Gather and write."""
    from airbundle.bundle.sizes import human
    from airbundle.installer.support import write_support

    made = write_support(state_of(args), Path(args.output), console.reporter)
    contents, left_out, failed = (made.manifest[name] for name in ("contents", "leftOut", "failed"))
    console.say(f"{made.file}  {human(made.size)}, sha256 {made.sha256}")
    console.table([("  " + each["path"], each["what"]) for each in contents])
    for each in left_out:
        console.say(f"not in it  {each['what']}: {each['why']}")
    for each in failed:
        console.say(f"failed     {each['what']}: {each['error']}")
    console.say(f"nothing was sent: look into it (`tar -xzf {made.file}`) before you hand it on")
    return {
        "file": str(made.file),
        "size": made.size,
        "sha256": made.sha256,
        "contents": contents,
        "leftOut": left_out,
        "failed": failed,
    }
