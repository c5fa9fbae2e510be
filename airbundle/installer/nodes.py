"""What nodes are told of the private registry of a site, from what is installed there."""

from __future__ import annotations

from urllib.parse import urlsplit

from airbundle.bundle.index import IMAGE, ref_of
from airbundle.bundle.reference import parse_reference
from airbundle.errors import UsageError
from airbundle.installer.files import read_file
from airbundle.installer.mirrors import Mirrored
from airbundle.installer.options import URL
from airbundle.installer.state import Installed, StateDirectory
from airbundle.store.reader import open_bundle
from airbundle.transfer.local import host_addresses

_CA_LIMIT = 1024 * 1024


def mirrored_registry(state: StateDirectory) -> Mirrored:
    """Return the site's registry as its nodes see it.

    Raises:
        UsageError: nothing is installed.
        VerificationError, HostError: a kept copy can't be read.
    """
    installed = state.read()
    if not installed.registry:
        raise UsageError(f"nothing is installed in {state.root}", hint="`airbundle install` first, or see --state-dir")
    ca_file = state.registry_ca if installed.mode == URL else state.ca_file
    raw = read_file(ca_file, limit=_CA_LIMIT) if installed.registry.startswith("https://") else None
    return Mirrored(
        installed.registry.rstrip("/"), installed.prefix, _upstreams(state, installed), raw.decode() if raw else ""
    )


def registry_address(state: StateDirectory, registry: Mirrored) -> str:
    """Return an address of this host for nodes that don't know the registry's name; empty where it has no own name."""
    name = urlsplit(registry.url).hostname or ""
    if state.read().mode == URL or not any(letter.isalpha() for letter in name) or ":" in name:
        return ""
    return next((address for address in host_addresses() if ":" not in address), "")


def _upstreams(state: StateDirectory, installed: Installed) -> tuple[str, ...]:
    found: set[str] = set()
    for each in installed.bundles:
        if each.file:
            with open_bundle([state.bundles / each.file]) as bundle:
                found.update(parse_reference(ref_of(root)).registry for root in bundle.roots(IMAGE))
    return tuple(sorted(found))
