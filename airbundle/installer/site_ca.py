"""Which CA an install uses: the one that is here, the one that the bundle carries, or a new one of the site's own."""

from __future__ import annotations

from collections.abc import Callable

from airbundle.bundle.oci import MANIFEST_LIMIT, parse_manifest
from airbundle.crypto.certificate import load_chain, name_constraints
from airbundle.crypto.names import first_refused, parse_name, parse_names
from airbundle.errors import UsageError, VerificationError
from airbundle.installer.ca import SiteCa, site_permitted
from airbundle.installer.ca_servers import ServerCertificate
from airbundle.installer.options import Options
from airbundle.installer.state import StateDirectory
from airbundle.progress import Reporter
from airbundle.store.reader import BundleFile
from airbundle.transfer.local import host_addresses, host_name

LABEL = "registry"
BUNDLED = "bundled"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TITLE = "org.opencontainers.image.title"
_FILES = ("ca.crt", "ca.key")
_PEM_LIMIT = 256 * 1024


def server_names(options: Options) -> list[str]:
    """Return the names and addresses of this host by which clients may reach its servers."""
    names = [f"registry.{options.domain}", options.domain] if options.domain else []
    names += [host_name(), *_LOOPBACK]
    names += host_addresses() if options.host in ("0.0.0.0", "::") else [options.host]  # noqa: S104 - compared only
    return [name for name in dict.fromkeys(names) if _is_name(name)]


def _is_name(name: str) -> bool:
    """Tell whether a certificate can have it: hosts are called all kinds of things, such as `web_1`."""
    try:
        parse_name(name)
    except UsageError:
        return False
    return True


def carried_ca(bundle: BundleFile) -> tuple[bytes, bytes] | None:
    """Return the certificate and the encrypted key of the CA that a bundle carries, or None.

    Raises:
        VerificationError: it carries more than one, or not both files.
    """
    roots = bundle.roots("ca")
    if not roots:
        return None
    manifest = parse_manifest(bundle.read_small(roots[0].digest, MANIFEST_LIMIT), what="the bundle's CA")
    found = {layer.annotations.get(_TITLE, ""): layer.digest for layer in manifest.layers}
    if len(roots) != 1 or not set(_FILES) <= set(found):
        raise VerificationError(f"{bundle.path.name}: its CA is not one certificate and one key")
    certificate, key = (bundle.read_small(found[name], _PEM_LIMIT) for name in _FILES)
    return certificate, key


def ensure_ca(
    state: StateDirectory, options: Options, bundle: BundleFile, passphrase: Callable[[], bytes] | None
) -> SiteCa:
    """Return the site's CA: the bundle's, where it carries one; else a new one, where there is none.

    A new one gets constraints that fit this host and its domain.

    Args:
        state: whose lock is held.
        options: names the domain.
        bundle: may carry a CA.
        passphrase: of that CA's key, when it is needed.

    Raises:
        UsageError: there is one of another mode; the domain is none; the passphrase isn't known, or is wrong.
    """
    ca = SiteCa.of(state, passphrase=passphrase)
    carried = carried_ca(bundle)
    if carried is not None:
        ca.adopt(*carried)
    elif not ca.exists:
        name = f"airbundle CA of {options.domain or host_name()}"
        ca.create(name, site_permitted(options.domain, server_names(options)))
    return ca


def ensure_certificate(ca: SiteCa, options: Options, reporter: Reporter) -> ServerCertificate:
    """Return the certificate of this host's servers, renewed where it is due.

    An address that the CA may not issue for, such as one that this host has got since, is left out and told.

    Raises:
        UsageError, SiteError: the CA can't issue for the site's domain.
    """
    names = server_names(options)
    try:
        return ca.server_certificate(names, label=LABEL)
    except UsageError as error:
        wanted = [name for name in names if name in _LOOPBACK or _is_below(name, options.domain)]
        if wanted == names:
            raise
        certificate = ca.server_certificate(wanted, label=LABEL)
        reporter.warn(f"the server's certificate is for {', '.join(wanted)} only: {error.problem}")
        return certificate


def _is_below(name: str, domain: str) -> bool:
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def ca_problem(state: StateDirectory, options: Options, bundle: BundleFile) -> tuple[str, str]:
    """Return why the site's CA does not fit this install, and the next step; both empty when it does."""
    ca = SiteCa.of(state)
    if not ca.exists:
        waiting = sorted(ca.files.directory.glob("**/*.csr"))
        if waiting and not bundle.roots("ca"):
            return (
                f"the certificate request {waiting[0]} has no answer yet",
                "`airbundle ca import FILE` takes it; to have a CA of the site's own instead, delete the request",
            )
        return "", ""
    mode = ca.state.mode
    if bundle.roots("ca") and mode != BUNDLED:
        return (
            f"the bundle carries a CA, and this site has one of mode {mode}",
            "leave `ca` out of the inventory, or begin with an empty state directory",
        )
    if not options.domain or not ca.state.generation or bundle.roots("ca"):
        return "", ""
    chain = load_chain(ca.files.chain(ca.state), what="CA certificate")
    constraints = [found for found in map(name_constraints, chain) if found is not None]
    refused = first_refused(parse_names([f"registry.{options.domain}"]), constraints)
    if refused is None:
        return "", ""
    return (
        f"this site's CA may issue for {', '.join(refused[1].dns)}, and not for registry.{options.domain}: "
        "what a CA may do is fixed when it is made",
        f"`airbundle ca rotate --domain {options.domain}` makes a successor that may",
    )
