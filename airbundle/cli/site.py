"""Arguments that the commands of the disconnected side share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.cli.arguments import refuse_empty

if TYPE_CHECKING:
    from airbundle.installer.state import StateDirectory
    from airbundle.installer.target import Target
    from airbundle.installer.verify import Gate

DEFAULT_JOBS = 4


def add_state(parser: argparse.ArgumentParser) -> None:
    """Add `--state-dir`."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where the site's state lies (that of the `airbundle` that runs, where an install left it there; "
        "/var/lib/airbundle; without root $XDG_STATE_HOME/airbundle)",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add what decides whether a bundle is believed."""
    group = parser.add_argument_group("trust")
    group.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="PUB",
        help="the release key's public half; needed the first time, later another one is refused; may be repeated",
    )
    group.add_argument(
        "--threshold", type=int, default=1, metavar="N", help="so many keys must have signed; the first time only"
    )
    group.add_argument("--allow-older", action="store_true", help="accept a bundle older than one seen before")
    group.add_argument("--allow-expired", action="store_true", help="accept a bundle after its time")


def add_registry_access(parser: argparse.ArgumentParser) -> None:
    """Add how a registry that somebody else runs is reached."""
    group = parser.add_argument_group("access to the registry")
    group.add_argument("--prefix", metavar="PATH", help="what repositories begin with (as an earlier install said)")
    group.add_argument("--registry-ca", metavar="FILE", help="PEM of the CA that its certificate comes from")
    group.add_argument(
        "--registries",
        metavar="FILE",
        help="registries.yaml with its credentials (docker's and podman's are used, too)",
    )
    group.add_argument(
        "--jobs", type=int, default=DEFAULT_JOBS, metavar="N", help="large blobs sent at once (%(default)s)"
    )


def state_of(args: argparse.Namespace) -> StateDirectory:
    """Return the state directory.

    Raises:
        UsageError: what is there is none.
    """
    from airbundle.errors import UsageError
    from airbundle.installer.files import existing_parent
    from airbundle.installer.state import StateDirectory

    refuse_empty(args, "state_dir")
    state = StateDirectory(Path(args.state_dir) if args.state_dir else own_state())
    place = existing_parent(state.root)
    if not place.is_dir():
        raise UsageError(f"--state-dir {state.root}: {place} is no directory", hint="name another one")
    return state


def own_state() -> Path | None:
    """Return the state directory whose program runs; None when what runs is no program that an install left behind."""
    from airbundle.installer.program import running_archive

    archive = running_archive()
    if archive is None:
        return None
    root = archive.resolve().parent.parent
    return root if archive.resolve() == root / "bin" / "airbundle.pyz" and (root / "state.json").is_file() else None


def gate_of(args: argparse.Namespace) -> Gate:
    """Return what the operator says about trust."""
    from airbundle.installer.verify import Gate

    return Gate(
        keys=tuple(Path(name) for name in args.key),
        threshold=args.threshold,
        allow_older=args.allow_older,
        allow_expired=args.allow_expired,
    )


def target_of(args: argparse.Namespace, text: str) -> Target:
    """Return the registry that `--registry` names by URL.

    Raises:
        UsageError: it is no URL of a registry.
    """
    from airbundle.installer.target import parse_target

    return parse_target(
        text,
        prefix=args.prefix or "",
        ca_file=Path(args.registry_ca) if args.registry_ca else None,
        registries=Path(args.registries) if args.registries else None,
        login=getattr(args, "registry_login", None),
    )
