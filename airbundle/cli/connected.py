"""What the commands of the connected side share: the inventory argument, registries, the client, the release key."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.crypto.keys import Signer
    from airbundle.store.cache import Cache
    from airbundle.transfer.registry import RegistryClient
    from airbundle.transfer.settings import HttpSettings


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """Add the INVENTORY argument."""
    parser.add_argument(
        "inventory", nargs="?", default=".", metavar="INVENTORY", help="directory with bundle.yaml (%(default)s)"
    )


def add_registries(parser: argparse.ArgumentParser) -> None:
    """Add `--registries`."""
    parser.add_argument(
        "--registries",
        metavar="FILE",
        help="mirrors, TLS and credentials in the form of k3s's registries.yaml "
        "(default: $XDG_CONFIG_HOME/airbundle/registries.yaml where there is one)",
    )


def add_key(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add `--key` and `--passphrase-file`."""
    parser.add_argument("--key", metavar="FILE", help=f"the release key that signs {purpose}")
    parser.add_argument("--passphrase-file", metavar="FILE", help="its passphrase is the first line of this file")


@contextmanager
def open_client(
    args: argparse.Namespace, console: Console, settings: HttpSettings | None = None
) -> Iterator[RegistryClient]:
    """Open the client for upstream registries that the arguments and the environment describe.

    `settings` are instead of the environment's: how patient it is, and how it gets out.
    """
    from airbundle.transfer.registries import load_registries
    from airbundle.transfer.registry import RegistryClient

    registries = load_registries(Path(args.registries) if args.registries else None)
    with RegistryClient(registries, side="upstream", reporter=console.reporter, settings=settings) as client:
        yield client


def tidy_cache(cache: Cache, console: Console) -> None:
    """Drop what nothing has used for long from the cache, and say so; that is at the end of what fills it."""
    from airbundle.bundle.sizes import human
    from airbundle.store.tidy import UNUSED_DAYS, tidy

    freed = tidy(cache)
    if freed:
        console.note(f"the cache {cache.root} let go of {human(freed)} that nothing used for {UNUSED_DAYS} days")


def open_signer(args: argparse.Namespace, console: Console) -> Signer | None:
    """Return the release key that `--key` names, or None without one."""
    if not args.key:
        return None
    from airbundle.crypto.keys import load_signer

    return load_signer(args.key, lambda: console.passphrase(f"the key {args.key}", file=args.passphrase_file))
