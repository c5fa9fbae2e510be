"""What `install`, `preflight` and their kin take about a site and its cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.cli.arguments import refuse_empty
from airbundle.cli.console import Console
from airbundle.errors import UsageError

if TYPE_CHECKING:
    from airbundle.installer.site.order import Order
    from airbundle.store.site_dir import SiteDir


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add how the cluster is reached."""
    group = parser.add_argument_group("cluster")
    group.add_argument("--kubeconfig", metavar="FILE", help="by default the site file's, then as kubectl finds it")
    group.add_argument("--context", metavar="NAME", help="by default the site file's, then the current one")
    group.add_argument(
        "--patience",
        type=float,
        metavar="SECONDS",
        help="for how long calls of the cluster's API are tried again (300)",
    )


def add_site(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the site file and what goes with it; return their group."""
    group = parser.add_argument_group("site")
    group.add_argument(
        "--site",
        metavar="FILE",
        help="the path of the site file: bring up nodes, DNS, trust, secrets, releases and checks, too",
    )
    group.add_argument(
        "--phases",
        metavar="NAMES",
        help="only these, with commas between: registry,nodes,dns,trust,secrets,releases (all)",
    )
    add_cluster(parser)
    return group


def order_of(args: argparse.Namespace, console: Console) -> Order | None:
    """Return what is asked for at a site; None without `--site`. Says of the registry what the site file says.

    Raises:
        UsageError: arguments that go with a site only, or that contradict the site file.
        DocumentError: the site file does not parse.
    """
    refuse_empty(args, "site", "phases", "kubeconfig", "context", "output", "handoff", "plan")
    if args.site is None:
        given = [name for name in ("phases", "kubeconfig", "context", "patience") if getattr(args, name) is not None]
        if given:
            raise UsageError(f"--{given[0]} goes with --site", hint="add --site site.yaml")
        return None
    from airbundle.installer.site.order import PHASES, Order, parse_phases
    from airbundle.installer.site.step import PATIENCE
    from airbundle.store.site_dir import open_site

    site = open_site(Path(args.site))
    take_registry(args, site)
    if args.patience is not None and not 0 <= args.patience <= 86400:
        raise UsageError(f"--patience {args.patience:g}: expected seconds, at most a day")
    return Order(
        site=site,
        kubeconfig=Path(args.kubeconfig) if args.kubeconfig else None,
        context=args.context or "",
        phases=parse_phases(args.phases) if args.phases else PHASES,
        patience=PATIENCE if args.patience is None else args.patience,
        ask=lambda question: _asked(console, question),
        prompt=console.prompt(),
    )


def take_registry(args: argparse.Namespace, site: SiteDir) -> None:
    """Put what the site file says of domain and registry into the place of arguments that are not given.

    Raises:
        UsageError: an argument contradicts the site file.
    """
    said = site.site.registry
    registry = said.url if said.mode == "external" else said.mode
    if registry == "container" and said.url:
        registry = "container"
    ca = str(site.root / said.ca) if said.ca else ""
    args.registry_login = (site.root / site.site.where).absolute() if said.auth else None
    values = {"domain": site.site.domain, "registry": registry, "prefix": said.prefix, "registry_ca": ca}
    for name, value in values.items():
        given = getattr(args, name, None)
        if given is None and (value or name == "domain"):
            setattr(args, name, value or None)
        elif given is not None and value and given != value:
            option = name.replace("_", "-")
            raise UsageError(
                f"--{option} {given}: {site.site.where} says {value}", hint="leave the argument out, or mend the file"
            )


def _asked(console: Console, question: str) -> bool:
    try:
        return console.confirm(question)
    except UsageError:
        return False  # nobody is there: what needs a yes is left alone, and told
