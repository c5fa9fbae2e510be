"""`airbundle post-render`: what helm starts as its post-renderer; not for people, and in no list of commands."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from airbundle.cli.console import Console

HELP = "Pin the images of a render that helm hands over on standard input. Helm starts it; people need not."
EXAMPLE = "  helm upgrade … --post-renderer airbundle --post-renderer-args post-render --post-renderer-args PINS.json"
_PINS_LIMIT = 64 * 1024 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pins", metavar="PINS", help="the file with what images are called at the site")
    parser.add_argument("--keep-names", action="store_true", help="images keep their names; PINS is not read")
    parser.add_argument("--release", default="", help="the release, for errors")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:  # noqa: ARG001 - its output is the render's
    """Pin."""
    from airbundle.deploy.pins import parse_pins
    from airbundle.installer.post_render import post_render
    from airbundle.scan.documents import SIZE_LIMIT
    from airbundle.store.host import read_bounded

    path = Path(args.pins)
    pins = None if args.keep_names else parse_pins(read_bounded(path, _PINS_LIMIT), where=str(path))
    raw = sys.stdin.buffer.read(SIZE_LIMIT + 1)
    sys.stdout.buffer.write(post_render(raw, pins, title=f"release {args.release}".strip()))
    return {}
