"""`airbundle status`: what is installed, and whether it is well."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.installer.state import StateDirectory
    from airbundle.installer.status import Status

HELP = "Show what is installed and ask each part whether it is well; exit 3 when something isn't."
EXAMPLE = "  airbundle status --json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Look."""
    from airbundle.errors import CheckFailed
    from airbundle.installer.status import read_status

    state = state_of(args)
    status = read_status(state)
    _tell(status, state, console)
    body = status.to_json()
    if not status.healthy:
        count = len(status.findings)
        words = f"{count} finding{'s' if count > 1 else ''}: not all is well"
        raise CheckFailed(words, findings=status.findings, body=body)
    for finding in status.findings:
        console.say(f"warning: {finding}")
    return body


def _tell(status: Status, state: StateDirectory, console: Console) -> None:
    from airbundle.bundle.sizes import human
    from airbundle.installer.report import counted

    installed = status.installed
    if not installed.mode:
        console.say(f"nothing is installed in {state.root}; --state-dir names another place")
        return
    console.say(f"registry   {installed.registry} ({installed.mode})")
    console.say(f"server     {installed.server}; {status.runs_as}")
    for bundle in installed.bundles:
        held = f"{counted(bundle.images, 'image')}, {counted(bundle.charts, 'chart')}"
        console.say(f"bundle     {bundle.name} {bundle.version}: {held}, installed {bundle.installed}")
    if status.certificate_days is not None:
        ca = "" if status.ca_days is None else f", CA {status.ca_days}"
        console.say(f"days left  certificate {status.certificate_days}{ca}")
    console.say(f"free       {human(status.free)}")
