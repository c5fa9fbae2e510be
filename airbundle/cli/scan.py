"""`airbundle scan`: what an inventory's charts and manifests will run, and what its bundle would lack."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.connected import add_inventory, add_registries, open_client, tidy_cache
from airbundle.cli.console import Console, plain

if TYPE_CHECKING:
    from airbundle.builder.cluster_scan import ClusterImages
    from airbundle.builder.confirm import Confirmer
    from airbundle.builder.lock import Locker
    from airbundle.bundle.inventory import Inventory
    from airbundle.bundle.lock import Lock
    from airbundle.errors import CheckFailed
    from airbundle.scan.report import ScanReport
    from airbundle.store.cache import Cache

HELP = "Find every image that the charts and manifests of an inventory will run, and what the inventory lacks."
EXAMPLE = """  airbundle scan inventory/                      # exit 3 when an image that is certain to run is missing
  airbundle scan inventory/ --write              # add the missing ones to bundle.yaml
  airbundle scan inventory/ --site berlin.yaml   # with a site's own values"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_inventory(parser)
    add_registries(parser)
    add_scan_arguments(parser)
    parser.add_argument("--write", action="store_true", help="add images that are certain to run to bundle.yaml")
    parser.add_argument("--all", action="store_true", help="list what the inventory has and what is a decoy, too")
    parser.add_argument("--markdown", action="store_true", help="answer as Markdown")
    parser.add_argument("--offline", action="store_true", help="ask no registry whether likely images exist")
    parser.add_argument("--upstream", action="store_true", help="ask registries whether locked tags have moved")
    parser.add_argument(
        "--max-age", default="30d", metavar="DURATION", help="of the lock; older is stale (%(default)s)"
    )
    parser.add_argument("--cluster", action="store_true", help="look at what a live cluster runs, too")
    parser.add_argument("--kubeconfig", metavar="FILE", help="of the cluster (default: as kubectl finds it, or k3s's)")
    parser.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="only what runs in this namespace of the cluster; may be repeated",
    )
    parser.add_argument("--strict", action="store_true", help="exit 3 for findings that are errors, too")
    parser.add_argument("--no-render-cache", action="store_true", help="render anew, and keep no renders")


def add_scan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `build` takes of the scan, too."""
    parser.add_argument(
        "--site",
        action="append",
        default=[],
        metavar="FILE",
        help="the path of a site file: scan with its values and choices, too; may be repeated",
    )
    parser.add_argument("--charts", metavar="DIR", help="scan NAME-VERSION.tgz from here, in the place of repositories")
    parser.add_argument(
        "--allow-missing",
        action="append",
        default=[],
        metavar="PATTERN",
        help="images that may be missing, such as 'docker.io/library/busybox:*'; may be repeated",
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Scan, tell, and perhaps write."""
    from airbundle.builder.completeness import remember
    from airbundle.builder.lock import Locker
    from airbundle.builder.scan import scan_inventory
    from airbundle.builder.scan_options import ScanOptions
    from airbundle.bundle.durations import parse_duration
    from airbundle.cli.arguments import open_cache
    from airbundle.scan.text import summary
    from airbundle.store.inventory_dir import open_inventory

    opened = open_inventory(Path(args.inventory))
    cache = open_cache(args)
    options = ScanOptions(
        sites=tuple(map(Path, args.site)),
        charts_from=Path(args.charts) if args.charts else None,
        keep_renders=not args.no_render_cache,
        upstream=args.upstream,
        max_age=parse_duration(args.max_age),
        allowed=tuple(args.allow_missing),
    )
    with open_client(args, console) as client, Locker(opened, client, cache, console.reporter) as locker:
        lock = _fitting_lock(locker)
        with _confirmer(args, opened.inventory, cache, console) as confirmer:
            report = scan_inventory(
                locker,
                lock,
                options,
                running=_running(args, console),
                confirmer=confirmer,
                reporter=console.reporter,
            )
        if lock is not None and options.keep_renders:
            remember(report, locker, lock, options)
    tidy_cache(cache, console)
    mending = "" if args.write else options.mending(args.inventory)
    try:
        if args.write:
            report = replace(report, added=_write(report, args))
    finally:
        _tell(report, args, console, mending)
    body = report.to_json()
    if args.write:
        body["written"] = list(report.added)
    if not report.complete or (args.strict and _errors(report)):
        raise _failure(summary(report), report, body, mending)
    return body


@contextmanager
def _confirmer(
    args: argparse.Namespace, inventory: Inventory, cache: Cache, console: Console
) -> Iterator[Confirmer | None]:
    """Open what asks registries; None with `--offline`. What does not answer soon keeps nobody waiting."""
    if args.offline:
        yield None
        return
    from airbundle.builder.confirm import Confirmer, hasty_settings

    with open_client(args, console, settings=hasty_settings()) as client:
        yield Confirmer(client, cache.root, platforms=inventory.platforms, reporter=console.reporter)


def _fitting_lock(locker: Locker) -> Lock | None:
    """Return the lock where it fits the inventory: what it pins is scanned."""
    from airbundle.builder.lock_file import read_lock
    from airbundle.bundle.lockfit import lock_misfits

    lock = read_lock(locker.opened.root)
    if lock is None or lock_misfits(locker.opened.inventory, lock, local=locker.opened.local_digests()):
        return None
    return lock


def _running(args: argparse.Namespace, console: Console) -> ClusterImages | None:
    """Ask the cluster; None without `--cluster`."""
    if not args.cluster:
        if args.kubeconfig or args.context or args.namespace:
            from airbundle.errors import UsageError

            raise UsageError("--kubeconfig, --context and --namespace are of a cluster", hint="give --cluster, too")
        return None
    from airbundle.builder.cluster_scan import cluster_images
    from airbundle.transfer.cluster import Cluster
    from airbundle.transfer.kubeconfig import load_kubeconfig

    access = load_kubeconfig(Path(args.kubeconfig) if args.kubeconfig else None, args.context)
    with Cluster(access, reporter=console.reporter) as cluster:
        return cluster_images(cluster, namespaces=args.namespace, reporter=console.reporter)


def _tell(report: ScanReport, args: argparse.Namespace, console: Console, mending: str) -> None:
    from airbundle.scan.text import markdown_lines, text_lines

    lines = markdown_lines(report) if args.markdown else text_lines(report, every=args.all, mending=mending)
    for line in lines:
        console.say(plain(line, line=True))  # names of objects and files may hold line breaks
    if report.added:
        next_step = shlex.join(["airbundle", "lock", args.inventory])
        console.say(f"{_file(args)}: {len(report.added)} added; next: {next_step}")


def _write(report: ScanReport, args: argparse.Namespace) -> tuple[str, ...]:
    from airbundle.builder.inventory_edit import add_images

    return tuple(add_images(_file(args), [str(image.image) for image in report.missing]))


def _file(args: argparse.Namespace) -> Path:
    from airbundle.bundle.inventory import INVENTORY_NAME

    path = Path(args.inventory)
    return path / INVENTORY_NAME if path.is_dir() else path


def _errors(report: ScanReport) -> bool:
    return any(finding.severity == "error" for finding in report.findings)


def _failure(problem: str, report: ScanReport, body: dict[str, Any], mending: str) -> CheckFailed:
    """Return the error; with text its findings are told already. `mending` adds what is missing; empty: it has run."""
    from airbundle.builder.completeness import IDLE, LOOK_FIRST
    from airbundle.builder.kitchen import UNAVAILABLE
    from airbundle.errors import CheckFailed, RemoteError

    hints = [LOOK_FIRST] if report.failed else []
    if report.lacking and mending:
        hints.append(f"`{mending}` adds what is missing")
        hints += [IDLE.format(patterns=", ".join(report.idle))] if report.idle else []
    elif report.lacking:
        left = ", ".join(str(image.image) for image in report.lacking)
        hints.append(f"the inventory has another image under the same name: change its entry by hand for {left}")
    error = CheckFailed(problem, hint=". ".join(hints), body=body)
    if not report.lacking and any(finding.code == UNAVAILABLE for finding in report.failed):
        error.exit_code = RemoteError("").exit_code  # upstream's fault, and perhaps gone tomorrow
    return error
