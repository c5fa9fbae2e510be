"""`airbundle install`: the whole way, from one file to a registry that serves."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_bundle, bundle_paths
from airbundle.cli.console import Console
from airbundle.cli.site import add_registry_access, add_state, add_trust, gate_of, state_of, target_of

if TYPE_CHECKING:
    from airbundle.installer.options import Options

HELP = (
    "Verify a bundle, bring up or use the private registry, load images and charts, and serve chart repository, "
    "files and ClamAV mirror. A run that was cut off goes on; a second run changes nothing."
)
EXAMPLE = (
    "  python3 messenger-1.4.0.airbundle install --key release.pub --domain messenger.internal\n"
    "  airbundle install messenger-1.4.0.airbundle --registry https://registry.site:5000 --registry-ca ca.crt"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    add_install(parser)


def add_install(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `install` and `preflight` share."""
    parser.add_argument(
        "--registry",
        default="embedded",
        metavar="embedded|container|URL",
        help="airbundle's own server on this host (default), registry:2 in its Docker engine, or one that is there",
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
        "--container-port", type=int, default=5000, metavar="PORT", help="of --registry container (%(default)s)"
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

    options = replace(options_of(args), ca_passphrase=_asker(args, console))
    report = install(bundle_paths(args), options, state_of(args), gate_of(args), console.reporter)
    for line in report.lines():
        console.say(line)
    return report.to_json()


def _asker(args: argparse.Namespace, console: Console) -> Callable[[], bytes]:
    return lambda: console.passphrase("the CA's key", file=args.ca_passphrase_file)


def options_of(args: argparse.Namespace) -> Options:
    """Return what the install is asked for.

    Raises:
        UsageError: an argument can't be meant.
    """
    from difflib import get_close_matches

    from airbundle.bundle.naming import check_prefix
    from airbundle.bundle.serving import parse_listen
    from airbundle.crypto.names import parse_name
    from airbundle.errors import UsageError
    from airbundle.installer.embedded import kept_options
    from airbundle.installer.options import CONTAINER, EMBEDDED, URL, Options

    own = args.registry in (EMBEDDED, CONTAINER)
    close = get_close_matches(args.registry, (EMBEDDED, CONTAINER), n=1, cutoff=0.7)
    if not own and close:
        raise UsageError(f"--registry {args.registry}: did you mean {close[0]}?", hint="or write https://HOST")
    if own and (args.registry_ca or args.registries):
        raise UsageError(f"--registry-ca and --registries go with --registry URL, not with {args.registry}")
    kept = kept_options(state_of(args))
    domain = kept.domain if args.domain is None else args.domain
    try:
        host, port = parse_listen(args.listen) if args.listen is not None else (kept.host, kept.port)
    except ValueError as error:
        raise UsageError(f"--listen: {error}") from None
    if not 0 < port < 65536 or not 0 < args.container_port < 65536:
        raise UsageError("ports are numbers from 1 to 65535")
    if domain and not isinstance(parse_name(domain), str):
        raise UsageError(f"--domain {domain}: an address is no domain")
    return Options(
        mode=args.registry if own else URL,
        target=None if own else target_of(args, args.registry),
        domain=domain.lower().rstrip("."),
        host=host,
        port=port,
        container_port=args.container_port,
        prefix=check_prefix(args.prefix) if own else "",
        jobs=args.jobs,
    )
