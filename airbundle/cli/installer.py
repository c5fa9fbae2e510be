"""`airbundle installer`: the installer alone, for sites that approve the tool once and data monthly."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from airbundle.cli.console import Console

HELP = "Write the installer alone: the same bytes that bundles made by this version end with."
EXAMPLE = "  airbundle installer -o airbundle.pyz && python3 airbundle.pyz verify B.airbundle --key release.pub"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("-o", "--output", default="airbundle.pyz", metavar="FILE", help="where to (%(default)s)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the zip application."""
    from airbundle.builder.installer_zip import write_installer
    from airbundle.bundle.sizes import human
    from airbundle.cli.arguments import open_cache

    written = write_installer(Path(args.output), open_cache(args), reporter=console.reporter)
    console.say(f"{written.path}: {human(written.size)}, {written.digest}")
    return {"path": str(written.path), "size": written.size, "digest": written.digest}
