"""`airbundle publish`: a bundle into a registry, as an artifact."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from airbundle.cli.connected import add_registries, open_client
from airbundle.cli.console import Console
from airbundle.errors import UsageError

HELP = "Push a bundle to a registry as an artifact. Large blobs that the registry has are not sent again."
EXAMPLE = "  airbundle publish messenger-1.4.0.airbundle registry.corp/bundles/messenger:1.4.0"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle, or any of its volumes")
    parser.add_argument("ref", metavar="REF", help="where to: host/repository:tag")
    parser.add_argument("--volumes", action="append", default=[], metavar="DIR", help="a directory with volumes")
    add_registries(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Publish."""
    from airbundle.builder.publish import publish_bundle
    from airbundle.bundle.reference import parse_reference
    from airbundle.bundle.sizes import human
    from airbundle.store.reader import open_bundle

    reference = parse_reference(args.ref, default_tag="")
    if reference.digest:
        raise UsageError(f"{args.ref}: a bundle is published under a tag", hint="host/repository:tag")
    paths = [Path(name) for name in [args.bundle, *args.volumes]]
    with open_bundle(paths) as bundle, open_client(args, console) as client:
        repository = client.repository(reference.name)
        done = publish_bundle(bundle, repository, reference.tag, reporter=console.reporter)
    artifact = done.artifact
    console.say(f"{reference}@{artifact.digest}")
    console.say(f"  {len(artifact.parts)} parts of {human(artifact.size)}: {human(done.sent)} sent")
    console.say(f"fetch it with: airbundle pull {reference}")
    return {
        "ref": f"{reference}",
        "digest": artifact.digest,
        "parts": len(artifact.parts),
        "size": artifact.size,
        "sent": done.sent,
    }
