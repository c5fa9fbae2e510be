"""Proxies from the environment, for both HTTP engines: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

NO_PROXY is read as Go's `http/httpproxy` does, because that is what docker, helm and kubelet obey: names with their
subdomains, `.suffix` and `*.suffix` for subdomains only, IP addresses, CIDR, each with an optional port, and `*`.
localhost and loopback addresses never go through a proxy.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union
from urllib.parse import unquote

from airbundle.errors import UsageError
from airbundle.transfer.wire import BadUrl, Url

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclass(frozen=True)
class Proxy:
    """A proxy: its URL without credentials, and the credentials."""

    url: Url
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class _Exception:
    """One entry of NO_PROXY: a name, a suffix or a network, with a port or 0 for all."""

    name: str = ""
    subdomains_only: bool = False
    network: Network | None = None
    port: int = 0

    def matches(self, hostname: str, address: Address | None, port: int) -> bool:
        if self.port and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        if self.name == "*":
            return True
        if hostname == self.name:
            return not self.subdomains_only
        return address is None and hostname.endswith("." + self.name)


@dataclass(frozen=True)
class Proxies:
    """Which proxy a URL goes through."""

    http: Proxy | None = None
    https: Proxy | None = None
    exceptions: tuple[_Exception, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Proxies:
        """Read the variables, lower case first.

        Raises:
            UsageError: a proxy's URL does not parse, or is of a kind that is not supported.
        """
        env = os.environ if environ is None else environ

        def get(name: str) -> tuple[str, str]:
            for variable in (name.lower(), name):
                if env.get(variable, "").strip():
                    return variable, env[variable].strip()
            return name, ""

        every = get("ALL_PROXY")
        http, https = get("HTTP_PROXY"), get("HTTPS_PROXY")
        return cls(
            http=_parse_proxy(*(http if http[1] else every)),
            https=_parse_proxy(*(https if https[1] else every)),
            exceptions=parse_no_proxy(get("NO_PROXY")[1]),
        )

    def of(self, url: Url) -> Proxy | None:
        """Return the proxy for `url`, or None to connect directly."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None:
            return None
        address = _address(url.hostname)
        if url.hostname == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(entry.matches(url.hostname.rstrip("."), address, url.port) for entry in self.exceptions):
            return None
        return proxy


def parse_no_proxy(text: str) -> tuple[_Exception, ...]:
    """Parse NO_PROXY; entries are parted by commas or blanks. What can't be meant matches nothing, as in Go."""
    return tuple(_entry(word) for word in text.lower().replace(",", " ").split())


def _entry(word: str) -> _Exception:
    if word == "*":
        return _Exception("*")
    try:
        return _Exception(network=ipaddress.ip_network(word.strip("[]"), strict=False))
    except ValueError:
        pass
    host, _, digits = word.rpartition(":")
    port = 0
    if host and digits.isascii() and digits.isdigit() and int(digits) < 65536:
        word, port = host, int(digits)
        address = _address(word)
        if address is not None:
            return _Exception(network=ipaddress.ip_network(address), port=port)
    subdomains_only = word.startswith((".", "*."))
    name = word.lstrip("*").lstrip(".").rstrip(".")
    return _Exception(name or "\0", subdomains_only, port=port)


def _address(hostname: str) -> Address | None:
    try:
        return ipaddress.ip_address(hostname.strip("[]"))
    except ValueError:
        return None


def _parse_proxy(variable: str, text: str) -> Proxy | None:
    if not text:
        return None
    if "://" not in text:
        text = f"http://{text}"
    scheme, _, rest = text.partition("://")
    userinfo, at, host = rest.rpartition("@")
    if scheme.startswith("socks"):
        raise UsageError(f"{variable}: SOCKS proxies are not supported", hint="name an http:// or https:// proxy")
    try:
        url = Url.parse(f"{scheme.lower()}://{host if at else rest}")
    except BadUrl as error:
        # The text itself may hold a password: it is not shown.
        raise UsageError(
            f"{variable}: not the URL of a proxy: {error}", hint="expected http://[user:password@]host:port"
        ) from None
    username, _, password = userinfo.partition(":")
    return Proxy(url, unquote(username), unquote(password))
