"""`airbundle state`: back up what a site can't make again, and restore it on another host."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import Actions
from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.installer.backup_format import Backup

HELP = (
    "Back up the state of this site, sealed with a passphrase, and restore it on a host that takes its place: trust, "
    "journal, CA with its keys, certificates, configuration. Bundles are named, not copied: docs/support.md."
)
EXAMPLE = (
    "  airbundle state backup -o berlin-1.airbundle-state\n"
    "  python3 messenger-1.4.0.airbundle state restore berlin-1.airbundle-state"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = Actions(parser)
    backup = actions.add("backup", "Write a backup of the state.", "airbundle state backup -o berlin-1.airbundle-state")
    backup.add_argument("-o", "--output", required=True, metavar="FILE", help="where to; it must not be there yet")
    restore = actions.add(
        "restore",
        "Restore a backup into an empty state directory.",
        "airbundle state restore berlin-1.airbundle-state",
    )
    restore.add_argument("file", metavar="FILE", help="what `state backup` wrote")
    for action in (backup, restore):
        action.add_argument(
            "--passphrase-file", metavar="FILE", help="the backup's passphrase is the first line of this file"
        )
        add_state(action)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run the action."""
    return _backup(args, console) if args.action == "backup" else _restore(args, console)


def _backup(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from airbundle.bundle.sizes import counted, human
    from airbundle.installer.backup import back_up, check_something, write_backup
    from airbundle.installer.files import check_new_file

    state, output = state_of(args), Path(args.output)
    # Nobody is asked for a passphrase in vain; and the lock isn't held while somebody thinks of one.
    check_new_file(output)
    check_something(state)
    passphrase = console.passphrase("the new backup", file=args.passphrase_file, new=True)
    backup = back_up(state)
    size = write_backup(backup, passphrase, output)
    console.say(f"{output}  {counted(len(backup.files), 'file')} of {state.root}, {human(size)}, sealed")
    console.say("without its passphrase it is worth nothing: keep that in another place, and try it once")
    for bundle in backup.bundles:
        console.say(f"not in it  {bundle.name} {bundle.version}, statement {bundle.statement}: keep the bundle, too")
    for path in backup.outside:
        console.say(f"not in it  {path}: it may hold credentials of others")
    return {"file": str(output), "size": size, "files": sorted(backup.files), **_body(backup)}


def _restore(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from airbundle.installer.restore import check_place, open_backup, restore

    state, path = state_of(args), Path(args.file)
    check_place(state)
    backup = open_backup(path, lambda: console.passphrase(f"the backup {path}", file=args.passphrase_file))
    restore(backup, state, source=str(path.absolute()))
    console.say(f"{state.root}: restored as it was on {backup.host} at {backup.created}")
    if backup.bundles:
        console.say("what it served comes back with the bundles; bring them, and install them in this order:")
    for bundle in backup.bundles:
        older = " --allow-older" if bundle.older else ""
        console.say(f"  {bundle.name} {bundle.version}, statement {bundle.statement}: airbundle install{older}")
    for outside in backup.outside:
        console.say(f"  {outside} was used and is in no backup: put it there, or name another with --registries")
    return {"root": str(state.root), "files": sorted(backup.files), **_body(backup)}


def _body(backup: Backup) -> dict[str, Any]:
    return {
        "created": backup.created,
        "host": backup.host,
        "from": backup.root,
        "bundles": [bundle.to_json() for bundle in backup.bundles],
        "outside": list(backup.outside),
    }
