"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.errors import UsageError

if TYPE_CHECKING:
    from airbundle.store.cache import Cache


def refuse_empty(args: argparse.Namespace, *names: str) -> None:
    """Refuse options that are given with nothing, as a script does whose variable isn't set: they would not count.

    Args:
        args: what was parsed; options that are not given are None.
        names: as `args` has them.

    Raises:
        UsageError: one is empty.
    """
    for name in names:
        if getattr(args, name, None) == "":
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is given, and empty", hint="give it a value, or leave it out")


def add_output(parser: argparse.ArgumentParser, *, nested: bool = False) -> None:
    """Add what every command takes.

    Args:
        parser: of a command, or of one of its actions.
        nested: of an action: what isn't given there keeps the value given before it.
    """
    default = argparse.SUPPRESS if nested else False
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", default=default, help="print one JSON document on stdout")
    group.add_argument("-q", "--quiet", action="store_true", default=default, help="print errors only")
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=default,
        help="tell more; on a fault of airbundle, its traceback",
    )
    # Also read before this parser runs: it may be where the zip application unpacks native code.
    group.add_argument(
        "--cache-dir",
        metavar="DIR",
        default=argparse.SUPPRESS if nested else None,
        help="airbundle's cache, by default $XDG_CACHE_HOME/airbundle",
    )
    group.add_argument("--yes", action="store_true", default=default, help="answer yes to questions")


class Actions:
    """The actions of a command that has several: `airbundle ca init`, `airbundle ca issue`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._places = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(self, name: str, text: str, example: str) -> argparse.ArgumentParser:
        """Add an action; `text` is its help, one sentence."""
        parser = self._places.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_output(parser, nested=True)
        return parser


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


def add_base(parser: argparse.ArgumentParser) -> None:
    """Add `--base`, which goes with a delta."""
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="BUNDLE",
        help="a bundle that has what a delta leaves out: a file, any of its volumes, a directory; may be repeated",
    )


def base_paths(args: argparse.Namespace) -> list[Path]:
    """Return the files and directories that `--base` names."""
    return [Path(name) for name in args.base]


def open_cache(args: argparse.Namespace) -> Cache:
    """Return the cache that `--cache-dir` names, or the default one."""
    from airbundle.store.cache import Cache

    return Cache(Path(args.cache_dir) if args.cache_dir else None)
