"""`airbundle ca`: the internal CA of a site."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from airbundle.cli.arguments import Actions
from airbundle.cli.ca_text import ca_body, server_body, tell_ca, tell_server, term
from airbundle.cli.console import Console
from airbundle.cli.site import add_state, state_of

if TYPE_CHECKING:
    from airbundle.installer.ca import SiteCa
    from airbundle.installer.ca_servers import ServerCertificate
    from airbundle.installer.state import StateDirectory

Body = dict[str, Any]

HELP = (
    "The internal CA of this site: make it, issue and renew certificates, hand over to a successor, "
    "have certificates signed elsewhere, and let this host trust it. docs/ca.md tells the whole story."
)
EXAMPLE = (
    "  airbundle ca init --domain messenger.internal\n"
    "  airbundle ca issue registry.messenger.internal 10.0.0.5\n"
    "  airbundle ca trust"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = Actions(parser)
    init = actions.add("init", "Make this site's CA.", "airbundle ca init --domain messenger.internal")
    _add_new(init)
    issue = actions.add("issue", "Issue a server's certificate.", "airbundle ca issue registry.messenger.internal")
    issue.add_argument("names", nargs="+", metavar="NAME", help="DNS names (*. allowed) and addresses")
    issue.add_argument(
        "--days", type=int, default=365, metavar="N", help="how long it is valid, up to 825 (%(default)s)"
    )
    issue.add_argument("--force", action="store_true", help="make it anew, also where a good one is here")
    issue.add_argument("-o", "--output", metavar="DIR", help="write copies NAME.crt and NAME.key there, too")
    renew = actions.add("renew", "Renew servers' certificates that are due.", "airbundle ca renew")
    renew.add_argument("--all", action="store_true", help="also those that are not due")
    renew.add_argument("--ca", action="store_true", help="the CA's own certificate, with the same key, instead")
    renew.add_argument("--days", type=int, default=3650, metavar="N", help="with --ca: how long it lives (%(default)s)")
    rotate = actions.add(
        "rotate", "Make a successor with a new key, which clients of the old CA accept.", "airbundle ca rotate"
    )
    _add_new(rotate)
    rotate.add_argument("--finish", action="store_true", help="end the change-over: trust the old CA no longer")
    csr = actions.add(
        "csr", "Write a request for a certificate from elsewhere.", "airbundle ca csr registry.corp.example"
    )
    csr.add_argument("names", nargs="*", metavar="NAME", help="of the server")
    csr.add_argument("--ca", action="store_true", help="a CA below yours, instead of a server's certificate")
    _add_new(csr, days=False)
    csr.add_argument("-o", "--output", metavar="FILE", help="write a copy of the request there")
    imported = actions.add("import", "Take the certificate that came back.", "airbundle ca import signed-chain.pem")
    imported.add_argument("file", metavar="FILE", help="PEM: the certificate, then each one's issuer up to the root")
    trust = actions.add("trust", "Let this host trust the CA: the OS trust store.", "airbundle ca trust")
    trust.add_argument("--undo", action="store_true", help="take it back")
    for action in (init, issue, renew, rotate, csr, imported, trust):
        add_state(action)
    for action in (init, issue, renew, rotate, csr, imported):
        action.add_argument(
            "--passphrase-file", metavar="FILE", help="the CA key's passphrase is the first line of this file"
        )


def _add_new(parser: argparse.ArgumentParser, *, days: bool = True) -> None:
    """Add what describes a new CA."""
    parser.add_argument("--name", metavar="NAME", help="the CA's common name")
    parser.add_argument("--domain", default="", metavar="DOMAIN", help="the site's domain; permitted with all below it")
    parser.add_argument(
        "--permit",
        action="append",
        default=[],
        metavar="NAME|NETWORK",
        help="what it may issue for: a name with all below it, or a network; may be repeated "
        "(without any: the domain, this host, cluster services, private networks)",
    )
    if days:
        parser.add_argument("--days", type=int, default=3650, metavar="N", help="how long it lives (%(default)s)")
    parser.add_argument(
        "--own-passphrase",
        action="store_true",
        help="ask for the key's passphrase and keep it nowhere: renewals then need you",
    )


def run(args: argparse.Namespace, console: Console) -> Body:
    """Run the action."""
    state = state_of(args)
    actions: dict[str, Callable[[argparse.Namespace, Console, StateDirectory], Body]] = {
        "init": _init,
        "issue": _issue,
        "renew": _renew,
        "rotate": _rotate,
        "csr": _csr,
        "import": _import,
        "trust": _trust,
    }
    with state.locked(f"ca {args.action}"):
        return {"action": args.action, **actions[args.action](args, console, state)}


def _init(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    ca = _open(args, console, state)
    name = args.name or f"{args.domain or _host()} CA"
    info = ca.create(name, _permitted(args), passphrase=_new_passphrase(args, console), days=args.days)
    tell_ca(info, ca, console)
    console.say("next: `airbundle ca trust` on this host; clients elsewhere need the file above")
    return {"ca": ca_body(info), "trust": str(ca.files.trust_file)}


def _issue(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    ca = _open(args, console, state)
    served = ca.server_certificate(args.names, days=args.days, force=args.force)
    if args.output:
        _copy(served, Path(args.output))
    tell_server(served, console)
    return {"server": server_body(served)}


def _renew(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    ca = _open(args, console, state)
    if args.ca:
        info = ca.renew(days=args.days)
        tell_ca(info, ca, console)
        console.say("clients go on with the old certificate until it ends; give them the new one before")
        return {"ca": ca_body(info), "trust": str(ca.files.trust_file)}
    done = ca.renew_servers(force=args.all)
    for served in done:
        tell_server(served, console)
    if not done:
        console.say("no server has a certificate of this CA")
    return {"servers": [server_body(served) for served in done]}


def _rotate(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    ca = _open(args, console, state)
    if args.finish:
        info = ca.finish_rotation()
        tell_ca(info, ca, console)
        console.say("the old CA is trusted no longer and its key is deleted; `airbundle ca trust` tells this host")
        return {"ca": ca_body(info), "trust": str(ca.files.trust_file)}
    permitted = _permitted(args) if args.permit or args.domain else None
    info = ca.rotate(args.name, permitted, passphrase=_new_passphrase(args, console), days=args.days)
    renewed = ca.renew_servers()
    tell_ca(info, ca, console)
    for served in renewed:
        tell_server(served, console)
    console.say("next: give all clients the file above (it has both CAs), restart servers with new certificates,")
    console.say("      and then `airbundle ca rotate --finish`")
    return {
        "ca": ca_body(info),
        "trust": str(ca.files.trust_file),
        "servers": [server_body(served) for served in renewed],
    }


def _csr(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    from airbundle.errors import UsageError
    from airbundle.installer.ca_external import ExternalCertificates

    if bool(args.names) == args.ca:
        raise UsageError("name a server, or ask for a CA with --ca", hint="airbundle ca csr registry.corp.example")
    external = ExternalCertificates(_open(args, console, state), passphrase=_asker(args, console))
    if args.ca:
        name = args.name or f"{args.domain or _host()} CA"
        path = external.request_ca(name, _permitted(args), passphrase=_new_passphrase(args, console))
    else:
        path = external.request_server(args.names)
    request = path.read_bytes()
    if args.output:
        _write(Path(args.output), request, 0o644)
        path = Path(args.output)
    console.say(f"{path}  the request; have it signed, then `airbundle ca import FILE`")
    console.say("FILE: the certificate, then each one's issuer up to the root")
    return {"request": str(path), "pem": request.decode()}


def _import(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    from airbundle.crypto.keyfile import read_public_file
    from airbundle.installer.ca_external import ExternalCertificates

    ca = _open(args, console, state)
    external = ExternalCertificates(ca, passphrase=_asker(args, console))
    done = external.accept(read_public_file(Path(args.file)))
    if done.label:
        console.say(f"{done.info.subject} serves as {done.label}: {term(done.info)}")
        console.say(f"{ca.files.trust_file}  what clients trust")
        return {"server": {"label": done.label, **ca_body(done.info)}, "trust": str(ca.files.trust_file)}
    tell_ca(done.info, ca, console)
    return {"ca": ca_body(done.info), "trust": str(ca.files.trust_file)}


def _trust(args: argparse.Namespace, console: Console, state: StateDirectory) -> Body:
    from airbundle.installer.os_trust import OsTrust

    ca = _open(args, console, state)
    store = OsTrust(ca.files.path("os-trust.json"))
    change = store.undo() if args.undo else store.install(ca.trust_pem)
    verb = "removed" if args.undo else "changed"
    for path in change.files:
        console.say(f"{'added' if path.exists() else 'removed'} {path}")
    for path in change.kept:
        console.say(f"left {path}: somebody has changed it")
    if change.command:
        console.say(f"ran {change.command}")
    else:
        console.say("nothing to undo" if args.undo else f"the {change.store} trust store has it already")
    if change.files and not args.undo:
        console.say("`airbundle ca trust --undo` takes it back")
    return {
        "store": change.store,
        verb: [str(path) for path in change.files],
        "kept": [str(path) for path in change.kept],
        "ran": change.command,
    }


def _open(args: argparse.Namespace, console: Console, state: StateDirectory) -> SiteCa:
    from airbundle.installer.ca import SiteCa

    asks = _asker(args, console) if hasattr(args, "passphrase_file") else None
    return SiteCa.of(state, passphrase=asks)


def _asker(args: argparse.Namespace, console: Console) -> Callable[[], bytes]:
    return lambda: console.passphrase("the CA's key", file=args.passphrase_file)


def _new_passphrase(args: argparse.Namespace, console: Console) -> bytes | None:
    """Return the operator's passphrase for a new key; None has one made up and kept beside the key."""
    if not (args.own_passphrase or args.passphrase_file):
        return None
    return console.passphrase("the CA's new key", file=args.passphrase_file, new=True)


def _permitted(args: argparse.Namespace) -> list[str]:
    from airbundle.installer.ca import site_permitted

    if args.permit:
        return [*([args.domain] if args.domain else []), *args.permit]
    return site_permitted(args.domain, [_host()])


def _host() -> str:
    """Return this host's name, or `localhost` where it can't stand in a certificate."""
    import platform

    from airbundle.crypto.names import parse_name
    from airbundle.errors import UsageError

    try:
        return str(parse_name(platform.node()))
    except UsageError:
        return "localhost"


def _copy(served: ServerCertificate, directory: Path) -> None:
    # The key first: it alone refuses to overwrite another.
    _write(directory / served.key.name, served.key.read_bytes(), 0o600, same=True)
    _write(directory / served.certificate.name, served.certificate.read_bytes(), 0o644)


def _write(path: Path, data: bytes, mode: int, *, same: bool = False) -> None:
    from airbundle.errors import UsageError
    from airbundle.installer.files import write_file

    if same and path.exists() and path.read_bytes() != data:
        raise UsageError(f"{path} is another key", hint="move it away, or choose another directory")
    write_file(path, data, mode)
