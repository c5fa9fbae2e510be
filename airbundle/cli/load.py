"""`airbundle load`: images, charts and their signatures into a registry that is there."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.cli.site import add_registry_access, add_state, add_trust, gate_of, state_of, target_of

if TYPE_CHECKING:
    from airbundle.installer.load_bundle import Loaded

HELP = (
    "Verify a bundle and load its images, charts and signatures into a registry. "
    "What is there already is not sent; a load that was cut off goes on."
)
EXAMPLE = (
    "  airbundle load messenger-1.4.0.airbundle --registry registry.site:5000 --registry-ca ca.crt --key release.pub"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    add_base(parser)
    parser.add_argument(
        "--registry", required=True, metavar="URL", help="host:port, https://host:port/prefix, or http://…"
    )
    add_registry_access(parser)
    add_trust(parser)
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Load."""
    from airbundle.installer.load_bundle import load_bundle

    loaded = load_bundle(
        bundle_paths(args),
        target_of(args, args.registry),
        state_of(args),
        gate_of(args),
        console.reporter,
        jobs=args.jobs,
        bases=base_paths(args),
    )
    _tell(loaded, console)
    result = loaded.result
    return {
        "name": loaded.statement.name,
        "version": loaded.statement.version,
        "registry": loaded.target.url,
        "prefix": loaded.target.prefix,
        "images": loaded.images,
        "charts": loaded.charts,
        "blobs": result.blobs,
        "size": result.size,
        "sent": result.sent,
        "sentBytes": result.sent_bytes,
        "mounted": result.mounted,
        "tags": result.tags,
        "sparse": result.sparse,
        "changed": result.changed,
    }


def _tell(loaded: Loaded, console: Console) -> None:
    from airbundle.bundle.sizes import counted, human

    result, statement = loaded.result, loaded.statement
    where = loaded.target.url + (f"/{loaded.target.prefix}" if loaded.target.prefix else "")
    did = f"{human(result.sent_bytes)} sent" if result.changed else "nothing to do, all of it was there"
    console.say(f"{statement.name} {statement.version} is in {where}: {did}")
    held = f"{counted(loaded.images, 'image')}, {counted(loaded.charts, 'chart')}"
    blobs = f"{counted(result.blobs, 'blob')} of {human(result.size)}"
    console.say(f"  {held}; {blobs}: {result.sent} sent, {result.mounted} shared between repositories")
    for ref, digest in result.sparse.items():
        console.say(f"  {ref}: the registry refuses its index; the tag is {digest}")
