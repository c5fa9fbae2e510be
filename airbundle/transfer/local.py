"""This host's own network: names, addresses, whether a port is free. Looks only; sends nothing to the outside."""

from __future__ import annotations

import errno
import ipaddress
import socket

from airbundle.errors import HostError

_PROBES = (("10.255.255.255", socket.AF_INET), ("fd00::1", socket.AF_INET6), ("192.0.2.1", socket.AF_INET))

PORT_TAKEN = "another program listens there"


def host_name() -> str:
    """Return this host's name, in lower case; the full one where the host knows it."""
    name = socket.gethostname().lower()
    if "." in name:
        return name
    full = socket.getfqdn(name).lower()
    return full if full.startswith(f"{name}.") and not full.startswith("localhost") else name


def host_addresses() -> list[str]:
    """Return the addresses by which others reach this host, without loopback and link-local ones.

    They are those that the kernel would use as the source towards some private and public networks (a UDP socket
    that is connected sends nothing), and those that the host's own name stands for.
    """
    found: dict[str, None] = {}
    for target, family in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found[str(probe.getsockname()[0])] = None
        except OSError:
            continue
    try:
        for entry in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            found[str(entry[4][0])] = None
    except OSError:
        pass
    return [address for address in found if _is_reachable(address)]


def _is_reachable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # an IPv6 address with a zone
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def addresses_of(name: str) -> list[str]:
    """Return the addresses that `name` stands for on this host, sorted; none when it can't be found."""
    try:
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(entry[4][0]) for entry in entries})


def resolves_here(name: str) -> bool:
    """Tell whether `name` stands for an address of this host."""
    own = set(host_addresses())
    return any(
        ipaddress.ip_address(address.partition("%")[0]).is_loopback or address in own for address in addresses_of(name)
    )


def is_own_address(host: str) -> bool:
    """Tell whether a server on this host could listen at the address `host`."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def port_problem(host: str, port: int) -> str:
    """Return why nobody could listen at `host:port`; empty when one could.

    Raises:
        HostError: `host` is no address of any family.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise HostError(f"{host}: {error.strerror}", hint="expected an IP address") from None
    with socket.socket(family, kind) as probe:
        # As servers do: connections of an earlier server that are still closing are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return PORT_TAKEN
            return error.strerror or str(error)
    return ""
