"""Names in certificates, and the name constraints of a CA (RFC 5280 §4.2.1.6 and §4.2.1.10).

Constraints always permit both kinds of names, because one kind alone leaves the other open: a CA that permits only
`messenger.internal` may issue for any address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Union

from airbundle.errors import UsageError

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

LOOPBACK = ("localhost", "127.0.0.0/8", "::1/128")
"""Always permitted: a server's own health check, and the guarantee that both kinds are constrained."""

CLUSTER = ("svc", "cluster.local")
"""Names of Kubernetes services: `registry.airbundle.svc`, `registry.airbundle.svc.cluster.local`."""

PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
"""What to permit where the site's networks aren't known (RFC 1918, RFC 4193)."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
_MOST_NAMES = 100


def parse_name(text: str) -> str | Address:
    """Read one name of a server: a DNS name, `*.` with a DNS name, or an address.

    Returns:
        The name in lower case, or the address.

    Raises:
        UsageError: it is neither.
    """
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        pass
    host = text.lower().rstrip(".")
    check = host[2:] if host.startswith("*.") else host
    labels = check.split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        hint = "write it in its ASCII form (xn--…)" if not text.isascii() else "expected a.b.c, *.b.c or an address"
        raise UsageError(f"{text!r:.80} is no name of a server", hint=hint)
    if labels[-1].isdigit():
        raise UsageError(f"{text!r:.80} is neither an address nor a DNS name", hint="addresses have four numbers")
    return host


def parse_names(names: Iterable[str]) -> tuple[str | Address, ...]:
    """Read the names of one certificate, each once, in order.

    Raises:
        UsageError: one is no name, there are none, or more than 100.
    """
    parsed = tuple(dict.fromkeys(parse_name(name) for name in names))
    if not 0 < len(parsed) <= _MOST_NAMES:
        raise UsageError(f"found {len(parsed)} names for a certificate, expected 1 to {_MOST_NAMES}")
    return parsed


@dataclass(frozen=True)
class NameConstraints:
    """What one CA certificate allows. A kind without permitted names is open, but for the excluded ones.

    Attributes:
        dns: a name permits itself and all below.
        networks: of either version.
        excluded_dns, excluded_networks: as another organisation's CA may have them.
    """

    dns: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    excluded_dns: tuple[str, ...] = field(default=())
    excluded_networks: tuple[Network, ...] = field(default=())

    def __str__(self) -> str:
        return ", ".join([*self.dns, *map(str, self.networks)]) or "everything"

    def allows(self, name: str | Address) -> bool:
        """Tell whether a certificate for `name` keeps to these constraints."""
        if isinstance(name, str):
            permitted = not self.dns or any(_below(name, base) for base in self.dns)
            return permitted and not any(_below(name, base) or _covers(name, base) for base in self.excluded_dns)
        permitted = not self.networks or any(_inside(name, network) for network in self.networks)
        return permitted and not any(_inside(name, network) for network in self.excluded_networks)


def permitted_names(names: Iterable[str]) -> NameConstraints:
    """Return constraints that permit `names` (DNS names with all below them, addresses, networks) and LOOPBACK.

    Raises:
        UsageError: one is neither, or is the whole of a name space.
    """
    dns: dict[str, None] = {}
    networks: dict[Network, None] = {}
    for text in [*names, *LOOPBACK]:
        item = _permitted(text)
        if isinstance(item, str):
            dns[item] = None
        else:
            networks[item] = None
    return NameConstraints(tuple(dns), tuple(networks))


def first_refused(
    names: Sequence[str | Address], chain: Sequence[NameConstraints]
) -> tuple[str | Address, NameConstraints] | None:
    """Return the first of `names` that a CA in `chain` does not allow, and that CA's constraints."""
    for name in names:
        for constraints in chain:
            if not constraints.allows(name):
                return name, constraints
    return None


def _permitted(text: str) -> str | Network:
    if text.startswith(("*", ".")):
        base = text.lstrip("*.")
        raise UsageError(f"constraint {text!r:.80}: no wildcards", hint=f"{base!r} permits itself and all below")
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if "/" in text:
            raise UsageError(f"constraint {text!r:.80} is no network: {error}", hint="such as 10.0.0.0/8") from None
    else:
        if network.prefixlen == 0:
            raise UsageError(f"constraint {text!r} permits every address", hint="name the site's networks")
        return network
    name = parse_name(text)
    if isinstance(name, str):
        return name
    raise UsageError(f"constraint {text!r:.80} is no network", hint="such as fd00::/8, without brackets")


def _below(name: str, base: str) -> bool:
    """RFC 5280: a name satisfies a constraint when it can be made by adding labels on its left."""
    if base.startswith("."):  # a form that OpenSSL and Go know: only names below
        return name.endswith(base)
    return not base or name == base or name.endswith("." + base)


def _covers(name: str, base: str) -> bool:
    """Whether the wildcard `name` stands for names within `base`, which is excluded."""
    return name.startswith("*.") and _below(base, name[2:])


def _inside(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
