"""`airbundle nodes`: the script that makes a cluster's nodes trust the private registry and pull from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

HELP = (
    "Write a shell script that makes a cluster's nodes pull from the private registry: its CA and mirrors in the form "
    "of their container runtime, so that unchanged upstream names come from it. Run on each node: apply, check, undo."
)
EXAMPLE = (
    "  airbundle nodes --runtime containerd -o nodes.sh\n"
    "  ssh root@node-1 sh -s apply < nodes.sh && ssh root@node-1 sh -s check < nodes.sh"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--runtime",
        choices=["containerd", "k3s", "rke2", "crio", "docker"],
        default="containerd",
        help="the nodes' container runtime (containerd)",
    )
    parser.add_argument(
        "--address",
        metavar="IP",
        help="of the registry, for the nodes' /etc/hosts (an address of this host where the registry runs here and has "
        "a name; '' where the nodes' DNS knows it)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write the script (standard output)")
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the script."""
    from urllib.parse import urlsplit

    from airbundle.installer.files import FILE, write_file
    from airbundle.installer.mirrors import node_setup
    from airbundle.installer.node_script import node_script
    from airbundle.installer.nodes import mirrored_registry, registry_address

    state = state_of(args)
    registry = mirrored_registry(state)
    address = registry_address(state, registry) if args.address is None else _address(args.address)
    setup = node_setup(args.runtime, registry)
    script = node_script(setup, url=registry.url, name=urlsplit(registry.url).hostname or "", address=address)
    body = {
        "runtime": args.runtime,
        "registry": registry.url,
        "upstreams": list(registry.upstreams),
        "address": address,
        "files": sorted(setup.files),
        "needs": list(setup.needs),
    }
    if not args.output:
        if console.json:
            return {**body, "script": script}
        sys.stdout.write(script)
        return body
    output = Path(args.output)
    changed = write_file(output, script.encode(), FILE)
    console.say(f"{output}: for nodes with {args.runtime} that pull from {registry.url}")
    for upstream in registry.upstreams:
        console.say(f"  {upstream} comes from {registry.host}/{registry.path_of(upstream)}")
    console.say(f"run it on each node as root: sh {output.name} apply; then check; undo takes it back")
    for need in setup.needs:
        console.say(f"  {need}")
    return {**body, "output": str(output), "changed": changed}


def _address(text: str) -> str:
    from ipaddress import ip_address

    from airbundle.errors import UsageError

    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        raise UsageError(f"--address {text}: found no IP address", hint="such as 10.20.0.5") from None
