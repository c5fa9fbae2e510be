"""Arguments of the commands that look after sites which were installed before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.cli.arguments import refuse_empty
from airbundle.errors import UsageError

if TYPE_CHECKING:
    from airbundle.installer.site.reach_kept import Reach
    from airbundle.installer.site.site_state import SiteState
    from airbundle.installer.state import StateDirectory

MOST_PATIENCE = 86400


def add_reach(parser: argparse.ArgumentParser, *, patience: float) -> None:
    """Add which site is meant, and how its cluster is reached."""
    group = parser.add_argument_group("site")
    group.add_argument(
        "--site",
        metavar="NAME",
        help="only this site, by its name (`metadata.name` in its file, no path); needed where this host has several",
    )
    group.add_argument("--kubeconfig", metavar="FILE", help="by default what the install used")
    group.add_argument("--context", metavar="NAME", help="by default what the install used")
    group.add_argument(
        "--patience",
        type=float,
        default=patience,
        metavar="SECONDS",
        help="for how long calls of the cluster's API are tried again (%(default)g)",
    )


def reach_of(args: argparse.Namespace) -> Reach:
    """Return how clusters are reached.

    Raises:
        UsageError: the patience is none.
    """
    from airbundle.installer.site.reach_kept import Reach

    if not 0 <= args.patience <= MOST_PATIENCE:
        raise UsageError(f"--patience {args.patience:g}: expected seconds, at most a day")
    return Reach(Path(args.kubeconfig) if args.kubeconfig else None, args.context or "", args.patience)


def named_sites(args: argparse.Namespace, state: StateDirectory) -> list[SiteState]:
    """Return the site that `--site` names, else all of this host.

    Raises:
        UsageError: there is no such site; one kubeconfig is named for several; an option is empty.
    """
    from airbundle.installer.site.site_state import sites_of

    refuse_empty(args, "site", "kubeconfig", "context")
    found = sites_of(state)
    chosen = [site for site in found if args.site in (None, site.name)]
    if args.site is not None and not chosen:
        known = ", ".join(site.name for site in found) or "none"
        kind = "; --site takes a site's name here, no file" if _is_file(args.site) else ""
        hint = f"sites here: {known}{kind}"
        raise UsageError(f"--site {args.site}: there is no such site in {state.root}", hint=hint)
    if len(chosen) > 1 and (args.kubeconfig or args.context):
        names = ", ".join(site.name for site in chosen)
        raise UsageError(f"--kubeconfig and --context are of one site; here are {names}", hint="add --site NAME")
    return chosen


def _is_file(text: str) -> bool:
    return "/" in text or text.endswith((".yaml", ".yml"))


def one_site(args: argparse.Namespace, state: StateDirectory) -> SiteState:
    """Return the one site that is meant.

    Raises:
        UsageError: there is none, or which of several isn't said.
    """
    found = named_sites(args, state)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"nothing was deployed at a site from {state.root}", hint="`install --site site.yaml` does it")
    names = ", ".join(site.name for site in found)
    raise UsageError(f"which site? {state.root} has {names}", hint="name one with --site NAME")
