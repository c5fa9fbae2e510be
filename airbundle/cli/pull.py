"""`airbundle pull`: a published bundle back from a registry."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from airbundle.cli.connected import add_registries, open_client
from airbundle.cli.console import Console

HELP = "Fetch a published bundle from a registry; a pull that was cut off goes on. Prove its origin with verify --key."
EXAMPLE = "  airbundle pull registry.corp/bundles/messenger:1.4.0 -o /media/usb"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("ref", metavar="REF", help="what `publish` named: host/repository:tag, or @digest")
    parser.add_argument("-o", "--output", default=".", metavar="DIR", help="where to (%(default)s)")
    add_registries(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Pull."""
    import shlex

    from airbundle.builder.publish import pull_bundle
    from airbundle.bundle.reference import parse_reference
    from airbundle.bundle.sizes import human

    reference = parse_reference(args.ref, default_tag="")
    with open_client(args, console) as client:
        repository = client.repository(reference.name)
        path = pull_bundle(repository, reference.wanted, Path(args.output), reporter=console.reporter)
    console.say(f"{path}  {human(path.stat().st_size)}")
    console.say(f"prove its origin: airbundle verify {shlex.quote(str(path))} --key PUB")
    return {"path": str(path), "size": path.stat().st_size}
