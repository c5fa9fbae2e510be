"""`airbundle status`: what is installed, and whether it is well."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airbundle.cli.console import Console
from airbundle.cli.kept_site import add_reach, named_sites, reach_of
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.errors import Finding
    from airbundle.installer.site.site_state import SiteState
    from airbundle.installer.state import StateDirectory
    from airbundle.installer.status import Status

HELP = (
    "Show what is installed and ask each part whether it is well, at sites, too: releases, images, certificates, "
    "checks; exit 3 when something isn't."
)
EXAMPLE = "  airbundle status --json\n  airbundle status --site berlin --watch 60"

_PATIENCE = 10.0
_SHORTEST = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=30.0,
        metavar="SECONDS",
        help="look again and again, until it is stopped, and tell what has changed (30)",
    )
    add_reach(parser, patience=_PATIENCE)
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Look."""
    from airbundle.installer.status import read_status

    state, reach = state_of(args), reach_of(args)
    if args.watch is not None:
        _watch(args, state, console)
    status = read_status(state, _readable(args, state, console), reach, console.reporter)
    _tell(status, state, console)
    return _judged(status, console)


def _readable(args: argparse.Namespace, state: StateDirectory, console: Console) -> list[SiteState]:
    """Return the sites that are looked at; to a user who may not read what is kept of them, that is told."""
    from airbundle.errors import HostError

    try:
        return named_sites(args, state)
    except HostError as error:
        if args.site is not None:
            raise
        console.note(f"warning: sites are not looked at: {error.problem}")
        return []


def _watch(args: argparse.Namespace, state: StateDirectory, console: Console) -> None:
    """Tell the status, and what comes and goes, until a signal ends it."""
    import time

    from airbundle.errors import Interrupted, UsageError
    from airbundle.installer.status import read_status

    if console.json:
        raise UsageError("--watch and --json contradict each other", hint="run `status --json` again and again")
    if not args.watch >= _SHORTEST:
        raise UsageError(f"--watch {args.watch:g}: expected seconds, at least {_SHORTEST:g}")
    before: dict[object, str] | None = None
    try:
        while True:
            status = read_status(state, _readable(args, state, console), reach_of(args), console.reporter)
            if before is None:
                _tell(status, state, console)
            now = {_same(each): f"{each.severity}: {each}" for each in status.all_findings}
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            for line in _news(before, now):
                console.say(f"{at}  {line}")
            sys.stdout.flush()  # who looks on may do so through a pipe or a file
            before = now
            time.sleep(args.watch)
    except KeyboardInterrupt:
        raise Interrupted("stopped watching") from None
    except Interrupted as error:
        raise Interrupted("stopped watching", signal=error.exit_code - 128) from None


def _news(before: dict[object, str] | None, now: dict[object, str]) -> Iterator[str]:
    known = before or {}
    yield from sorted(now[each] for each in now.keys() - known.keys())
    yield from sorted(f"over: {known[each]}" for each in known.keys() - now.keys())
    if not now and now != before:
        yield "all is well"


def _same(finding: Finding) -> object:
    """Return what makes two findings one: the days that are left, and the seconds that were waited, don't."""
    return replace(finding, found=re.sub(r"\d+", "0", finding.found))


def _judged(status: Status, console: Console) -> dict[str, Any]:
    from airbundle.errors import CheckFailed

    body = status.to_json()
    findings = status.all_findings
    if not status.healthy:
        words = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}: not all is well"
        raise CheckFailed(words, findings=findings, body=body)
    for finding in findings:
        console.say(f"warning: {finding}")
    return body


def _tell(status: Status, state: StateDirectory, console: Console) -> None:
    from airbundle.bundle.sizes import counted, human

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
    if status.clamav:
        ages = ", ".join(f"{each.name} {each.version}: {counted(each.days, 'day')} old" for each in status.clamav)
        console.say(f"clamav     {ages}")
    console.say(f"free       {human(status.free)}")
    for site in status.sites:
        for line in site.lines():
            console.say(line)
