"""Where clients find the site's servers: by the site's domain where it has one, else by this host's address."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from airbundle.bundle.serving import join_host
from airbundle.errors import UsageError
from airbundle.installer.container_config import container_name
from airbundle.installer.files import PUBLIC_DIRECTORY, PUBLIC_FILE, make_directory, read_file, write_file
from airbundle.installer.options import CONTAINER, Options
from airbundle.installer.report import Place
from airbundle.installer.state import StateDirectory
from airbundle.installer.target import Target, parse_target
from airbundle.transfer.local import host_addresses, resolves_here

_CA_LIMIT = 1024 * 1024


def server_place(state: StateDirectory, options: Options) -> Place:
    """Return where airbundle's server is."""
    return _own(state, options, options.port)


def registry_place(state: StateDirectory, options: Options) -> Place:
    """Return where the private registry is."""
    target = options.target
    if target is not None:
        tls = target.tls
        ca_file = str(state.registry_ca) if tls.ca_file else ""
        client = (tls.cert_file, tls.key_file) if tls.cert_file else None
        plain = target.url.startswith("http://")
        return Place(target.url, target.host, ca_file, plain, tls.insecure_skip_verify, client, target.user)
    return _own(state, options, options.container_port if options.mode == CONTAINER else options.port)


def registry_name(state: StateDirectory, mode: str, url: str) -> str:
    """Return under which name the journal knows a registry; the container's stays the same at another port."""
    return f"container {container_name(state.root)}" if mode == CONTAINER else url


def _own(state: StateDirectory, options: Options, port: int) -> Place:
    name, here = f"registry.{options.domain}", _address(options)
    if options.domain:
        here = name if resolves_here(name) else here
        return Place(f"https://{join_host(name, port)}", join_host(here, port), str(state.ca_file))
    return Place(f"https://{join_host(here, port)}", join_host(here, port), str(state.ca_file))


def _address(options: Options) -> str:
    """Return an address of this host that others can use, as far as the server listens there."""
    if options.here == options.host:
        return options.host
    version = ":" in options.host
    return next((address for address in host_addresses() if (":" in address) == version), options.here)


def notes(state: StateDirectory, options: Options) -> Iterator[str]:
    """Yield what the operator has to do now, one line each."""
    name = f"registry.{options.domain}"
    if options.domain and not resolves_here(name):
        yield f"put `{_address(options)} {name}` into the site's DNS, or into /etc/hosts of each client"
    if options.target is None:
        program, own = shutil.which("airbundle"), state.path("bin", "airbundle")
        command = "airbundle" if program and Path(program).resolve() == own.resolve() else str(own)
        # The directory is named: where the program is no zip application, it does not know whose it is.
        place = "" if command == "airbundle" else f" --state-dir {shlex.quote(str(state.root))}"
        trust = f"`{shlex.quote(command)} ca trust{place}`"
        yield f"clients must trust the CA: {trust} on this host, or copy the file to them"


def target_here(state: StateDirectory, options: Options) -> Target:
    """Return the private registry as this host reaches it."""
    if options.target is not None:
        kept = state.registry_ca if options.target.tls.ca_file else None
        return replace(options.target, ca_file=kept)
    port = options.container_port if options.mode == CONTAINER else options.port
    url = f"https://{join_host(options.here, port)}"
    return parse_target(url, prefix=options.prefix, ca_file=state.ca_file)


def keep_registry_ca(state: StateDirectory, target: Target) -> bool:
    """Keep a copy of the registry's CA where clients can read it, alone in its directory; return whether it is new.

    Whether the CA was named by `--registry-ca` or in `registries.yaml` makes no difference.

    Raises:
        UsageError: the file that was named has gone.
    """
    ca_file = target.tls.ca_file
    if not ca_file:
        return False
    raw = read_file(Path(ca_file), limit=_CA_LIMIT)
    if raw is None:
        raise UsageError(f"the CA of {target.host}, {ca_file}: there is no such file", hint="see --registry-ca")
    state.directory("certs")
    make_directory(state.registry_ca.parent, PUBLIC_DIRECTORY)
    return write_file(state.registry_ca, raw, PUBLIC_FILE)
