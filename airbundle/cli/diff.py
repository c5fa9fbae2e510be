"""`airbundle diff`: what changed between two bundles."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.bundle.diff import Change

HELP = "Compare two bundles: what was added, removed, changed, and how many bytes are new. Reads only their heads."
EXAMPLE = "  airbundle diff messenger-1.3.0.airbundle messenger-1.4.0.airbundle"
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}
_COMPANIONS = ("signature", "referrer")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("old", metavar="OLD", help="a bundle, or any of its volumes")
    parser.add_argument("new", metavar="NEW", help="a bundle, or any of its volumes")
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 when their contents differ")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Compare."""
    from airbundle.bundle.diff import compare_roots, new_bytes
    from airbundle.store.reader import open_bundle

    with open_bundle([Path(args.old)]) as old, open_bundle([Path(args.new)]) as new:
        changes = compare_roots(old.index, new.index)
        all_old, all_new = old.toc.blobs + old.toc.external, new.toc.blobs + new.toc.external
        fresh, gone = new_bytes(all_old, all_new), new_bytes(all_new, all_old)
        titles = [f"{side.statement.name} {side.statement.version}" for side in (old, new)]
    _tell(titles, changes, fresh, gone, console)
    if args.exit_code and changes:
        raise _differ(titles, changes)
    return {
        "old": titles[0],
        "new": titles[1],
        "changes": [change.to_json() for change in changes],
        "newBytes": fresh,
        "removedBytes": gone,
    }


def _tell(titles: list[str], changes: list[Change], fresh: int, gone: int, console: Console) -> None:
    from airbundle.bundle.sizes import human

    console.say(f"{titles[0]} → {titles[1]}: {human(fresh)} of blobs are new, {human(gone)} are gone")
    rows = [
        (_SIGNS[change.change], change.kind, change.name, _explained(change))
        for change in changes
        if change.kind not in _COMPANIONS
    ]
    console.table(rows)
    companions = Counter((change.kind, change.change) for change in changes if change.kind in _COMPANIONS)
    for (kind, what), count in sorted(companions.items()):
        console.say(f"   {count} {kind}{'s' if count > 1 else ''} {what}")
    if not changes:
        console.say("no differences")


def _explained(change: Change) -> str:
    from airbundle.bundle.index import ref_of, total_of
    from airbundle.bundle.sizes import human

    if change.old is None or change.new is None:
        root = change.new or change.old
        return human(total_of(root)) if root else ""
    if change.change == "moved":
        return f"was {ref_of(change.old).rpartition(':')[2]}"
    return f"{change.old.digest[:19]} → {change.new.digest[:19]}"


def _differ(titles: list[str], changes: list[Change]) -> Exception:
    from airbundle.errors import CheckFailed, Finding

    findings = [
        Finding(
            change.change,
            where=f"{change.kind} {change.name}",
            code=change.change,
            found=change.new.digest if change.new else "",
            expected=change.old.digest if change.old else "",
        )
        for change in changes
    ]
    return CheckFailed(f"{titles[0]} and {titles[1]} differ in {len(changes)} entries", findings=findings)
