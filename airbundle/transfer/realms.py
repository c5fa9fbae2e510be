"""Which token server may be asked, and which may get credentials (docs/decisions/0011-token-realms.md).

A registry names its token server itself, in `WWW-Authenticate`. That answer may come from a hostile registry or a
hostile network, so the name alone earns no trust.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from airbundle.transfer.wire import BadUrl, Url

_KNOWN = {
    "registry-1.docker.io": frozenset({"auth.docker.io"}),
    "registry.redhat.io": frozenset({"sso.redhat.com"}),
    "registry.connect.redhat.com": frozenset({"sso.redhat.com"}),
}
_SECOND_LEVEL = frozenset({"ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ne", "net", "or", "org"})
# Under these names anybody can have a host of his own: two such hosts have nothing to do with each other.
_SHARED = frozenset(
    {
        "amazonaws.com", "appspot.com", "azurecr.io", "azurewebsites.net", "cloudapp.net", "cloudfront.net",
        "duckdns.org", "fly.dev", "github.io", "gitlab.io", "herokuapp.com", "ngrok.io", "nip.io", "ondigitalocean.app",
        "onrender.com", "pages.dev", "run.app", "sslip.io", "vercel.app", "web.app", "windows.net", "workers.dev",
    }
)  # fmt: skip


class RealmRefused(Exception):
    """The token server is not asked; the text says why, `listing` whether `token_hosts` would allow it."""

    def __init__(self, reason: str, *, listing: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.listing = listing


def check_realm(
    registry: Url, realm: str, *, credentials: bool, verified: bool, listed: Collection[str], plain: bool
) -> Url:
    """Return the token server's URL when it may be asked.

    Args:
        registry: whose answer named it.
        realm: as in the answer; absolute.
        credentials: whether user, password or refresh token would be sent there.
        verified: the registry's answer came over TLS with a verified certificate.
        listed: `token_hosts` of the registry's entry in registries.yaml.
        plain: registries.yaml has an `http://` endpoint for the token server's host.

    Raises:
        RealmRefused: it may not.
    """
    try:
        url = Url.parse(realm)
    except BadUrl as error:
        raise RealmRefused(f"the realm is no URL: {error}", listing=False) from None
    same_host = url.hostname == registry.hostname
    if url.scheme == "http" and not plain and not (same_host and registry.scheme == "http"):
        raise RealmRefused("it speaks plain HTTP, which nobody has allowed", listing=False)
    if same_host or url.host in listed or url.hostname in listed:
        return url
    if not _is_public(url.hostname):
        raise RealmRefused("it is another host at a local or private address")
    if credentials and not (verified and related(registry.hostname, url.hostname)):
        raise RealmRefused("it is a host of another domain, and would get the registry's credentials")
    return url


def related(registry: str, realm: str) -> bool:
    """Tell whether two different host names belong to the same owner, as far as names can tell."""
    if realm in _KNOWN.get(registry, ()):
        return True
    domain = owner_domain(registry)
    return domain != "" and domain == owner_domain(realm)


def owner_domain(hostname: str) -> str:
    """Return the part of a host name that one owner registers: `example.co.uk` of `a.b.example.co.uk`, or ""."""
    labels = hostname.rstrip(".").split(".")
    if _address(hostname) is not None or not all(labels):
        return ""
    count = 2
    if len(labels[-1]) == 2 and len(labels) > 1 and labels[-2] in _SECOND_LEVEL:
        count = 3
    if any(hostname.endswith("." + shared) or hostname == shared for shared in _SHARED):
        return hostname  # its own owner, related to nobody
    return ".".join(labels[-count:]) if len(labels) >= count else ""


def _is_public(hostname: str) -> bool:
    address = _address(hostname)
    return hostname != "localhost" and (address is None or address.is_global)


def _address(hostname: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(hostname.strip("[]"))
    except ValueError:
        return None
