"""`airbundle rollback`: a site goes back to what was deployed before."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import refuse_empty
from airbundle.cli.console import Console
from airbundle.cli.kept_site import add_reach, one_site, reach_of
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.installer.site.rollback_plan import RollbackPlan

HELP = (
    "Bring back what was deployed at a site before: releases, names in the registry, nodes and DNS; data stays as it "
    "is, but for what a release restores. Prints the plan, and asks where a release says so. Other bundles at the site "
    "stay as they are."
)
EXAMPLE = "  airbundle rollback --dry-run\n  airbundle rollback --bundle shop --to 1.0.0 --yes"

_PATIENCE = 300.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--to", metavar="VERSION", help="of the bundle; by default what was up before")
    parser.add_argument("--bundle", metavar="NAME", help="which one; needed where the site has several")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, and stop")
    add_reach(parser, patience=_PATIENCE)
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Roll back."""
    from airbundle.installer.site.rollback import BackTo, plan_rollback, roll_back

    refuse_empty(args, "to", "bundle")
    state = state_of(args)
    site, reach, goal = one_site(args, state), reach_of(args), BackTo(args.bundle or "", args.to or "")
    if args.dry_run:
        plan = plan_rollback(state, site, goal, reach, console.reporter)
        for line in plan.lines():
            console.say(line)
        return plan.to_json()

    def agree(plan: RollbackPlan) -> bool:
        console.note("\n".join(plan.lines()))
        asks = any(each.asks for each in plan.moves)
        return not asks or console.confirm(f"Go back to {plan.then.title}?")

    done = roll_back(state, site, goal, reach, console.reporter, agree=agree)
    for line in done.lines():
        console.say(line)
    return done.to_json()
