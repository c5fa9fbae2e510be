"""`airbundle serve`: bundles as a registry, chart repository, file server and ClamAV mirror, read in place."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.errors import UsageError

if TYPE_CHECKING:
    from airbundle.bundle.serving import ServedBundle, ServerConfig
    from airbundle.server.app import App
    from airbundle.server.library import Check
    from airbundle.store.reader import BundleFile

HELP = "Serve bundles until stopped: registry, charts, files and ClamAV mirror, read in place."
EXAMPLE = "  airbundle serve messenger-1.4.0.airbundle --key release.pub --listen 127.0.0.1:5000"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser, many=True)
    add_base(parser)
    parser.add_argument("--listen", metavar="HOST:PORT", help="by default 127.0.0.1:5000; port 0 takes a free one")
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM certificate chain; read again when it changes")
    parser.add_argument("--tls-key", metavar="FILE", help="its PEM private key")
    parser.add_argument("--prefix", default="", metavar="PATH", help="what repositories begin with")
    parser.add_argument(
        "--key", action="append", default=[], metavar="PUB", help="serve only what this release key has signed"
    )
    parser.add_argument("--access-log", default="", metavar="FILE", help="one line per request; '-' for stdout")
    # What `install` starts: everything comes from the file, and SIGHUP reads it again.
    parser.add_argument("--config", metavar="FILE", help="a configuration written by `install`, instead of all others")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any] | None:
    """Serve until SIGTERM or SIGINT."""
    from airbundle.server.config import read_config
    from airbundle.server.run import serve

    if args.config:
        config_path = Path(args.config).absolute()
        serve(lambda: read_config(config_path), lambda url, app: _tell(url, app, console))
        return None
    config = _config(args)
    serve(lambda: config, lambda url, app: _tell(url, app, console), check=_check(args, console))
    return None


def _config(args: argparse.Namespace) -> ServerConfig:
    from airbundle.bundle.naming import check_prefix
    from airbundle.bundle.serving import DEFAULT_HOST, DEFAULT_PORT, ServerConfig, parse_listen
    from airbundle.server.config import newest_first

    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("--tls-cert and --tls-key go together", hint="give both, or neither for plain HTTP")
    try:
        host, port = parse_listen(args.listen) if args.listen else (DEFAULT_HOST, DEFAULT_PORT)
    except ValueError as error:
        raise UsageError(f"--listen: {error}") from None
    log = args.access_log
    return ServerConfig(
        bundles=(*newest_first(group_volumes(bundle_paths(args))), *_bases(base_paths(args))),
        host=host,
        port=port,
        tls_cert=Path(args.tls_cert).absolute() if args.tls_cert else None,
        tls_key=Path(args.tls_key).absolute() if args.tls_key else None,
        prefix=check_prefix(args.prefix),
        access_log=log if log in {"", "-"} else str(Path(log).absolute()),
    )


def group_volumes(paths: Sequence[Path]) -> tuple[ServedBundle, ...]:
    """Return one entry for each bundle that `paths` name: volumes of one bundle belong together, as do directories."""
    from airbundle.bundle.serving import ServedBundle
    from airbundle.store.volumes import bundle_path

    groups: dict[str, list[Path]] = {}
    directories = [path.absolute() for path in paths if path.is_dir()]
    for path in paths:
        if not path.is_dir():
            whole = bundle_path(path)
            groups.setdefault(whole.name if whole != path else str(path.absolute()), []).append(path.absolute())
    if directories:
        if len(groups) > 1:
            raise UsageError("--volumes goes with one bundle", hint="serve the others from a second process")
        files = next(iter(groups.values()), [])
        return (ServedBundle((*files, *directories)),)
    return tuple(ServedBundle(tuple(files)) for files in groups.values())


def _bases(paths: Sequence[Path]) -> Iterator[ServedBundle]:
    from airbundle.bundle.serving import BASE, ServedBundle
    from airbundle.store.delta import base_bundles

    for files in base_bundles(paths):
        yield ServedBundle(tuple(path.absolute() for path in files), holds=BASE)


def _check(args: argparse.Namespace, console: Console) -> Check:
    from datetime import datetime, timezone

    from airbundle.bundle.trust import check_trust, trust_keys
    from airbundle.crypto.keyfile import read_public_file

    trusted = (
        trust_keys(None, [read_public_file(Path(name), option="--key") for name in args.key], 1) if args.key else None
    )

    def check(bundle: BundleFile) -> None:
        if trusted is None:
            console.note(f"{bundle.path.name}: its origin is not proven; give the release key with --key PUB")
            return
        # Serving never stops on expiry: what was installed goes on working.
        check_trust(bundle.statement_raw, bundle.signatures, trusted, datetime.now(timezone.utc), allow_expired=True)

    return check


def _tell(url: str, app: App, console: Console) -> None:
    import sys

    from airbundle.bundle.sizes import counted

    for opened in app.library.bundles:
        console.say(f"{opened.statement.name} {opened.statement.version}: {opened.bundle.path}")
    if app.repositories is not None:
        tags = sum(len(repository.tags) for repository in app.repositories.values())
        repositories = counted(len(app.repositories), "repository", "repositories")
        console.say(f"registry: {counted(tags, 'tag')} in {repositories}")
    for name, shelf in app.shelves.items():
        if shelf:
            console.say(f"{name}: {url}/{name}/")
    console.say(f"ready: {url}")
    sys.stdout.flush()
