"""`airbundle preflight`: what stands in the way of an install; changes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.cli.install import add_install, options_of
from airbundle.cli.site import gate_of, state_of
from airbundle.cli.site_order import add_site, order_of

if TYPE_CHECKING:
    from airbundle.errors import Finding

HELP = (
    "Check trust, space, permissions, ports, clock and registry for an install; with --site also the cluster: rights, "
    "nodes, room, classes, APIs, references, owners. Every finding at once, no change."
)
EXAMPLE = (
    "  airbundle preflight messenger-1.4.0.airbundle --key release.pub --registry registry.site:5000\n"
    "  airbundle preflight messenger-1.4.0.airbundle --key release.pub --site site.yaml --context berlin"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments, which are those of `install`."""
    add_bundle(parser)
    add_base(parser)
    add_install(parser)
    add_site(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Check."""
    from airbundle.errors import CheckFailed
    from airbundle.installer.preflight import in_the_way

    title, findings = _findings(args, console)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise CheckFailed(in_the_way(title, len(errors)), findings=[*errors, *_warnings(findings)])
    for finding in findings:
        console.say(f"warning: {finding}")
    console.say(f"{title}: nothing stands in the way")
    return {"title": title, "findings": [finding.to_json() for finding in findings]}


def _findings(args: argparse.Namespace, console: Console) -> tuple[str, Sequence[Finding]]:
    from airbundle.installer.install import check_install

    order = order_of(args, console)  # first: it says of the registry what the site file says
    paths, options, state, gate = bundle_paths(args), options_of(args), state_of(args), gate_of(args)
    if order is None:
        return check_install(paths, options, state, gate, bases=base_paths(args), reporter=console.reporter)
    from airbundle.installer.site.look import Asked, check_site

    return check_site(Asked(paths, options, order, state, gate, base_paths(args)), console.reporter)


def _warnings(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "warning"]
