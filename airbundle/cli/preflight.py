"""`airbundle preflight`: what stands in the way of an install; changes nothing."""

from __future__ import annotations

import argparse
from typing import Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.cli.install import add_install, options_of
from airbundle.cli.site import gate_of, state_of

HELP = "Check trust, space, permissions, ports, clock and registry for an install: every finding at once, no change."
EXAMPLE = "  airbundle preflight messenger-1.4.0.airbundle --key release.pub --registry registry.site:5000"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments, which are those of `install`."""
    add_bundle(parser)
    add_base(parser)
    add_install(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Check."""
    from airbundle.errors import CheckFailed
    from airbundle.installer.install import check_install
    from airbundle.installer.preflight import in_the_way

    paths, bases = bundle_paths(args), base_paths(args)
    title, findings = check_install(
        paths, options_of(args), state_of(args), gate_of(args), bases=bases, reporter=console.reporter
    )
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise CheckFailed(in_the_way(title, len(errors)), findings=findings)
    for finding in findings:
        console.say(f"warning: {finding}")
    console.say(f"{title}: nothing stands in the way")
    return {"title": title, "findings": [finding.to_json() for finding in findings]}
