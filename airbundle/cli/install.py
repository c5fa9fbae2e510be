"""`airbundle install`: the whole way, from one file to a registry that serves."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.cli.site import add_registry_access, add_state, add_trust, gate_of, state_of, target_of
from airbundle.cli.site_order import add_site, order_of

if TYPE_CHECKING:
    from airbundle.installer.options import Options
    from airbundle.installer.site.look import Asked
    from airbundle.installer.site.order import Order
    from airbundle.installer.target import Target

HELP = (
    "Verify a bundle, bring up or use the private registry, load images and charts, and serve chart repository, "
    "files and ClamAV mirror. With --site also bring up what the bundle carries at the cluster: nodes, DNS, trust, "
    "secrets, releases, checks. A run that was cut off goes on; a second run changes nothing."
)
EXAMPLE = (
    "  python3 messenger-1.4.0.airbundle install --key release.pub --domain messenger.internal\n"
    "  python3 messenger-1.4.0.airbundle install --key release.pub --site site.yaml\n"
    "  airbundle install messenger-1.4.0.airbundle --site site.yaml --handoff handoff/\n"
    "  airbundle install messenger-1.4.0.airbundle --registry https://registry.site:5000 --registry-ca ca.crt"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    add_base(parser)
    group = add_site(parser)
    group.add_argument("--dry-run", action="store_true", help="print the plan, each step and what would change; stop")
    group.add_argument("-o", "--output", metavar="FILE", help="with --dry-run: write the plan there, for a review")
    group.add_argument(
        "--handoff",
        metavar="DIR",
        help="change nothing at the cluster: write what an administrator has to run, of --phases nodes, dns, trust and "
        "releases (all four); DIR is new, or an earlier handoff",
    )
    group.add_argument(
        "--plan", metavar="FILE", help="a reviewed plan: refuse when what would be done is not what it says"
    )
    add_install(parser)


def add_install(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `install` and `preflight` share."""
    parser.add_argument(
        "--registry",
        metavar="embedded|container|URL",
        help="airbundle's own server on this host, registry:2 in its Docker engine, or one that is there "
        "(as an earlier install said, else embedded)",
    )
    parser.add_argument(
        "--domain", metavar="NAME", help="the site's domain: registry.NAME is the registry (as an earlier install said)"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where airbundle's server listens (as an earlier install said, else :5443 on all addresses)",
    )
    parser.add_argument(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        help="the server's log has a line for each request (as an earlier install said, else not)",
    )
    parser.add_argument(
        "--container-port",
        type=int,
        metavar="PORT",
        help="of --registry container (as an earlier install said, else 5000)",
    )
    parser.add_argument(
        "--ca-passphrase-file",
        metavar="FILE",
        help="its first line is the passphrase of a CA that the bundle carries",
    )
    add_registry_access(parser)
    add_trust(parser)
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Install."""
    from dataclasses import replace

    from airbundle.installer.install import install
    from airbundle.installer.steps import outcome

    with outcome("unchanged"):
        order = order_of(args, console)
        options = replace(options_of(args), ca_passphrase=_asker(args, console))
    if order is not None:
        return _install_site(args, console, order, options)
    _check_site_only(args)
    report = install(
        bundle_paths(args), options, state_of(args), gate_of(args), console.reporter, bases=base_paths(args)
    )
    for line in report.lines():
        console.say(line)
    return report.to_json()


def _check_site_only(args: argparse.Namespace) -> None:
    from airbundle.errors import UsageError

    given = [name for name in ("dry_run", "plan", "output", "handoff") if getattr(args, name)]
    if given:
        option = given[0].replace("_", "-")
        raise UsageError(f"--{option} goes with --site", hint="`airbundle preflight` looks at a plain install")


def _install_site(args: argparse.Namespace, console: Console, order: Order, options: Options) -> dict[str, Any]:
    from functools import partial

    from airbundle.errors import UsageError
    from airbundle.installer.site.look import Asked
    from airbundle.installer.site.plan_file import check_plan, write_plan
    from airbundle.installer.site.run import install_site, plan_site

    if args.output and not (args.dry_run or args.handoff):
        raise UsageError("--output goes with --dry-run", hint="add --dry-run, or leave --output out to install")
    asked = Asked(bundle_paths(args), options, order, state_of(args), gate_of(args), base_paths(args))
    if args.handoff:
        return _hand_off(args, console, asked)
    review = partial(check_plan, Path(args.plan)) if args.plan else None
    if args.dry_run:
        plan = plan_site(asked, console.reporter)
        if review is not None:
            review(plan)
        if args.output:
            write_plan(Path(args.output), plan)
        for line in plan.lines():
            console.say(line)
        return plan.to_json()
    report = install_site(asked, console.reporter, review=review)
    for line in report.lines():
        console.say(line)
    return report.to_json()


def _hand_off(args: argparse.Namespace, console: Console, asked: Asked) -> dict[str, Any]:
    from airbundle.errors import UsageError
    from airbundle.installer.site.handoff import hand_off

    given = [name for name in ("dry_run", "plan", "output") if getattr(args, name)]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} does not go with --handoff", hint="it changes nothing itself")
    report = hand_off(asked, Path(args.handoff), console.reporter)
    for line in report.lines():
        console.say(line)
    return report.to_json()


def _asker(args: argparse.Namespace, console: Console) -> Callable[[], bytes]:
    return lambda: console.passphrase("the CA's key", file=args.ca_passphrase_file)


def options_of(args: argparse.Namespace) -> Options:
    """Return what the install is asked for; what is not said stays as an earlier install said.

    Raises:
        UsageError: an argument can't be meant.
    """
    from airbundle.bundle.naming import check_prefix
    from airbundle.crypto.names import parse_name
    from airbundle.errors import UsageError
    from airbundle.installer.kept import kept_options
    from airbundle.installer.options import URL, Options

    kept = kept_options(state_of(args))
    mode = _mode(args, kept)
    domain = kept.domain if args.domain is None else args.domain
    host, port = _listen(args, kept)
    container_port = kept.container_port if args.container_port is None else args.container_port
    if not 0 < port < 65536 or not 0 < container_port < 65536:
        raise UsageError("ports are numbers from 1 to 65535")
    if domain and not isinstance(parse_name(domain), str):
        raise UsageError(f"--domain {domain}: an address is no domain")
    return Options(
        mode=mode,
        target=_target(args, kept) if mode == URL else None,
        domain=domain.lower().rstrip("."),
        host=host,
        port=port,
        access_log=kept.access_log if args.access_log is None else args.access_log,
        container_port=container_port,
        prefix="" if mode == URL else kept.prefix if args.prefix is None else check_prefix(args.prefix),
        jobs=args.jobs,
    )


def _mode(args: argparse.Namespace, kept: Options) -> str:
    from difflib import get_close_matches

    from airbundle.errors import UsageError
    from airbundle.installer.options import CONTAINER, EMBEDDED, URL

    mode = str(args.registry or kept.mode)
    if args.registry is None and mode == URL:
        return URL
    if mode not in (EMBEDDED, CONTAINER):
        close = get_close_matches(mode, (EMBEDDED, CONTAINER), n=1, cutoff=0.7)
        if close:
            raise UsageError(f"--registry {mode}: did you mean {close[0]}?", hint="or write https://HOST")
        return URL
    if args.registry_ca or args.registries:
        raise UsageError(
            f"--registry-ca and --registries go with --registry URL, not with {mode}",
            hint="add --registry https://HOST",
        )
    return mode


def _listen(args: argparse.Namespace, kept: Options) -> tuple[str, int]:
    from ipaddress import ip_address

    from airbundle.bundle.serving import parse_listen
    from airbundle.errors import UsageError

    if args.listen is None:
        return kept.host, kept.port
    try:
        host, port = parse_listen(args.listen)
    except ValueError as error:
        raise UsageError(f"--listen: {error}") from None
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        raise UsageError(
            f"--listen {args.listen}: found {host!r}, expected an IP address of this host",
            hint=f"--listen :{port} listens at all of them; --domain gives the registry its name",
        ) from None
    return host, port


def _target(args: argparse.Namespace, kept: Options) -> Target:
    """Return the registry that is named; what was said of it before holds unless it is said anew.

    A site file says anew how to log in, also where it says nothing of it.
    """
    from dataclasses import replace

    before = kept.target
    if before is None:
        return target_of(args, args.registry)
    now = target_of(args, args.registry or before.url)
    if now.url != before.url:
        return now
    return replace(
        now,
        prefix=now.prefix or (before.prefix if args.prefix is None else ""),
        ca_file=now.ca_file or before.ca_file,
        registries=now.registries or before.registries,
        login=now.login if hasattr(args, "registry_login") else before.login,
    )
