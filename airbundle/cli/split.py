"""`airbundle split`: a finished bundle cut into volumes."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from airbundle.cli.arguments import add_bundle, bundle_paths
from airbundle.cli.console import Console

HELP = "Cut a bundle into volumes, for media that take no large files. Commands read volumes in place."
EXAMPLE = "  airbundle split messenger-1.4.0.airbundle --size 4GiB -o /media/usb"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    parser.add_argument(
        "--size", "--split-size", required=True, metavar="SIZE", help="of a volume at most, such as 4GiB or 650M"
    )
    parser.add_argument("-o", "--output", default=".", metavar="DIR", help="where to (%(default)s)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Split."""
    from airbundle.bundle.sizes import human, parse_size
    from airbundle.store.reader import open_bundle
    from airbundle.store.split import split_bundle

    with open_bundle(bundle_paths(args)) as bundle:
        built = split_bundle(bundle, parse_size(args.size), Path(args.output), reporter=console.reporter)
    for path in built.files:
        console.say(f"{path}  {human(path.stat().st_size)}")
    console.say(f"check copies with: sha256sum -c {shlex.quote(f'{built.path.name}.sha256')}")
    return {"volumes": [str(path) for path in built.files], "size": built.size, "sums": dict(built.sums)}
