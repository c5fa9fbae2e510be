"""`airbundle compact`: deltas and their bases become one full bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.connected import add_key, open_signer
from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.store.reader import BundleFile

HELP = "Merge a delta and what it builds on, in any order, into the full bundle that `build` would have made."
EXAMPLE = "  airbundle compact messenger-1.5.0-delta.airbundle messenger-1.4.0.airbundle -o full/ --key release.key"
_UNSIGNED = """
WARNING: this bundle is NOT SIGNED, although the delta may be: a signature is for one file's statement.
         Give the key that signed the delta with --key, or `airbundle sign` this file.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "bundles", nargs="+", metavar="BUNDLE", help="the delta and all it builds on: files, volumes, or directories"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="PATH", help="a directory (there, or DIR/), or a file to write"
    )
    add_key(parser, "the full bundle: the one that signed the delta")
    parser.add_argument("--no-checksum", action="store_true", help="write no .sha256 and .sig beside it")
    parser.add_argument("--split-size", metavar="SIZE", help="write volumes of at most this size, such as 4GiB")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Merge."""
    from airbundle.builder.compact import CompactOptions, compact_bundles, newest
    from airbundle.bundle.sizes import human, parse_size
    from airbundle.cli.arguments import open_cache
    from airbundle.cli.build import output_path

    options = CompactOptions(
        signer=open_signer(args, console),
        split_size=parse_size(args.split_size) if args.split_size else 0,
        checksum=not args.no_checksum,
    )
    with ExitStack() as stack:
        bundles = [stack.enter_context(bundle) for bundle in _opened(args.bundles)]
        statement = newest(bundles).statement
        output = output_path(args.output, f"{statement.name}-{statement.version}.airbundle")
        _check_output(output, bundles)
        built = compact_bundles(bundles, output, open_cache(args).records, options, reporter=console.reporter)
    for path in built.files:
        console.say(str(path))
    console.say(f"  {statement.name} {statement.version}, {human(built.size)}: a full bundle")
    if built.sha256:
        console.say(f"  sha256:{built.sha256}")
    if not args.key:
        console.note(_UNSIGNED)
    return {
        "path": str(built.path),
        "volumes": [str(path) for path in built.files],
        "size": built.size,
        "sha256": built.sha256,
        "signed": bool(args.key),
        "name": statement.name,
        "version": statement.version,
        "serial": statement.serial,
    }


def _opened(names: list[str]) -> Iterator[BundleFile]:
    """Open each bundle once, whatever names it."""
    from airbundle.store.reader import open_bundle
    from airbundle.store.volumes import bundle_path, bundles_in, real_path

    paths = [path for name in names for path in (bundles_in(Path(name)) if Path(name).is_dir() else [Path(name)])]
    for path in {real_path(bundle_path(path)): path for path in paths}.values():
        yield open_bundle([path])


def _check_output(output: Path, bundles: list[BundleFile]) -> None:
    from airbundle.errors import UsageError
    from airbundle.store.volumes import bundle_path, real_path

    if any(real_path(bundle_path(bundle.path)) == real_path(output) for bundle in bundles):
        raise UsageError(f"{output} is one of the bundles to merge", hint="name another file with -o")
