"""`airbundle init`: a commented inventory, or site file, to start from."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path
from typing import Any

from airbundle.cli.console import Console
from airbundle.errors import UsageError

HELP = "Write a commented bundle.yaml into DIR, or with --site a site.yaml. What is there is never overwritten."
EXAMPLE = "  airbundle init messenger"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("directory", metavar="DIR", help="the directory; it is made when it isn't there")
    parser.add_argument("--site", action="store_true", help="write site.yaml, which describes a disconnected site")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the document."""
    from airbundle.cli.templates import BUNDLE_TEMPLATE, SITE_TEMPLATE

    directory = Path(args.directory)
    name = dns_label(directory.resolve().name, default="berlin-1" if args.site else "messenger")
    template = SITE_TEMPLATE if args.site else BUNDLE_TEMPLATE
    path = directory / ("site.yaml" if args.site else "bundle.yaml")
    directory.mkdir(parents=True, exist_ok=True)
    write_new(path, template.replace("@NAME@", name))
    console.say(f"wrote {path}")
    name = shlex.quote(args.directory)
    console.say("next: edit it" + ("" if args.site else f", then `airbundle scan {name}` and `airbundle lock {name}`"))
    return {"path": str(path)}


def dns_label(text: str, *, default: str) -> str:
    """Return `text` as a DNS label, or `default` when nothing of it is left."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    return label or default


def write_new(path: Path, text: str) -> None:
    """Write a file that must not be there yet.

    Raises:
        UsageError: something is there.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="name another directory, or edit that file") from None
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
