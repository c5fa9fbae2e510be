"""`airbundle build`: one signed file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.connected import add_inventory, add_key, add_registries, open_client, open_signer, tidy_cache
from airbundle.cli.console import Console
from airbundle.cli.scan import add_scan_arguments

if TYPE_CHECKING:
    from airbundle.builder.build import Builder, BuildResult
    from airbundle.builder.donors import Donors
    from airbundle.builder.lock import Locker
    from airbundle.bundle.lock import Lock
    from airbundle.store.plan import BaseBundle
    from airbundle.transfer.registry import RegistryClient

HELP = "Build the bundle of an inventory: fetched, verified, laid out and signed in one pass."
EXAMPLE = "  airbundle build inventory/ -o dist/ --key release.key"
UNSIGNED = """
WARNING: this bundle is NOT SIGNED. A site will refuse to install it: nothing proves where it comes from.
         Make a key with `airbundle key generate`, then build with --key, or `airbundle sign` this file.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_inventory(parser)
    parser.add_argument(
        "-o", "--output", default=".", metavar="PATH", help="a directory (there, or DIR/), or a file (%(default)s)"
    )
    add_registries(parser)
    add_key(parser, "the bundle and every image")
    parser.add_argument("--no-installer", action="store_true", help="leave the installer out of the file")
    parser.add_argument("--no-checksum", action="store_true", help="write no .sha256 and .sig beside it")
    parser.add_argument("--split-size", metavar="SIZE", help="write volumes of at most this size, such as 4GiB")
    parser.add_argument(
        "--cache",
        action="append",
        default=[],
        metavar="PATH",
        help="take what has not changed from this earlier bundle, from all bundles of this directory, or from a "
        "published one, oci://HOST/REPOSITORY:TAG; may be repeated",
    )
    parser.add_argument(
        "--base",
        metavar="FILE",
        help="build a delta that leaves out what this has: an earlier bundle (a file, or oci://…), its "
        "airbundle.lock.json, or what `airbundle status --json` wrote on site",
    )
    add_scan_arguments(parser)
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="blobs fetched at once (%(default)s)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Lock where there is no lock yet, and build."""
    from airbundle.builder.build import Builder, BuildOptions
    from airbundle.builder.donors import Donors
    from airbundle.builder.lock import Locker
    from airbundle.bundle.sizes import parse_size
    from airbundle.cli.arguments import open_cache
    from airbundle.store.inventory_dir import open_inventory

    opened = open_inventory(Path(args.inventory))
    cache = open_cache(args)
    options = BuildOptions(
        signer=open_signer(args, console),
        installer=not args.no_installer,
        split_size=parse_size(args.split_size) if args.split_size else 0,
        checksum=not args.no_checksum,
        jobs=args.jobs,
        allowed_missing=tuple(args.allow_missing),
    )
    with open_client(args, console) as client, Locker(opened, client, cache, console.reporter) as locker:
        lock = _lock(locker, console, installer=options.installer)
        _scan(locker, lock, args, console)
        # A delta beside the full bundle of the same version does not take its place.
        kind = "-delta" if args.base else ""
        output = output_path(args.output, f"{lock.name}-{lock.version}{kind}.airbundle")
        with Donors(cache.records, console.reporter) as donors:
            _add_donors(donors, args.cache, output, client)
            builder = Builder(client, cache, console.reporter, restore=locker.restore, donors=donors)
            options = replace(options, base=_base(args, lock, output, builder, donors))
            result = builder.build(lock, output, options)
    _tell(result, lock, args, console)
    tidy_cache(cache, console)
    return _body(result, lock, args)


def _body(result: BuildResult, lock: Lock, args: argparse.Namespace) -> dict[str, Any]:
    built = result.bundle
    return {
        "path": str(built.path),
        "volumes": [str(path) for path in built.files],
        "size": built.size,
        "sha256": built.sha256,
        "signed": bool(args.key),
        "changed": result.changed,
        "reused": result.reused,
        "fetched": result.fetched,
        "resumed": result.resumed,
        "base": result.base.to_json() if result.base else None,
        "leftOut": result.left_out,
        "name": lock.name,
        "version": lock.version,
        "serial": lock.serial,
        "expires": lock.expires,
    }


def _lock(locker: Locker, console: Console, *, installer: bool) -> Lock:
    """Return the lock that fits the inventory; make it when there is none."""
    from airbundle.builder.lock import LockOptions, warn_of_end
    from airbundle.builder.lock_file import read_lock, write_lock
    from airbundle.bundle.lockfit import lock_misfits
    from airbundle.errors import UsageError

    opened = locker.opened
    lock = read_lock(opened.root)
    if lock is None:
        lock = locker.lock(None, LockOptions(installer=installer))
        console.note(f"there was no lock; {write_lock(opened.root, lock)} pins what was found")
    else:
        warn_of_end(lock, console.reporter)
    findings = lock_misfits(opened.inventory, lock, local=opened.local_digests())
    if findings:
        raise UsageError(
            f"{opened.root}: the lock does not fit the inventory", hint="run `airbundle lock`", findings=findings
        )
    if installer and not lock.installer:
        raise UsageError(
            "the lock has no parts of the installer", hint="run `airbundle lock`, or build with --no-installer"
        )
    return lock


def _scan(locker: Locker, lock: Lock, args: argparse.Namespace, console: Console) -> None:
    """Refuse a bundle that would lack an image. Raises CheckFailed."""
    from airbundle.builder.completeness import check_complete
    from airbundle.builder.scan_options import ScanOptions

    options = ScanOptions(
        sites=tuple(map(Path, args.site)),
        charts_from=Path(args.charts) if args.charts else None,
        allowed=tuple(args.allow_missing),
        rules=False,
    )
    check_complete(locker, lock, options, inventory=args.inventory, reporter=console.reporter)


def _add_donors(donors: Donors, names: Sequence[str], output: Path, client: RegistryClient) -> None:
    """Open what `--cache` names, and the bundle that is about to be replaced."""
    from airbundle.builder.published import SCHEME, open_published

    for name in names:
        if name.startswith(SCHEME):
            donors.add_published(name, partial(open_published, client, name))
        else:
            donors.add_path(Path(name))
    donors.add_earlier(output)


def _base(args: argparse.Namespace, lock: Lock, output: Path, builder: Builder, donors: Donors) -> BaseBundle | None:
    """Return what `--base` names; None without it, and where a site has nothing yet.

    Raises:
        UsageError: the delta would take the place of its base.
    """
    if not args.base:
        return None
    from airbundle.builder.base import base_of_published, find_base
    from airbundle.builder.published import SCHEME
    from airbundle.errors import UsageError
    from airbundle.store.volumes import bundle_path, real_path

    if args.base.startswith(SCHEME):
        return base_of_published(args.base, donors, builder.client)
    path = Path(args.base)
    if real_path(bundle_path(path)) == real_path(output):
        raise UsageError(f"--base {path} is the output: the delta would replace it", hint="name another file with -o")
    base = find_base(path, lock.name, donors, builder.read_manifest)
    if base is None:
        builder.reporter.warn(f"--base {path}: the site has no bundle yet; this is a full one")
    return base


def output_path(name: str, file: str) -> Path:
    """Return the file to write; a name that ends with `/` is a directory, which is made when it isn't there.

    Args:
        name: what `--output` names.
        file: what the file is called in a directory.

    Raises:
        UsageError: such a name belongs to a file.
    """
    path = Path(name)
    if name.endswith("/") and not path.is_dir():
        if path.exists():
            from airbundle.errors import UsageError

            raise UsageError(f"--output {name}: found a file, expected a directory", hint="name another directory")
        path.mkdir(parents=True)
    return path / file if path.is_dir() else path


def _tell(result: BuildResult, lock: Lock, args: argparse.Namespace, console: Console) -> None:
    import shlex

    from airbundle.bundle.sizes import counted, human

    built = result.bundle
    images = sum(root.kind == "image" for root in lock.roots)
    charts = sum(root.kind == "chart" for root in lock.roots)
    for path in built.files:
        console.say(str(path))
    others = counted(len(lock.roots) - images - charts, "other entry", "other entries")
    console.say(f"  {human(built.size)}, {counted(images, 'image')}, {counted(charts, 'chart')}, {others}")
    parts = {"reused": result.reused, "fetched": result.fetched, "from an earlier run": result.resumed}
    if result.changed:
        console.say(
            "  " + ", ".join(f"{human(count)} {word}" for word, count in parts.items() if count or word == "fetched")
        )
    else:
        copied = f"; {human(result.reused)} copied from the cache that has the same bundle" if result.reused else ""
        console.say(f"  nothing changed{copied}")
    if result.base is not None:
        told = f"{result.base.name} {result.base.version}"
        console.say(f"  a delta: {human(result.left_out)} are left out; install it where {told} is")
    if built.sha256:
        console.say(f"  sha256:{built.sha256}")
    if args.key:
        public = Path(args.key).with_suffix(".pub")
        shown = str(public) if public.is_file() else "PUB"
        console.say(f"  signed by {args.key}; sites check it with the public half: --key {shown}")
        console.say("next: " + shlex.join(["airbundle", "verify", str(built.files[0]), "--key", shown]))
    else:
        console.note(UNSIGNED)
