"""`airbundle prune`: let go of earlier versions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.installer.prune import Pruning
    from airbundle.installer.state import StateDirectory

HELP = "Let go of earlier versions of what is installed, and of what only they had in the registry; asks first."
EXAMPLE = "  airbundle prune --keep 2 --dry-run"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--keep",
        type=int,
        default=2,
        metavar="N",
        help="versions of each bundle that stay, the newest that were up (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Prune."""
    from airbundle.errors import Interrupted, UsageError
    from airbundle.installer.prune import plan_prune, prune

    if args.keep < 1:
        raise UsageError(f"--keep {args.keep}: at least one version stays", hint="`airbundle uninstall` takes all away")
    state = state_of(args)
    if args.dry_run or not console.yes:
        plan = plan_prune(state, args.keep, console.reporter)
        if args.dry_run or not plan.changes:
            return _tell(plan, state, console, done=False, dry=args.dry_run)
        console.note("\n".join(_lines(plan, done=False)))
        if not console.confirm("Take this away?"):
            raise Interrupted("nothing was taken away")
    done = prune(state, args.keep, console.reporter)
    return _tell(done, state, console, done=True, dry=False)


def _tell(plan: Pruning, state: StateDirectory, console: Console, *, done: bool, dry: bool) -> dict[str, Any]:
    from airbundle.installer.prune import collecting

    for line in _lines(plan, done=done):
        console.say(line)
    registry, after = plan.registry, []
    if registry is not None and registry.deleted:
        after = list(collecting(state, plan.installed))
        for line in after:
            console.say(f"next: {line}")
    for warning in plan.warnings:
        console.note(f"warning: {warning}")
    body: dict[str, Any] = {
        "changed": done and plan.changed,
        "dryRun": dry,
        "versions": [each.to_json() for each in plan.versions],
        "files": list(plan.files),
        "freedBytes": plan.freed,
        "warnings": plan.warnings,
        "next": after,
    }
    if registry is not None:
        body["registry"] = {
            "url": registry.target.url,
            "tags": registry.tags,
            "manifests": registry.manifests,
            "deleted": registry.deleted,
            "refused": registry.refused,
            "stays": registry.stays,
            "unknown": list(registry.unknown),
        }
    return body


def _lines(plan: Pruning, *, done: bool) -> Iterator[str]:
    from airbundle.bundle.sizes import counted, human

    if not plan.versions:
        yield "nothing is installed"
        return
    gone = "dropped" if done else "goes"
    width = max(len(f"{each.bundle.name} {each.bundle.version}") for each in plan.versions)
    for each in plan.versions:
        title = f"{each.bundle.name} {each.bundle.version}"
        reasons = [*(["it never came up"] if each.failed else []), *([each.why] if each.why else [])]
        why = f"   ({'; '.join(reasons)})" if reasons else ""
        yield f"{title:<{width}}  {'kept' if each.kept else gone:<7}  {human(each.size):>10}{why}"
    registry = plan.registry
    if registry is not None and registry.going and not registry.refused:
        tags, manifests = counted(len(registry.tags), "tag"), counted(len(registry.manifests), "manifest")
        yield f"{registry.target.url}: {tags} and {manifests} {'deleted' if done else 'to delete'}"
    for reason, names in registry.stays.items() if registry is not None else ():
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more (--json lists all)" if len(names) > 3 else "")
        yield f"  stays: {some}: {reason}"
    if registry is not None and registry.unknown:
        yield f"  loaded and not installed: {', '.join(registry.unknown)}: what these need is not known here"
    if not plan.changes:
        yield "nothing to prune"
    else:
        yield f"{'freed' if done else 'frees'} {human(plan.freed)} in {counted(len(plan.files), 'file')}"
