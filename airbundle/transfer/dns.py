"""A question to one DNS server, over UDP: what a given server answers, whatever this host's own resolver says.

For checking what we set up; not for finding hosts. Format: RFC 1035 section 4.
"""

from __future__ import annotations

import secrets
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from airbundle.errors import Unreachable

A, CNAME, AAAA = 1, 5, 28
NXDOMAIN = 3
_IN = 1
_RECURSION_WANTED = 0x0100
_ANSWER = 0x8000
_LIMIT = 4096
_TRIES = 3


@dataclass(frozen=True)
class DnsAnswer:
    """What a server answered.

    Attributes:
        code: 0, or why there is nothing: 3, the name does not exist.
        addresses: of the A and AAAA records, also those that an alias led to; sorted.
    """

    code: int
    addresses: tuple[str, ...] = ()


def ask_dns(server: str, name: str, kind: int = A, *, port: int = 53, timeout: float = 3.0) -> DnsAnswer:
    """Ask a server for a name.

    Args:
        server: its address.
        name: what to ask for.
        kind: `A` or `AAAA`.
        port: of the server.
        timeout: seconds for each of three tries.

    Raises:
        Unreachable: it does not answer, or with what is no answer.
    """
    number = secrets.randbelow(1 << 16)
    query = struct.pack("!6H", number, _RECURSION_WANTED, 1, 0, 0, 0) + _name(name) + struct.pack("!2H", kind, _IN)
    family = socket.AF_INET6 if ip_address(server).version == 6 else socket.AF_INET
    why = ""
    for _ in range(_TRIES):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as link:
                link.settimeout(timeout)
                link.connect((server, port))
                link.send(query)
                return _parse(link.recv(_LIMIT), number)
        except (OSError, ValueError, IndexError, struct.error) as error:
            why = str(error)
    raise Unreachable(
        f"{name}: the DNS server {server} gave no answer: {why}",
        side="site",
        hint="check that it runs, and that this host may reach its port 53",
    )


def _name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _parse(raw: bytes, number: int) -> DnsAnswer:
    found, flags, questions, answers = struct.unpack("!4H", raw[:8])
    if found != number or not flags & _ANSWER:
        raise ValueError("it is no answer to the question")
    place = 12
    for _ in range(questions):
        place = _past_name(raw, place) + 4
    addresses = set()
    for _ in range(answers):
        place = _past_name(raw, place)
        kind, _, _, size = struct.unpack("!HHIH", raw[place : place + 10])
        data = raw[place + 10 : place + 10 + size]
        place += 10 + size
        if (kind, size) in ((A, 4), (AAAA, 16)):
            addresses.add(str(ip_address(data)))
    return DnsAnswer(flags & 15, tuple(sorted(addresses)))


def _past_name(raw: bytes, place: int) -> int:
    while raw[place]:
        if raw[place] >= 0xC0:
            return place + 2
        place += raw[place] + 1
    return place + 1
