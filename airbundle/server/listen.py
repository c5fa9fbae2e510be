"""The listening socket: opened by us, so that a taken port gives an error of ours and port 0 tells what it became."""

from __future__ import annotations

import errno
import socket

from airbundle.bundle.serving import join_host
from airbundle.errors import NoPermission, SiteError, UsageError
from airbundle.transfer.listeners import who_listens

_BACKLOG = 1024
_STALLED_SECONDS = 120


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `host`:`port`; port 0 takes a free one.

    Raises:
        UsageError: `host` is no address of this host.
        SiteError: another program listens there; names it where it can be found.
        NoPermission: the port is below 1024 and this user may not.
    """
    where = join_host(host, port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--listen {where}: {error.strerror or error}", hint="name an address of this host") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: a client that takes no byte for so long is gone, and frees its thread.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_SECONDS * 1000)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise port_taken(host, port) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise NoPermission(
                f"listen at {where}: {error.strerror}", hint="name a port above 1023 with --listen, or run as root"
            ) from None
        raise UsageError(f"--listen {where}: {error.strerror}", hint="name an address of this host") from None
    return listener


def port_taken(host: str, port: int) -> SiteError:
    """Return the error for a port that another program has."""
    other = who_listens(port)
    return SiteError(
        f"listen at {join_host(host, port)}: the port is taken by {other or 'another program'}",
        outcome="unchanged",
        hint="stop that program, or name another port with --listen HOST:PORT",
    )
