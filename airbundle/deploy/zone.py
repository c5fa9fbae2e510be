"""The site's internal zone: which names are there, and what is answered to each. Pure.

A zone means the same wherever it is served (RFC 1034, RFC 4592): a name that others lie below exists, a wildcard
matches only what lies directly or indirectly below its parent and below no nearer name that exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from airbundle.bundle.site import SiteDns
from airbundle.errors import UsageError

TTL = 60
"""Seconds: a site's addresses change rarely, and then at once."""
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_LIMIT = 253


@dataclass(frozen=True)
class Zone:
    """A zone and its records.

    Attributes:
        name: without a dot at its end.
        records: whole name → addresses, or one other name; a wildcard begins with `*.`.
    """

    name: str
    records: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.records.items():
            if name != self.name and not name.endswith(f".{self.name}"):
                raise UsageError(f"{name}: is not in the zone {self.name}")
            for each in (name, self.name, *(value for value in values if not _address(value))):
                if not _NAME.fullmatch(each) or len(each) > _LIMIT:
                    raise UsageError(f"the zone {self.name}: found {each!r:.300}, expected a DNS name in lower case")
            if not values or (len(values) > 1 and not all(map(_address, values))):
                raise UsageError(f"{name}: found {', '.join(values)!r:.300}, expected addresses, or one name")
            if name == self.name and alias(values):
                raise UsageError(f"{name}: found the name {values[0]!r:.300}, expected addresses: a zone is no alias")

    def addresses(self, name: str, *, version: int = 0) -> tuple[str, ...]:
        """Return the addresses that a name in the zone stands for, also by way of other names in it.

        Args:
            name: whole, in lower case.
            version: 4 or 6; 0 for both.
        """
        for _ in range(len(self.records) + 1):  # a circle has an end, too
            values = self.records.get(self.source(name), ())
            target = alias(values)
            if not target:
                return tuple(value for value in values if version in (0, ip_address(value).version))
            name = target
        return ()

    def source(self, name: str) -> str:
        """Return the record, or the wildcard, that answers for a name; empty where none does."""
        if name in self.records:
            return name
        while "." in name and name != self.name:
            name = name.partition(".")[2]
            if f"*.{name}" in self.records:
                return f"*.{name}"
            if name in self.existing:
                return ""
        return ""

    @property
    def existing(self) -> frozenset[str]:
        """All names that exist: those with records, and those above them, up to the zone's own."""
        found = {self.name}
        for name in self.records:
            while name not in found:
                if not name.startswith("*."):
                    found.add(name)
                name = name.partition(".")[2]
        return frozenset(found)


def zones_of(dns: SiteDns, registry: str = "", addresses: tuple[str, ...] = ()) -> tuple[Zone, ...]:
    """Return the zones that a site serves: its own, and the registry's name where that lies elsewhere.

    Args:
        dns: what the site file says.
        registry: the registry's host name; empty where it has none.
        addresses: of the registry; a record of the site file wins over them.

    Raises:
        UsageError: a record can't be.
    """
    registry = registry.lower().rstrip(".")
    records = {_whole(name, dns.zone): tuple(map(_value, values)) for name, values in dns.records.items()}
    zones = [Zone(dns.zone.lower(), records)] if dns.zone else []
    if not registry or not addresses:
        return tuple(zones)
    if zones and (registry == zones[0].name or registry.endswith(f".{zones[0].name}")):
        return (Zone(zones[0].name, {registry: addresses, **records}),)
    return (*zones, Zone(registry, {registry: addresses}))


def alias(values: tuple[str, ...]) -> str:
    """Return the other name that a record stands for; empty where it has addresses."""
    return values[0] if len(values) == 1 and not _address(values[0]) else ""


def hosts_file(zones: tuple[Zone, ...]) -> str:
    """Return lines for `/etc/hosts`, or for a server that reads such (dnsmasq, CoreDNS); wildcards can't be in it."""
    return "".join(
        f"# {name}: a hosts file has no wildcards\n" if name.startswith("*.") else _host_lines(zone, name)
        for zone in zones
        for name in sorted(zone.records)
    )


def _host_lines(zone: Zone, name: str) -> str:
    found = zone.addresses(name)
    return "".join(f"{address} {name}\n" for address in found) or f"# {name}: is {zone.records[name][0]}\n"


def zone_file(zone: Zone, serial: int) -> str:
    """Return a master file (RFC 1035 section 5) for the site's own server, such as BIND, NSD, Knot or CoreDNS."""
    # Who serves it is not known here; a server of a name in the zone would need an address.
    lines = [f"$ORIGIN {zone.name}.", f"$TTL {TTL}", f"@ IN SOA {soa(zone, serial)}", "@ IN NS localhost."]
    lines += [f"{name}. IN {kind} {value}" for name in sorted(zone.records) for kind, value in records(zone, name)]
    return "\n".join(lines) + "\n"


def records(zone: Zone, name: str) -> Iterator[tuple[str, str]]:
    """Yield type and data of each record of a name."""
    for value in zone.records[name]:
        address = _address(value)
        if address is None:
            yield "CNAME", f"{value}."
        else:
            yield ("A" if address.version == 4 else "AAAA"), str(address)


def soa(zone: Zone, serial: int = 1) -> str:
    """Return the data of the zone's SOA record."""
    return f"localhost. hostmaster.{zone.name}. {serial} 3600 600 604800 {TTL}"


def _whole(name: str, zone: str) -> str:
    return (zone if name == "@" else f"{name}.{zone}").lower()


def _value(text: str) -> str:
    address = _address(text)
    return str(address) if address else text.lower().rstrip(".")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
