"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.errors import UsageError

_KEY_LIMIT = 64 * 1024

if TYPE_CHECKING:
    from airbundle.store.cache import Cache


def add_bundle(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add the BUNDLE argument, which defaults to the running file, and `--volumes`."""
    parser.add_argument(
        "bundle",
        nargs="*" if many else "?",
        metavar="BUNDLE",
        help="the bundle, or any of its volumes; by default the file that runs",
    )
    parser.add_argument(
        "--volumes", action="append", default=[], metavar="DIR", help="a directory with volumes; may be repeated"
    )


def bundle_paths(args: argparse.Namespace) -> list[Path]:
    """Return the files and directories that BUNDLE and `--volumes` name.

    Raises:
        UsageError: none is named, and no bundle is running.
    """
    from airbundle.cli.main import running_bundle

    given = args.bundle if isinstance(args.bundle, list) else [args.bundle] if args.bundle else []
    paths = [Path(name) for name in [*given, *args.volumes]]
    if paths:
        return paths
    running = running_bundle()
    if running is None:
        raise UsageError("no bundle is named", hint=f"airbundle {args.command} NAME-VERSION.airbundle")
    return [Path(running)]


def open_cache(args: argparse.Namespace) -> Cache:
    """Return the cache that `--cache-dir` names, or the default one."""
    from airbundle.store.cache import Cache

    return Cache(Path(args.cache_dir) if args.cache_dir else None)


def read_key(path: Path) -> bytes:
    """Return the bytes of a public key's file.

    Raises:
        UsageError: there is no such file, or it is no key.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(_KEY_LIMIT)
    except OSError as error:
        raise UsageError(f"--key {path}: {error.strerror}", hint="name the file of the public key") from None
