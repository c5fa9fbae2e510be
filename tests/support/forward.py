"""Ports of a network namespace, reached from outside of it: a loopback port here is an address in there.

    with forwarded(lambda: pid_of_a_process_inside, ("10.203.0.11", 6443)) as port:
        httpx.get(f"https://127.0.0.1:{port}/readyz", …)

Each connection enters the namespace anew, in a thread of its own: the namespace may come and go (a node that restarts).
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PIECE = 1 << 16


@contextmanager
def forwarded(pid: Callable[[], int], address: tuple[str, int]) -> Iterator[int]:
    """Forward a loopback port to `address` in the network namespace of process `pid()`; yields the port.

    Where the namespace or the address is not there, connections are closed at once. Needs root.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, pid, address), daemon=True).start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            # Closing alone would leave the thread in accept().
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, pid: Callable[[], int], address: tuple[str, int]) -> None:
    while True:
        try:
            here, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(here, pid, address), daemon=True).start()


def _serve(here: socket.socket, pid: Callable[[], int], address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        stack.enter_context(here)
        try:
            _enter_network(pid())  # this thread only, which ends with the connection
            there = stack.enter_context(socket.create_connection(address, timeout=10))
        except OSError:
            return
        there.settimeout(None)
        back = threading.Thread(target=_copy, args=(there, here), daemon=True)
        back.start()
        _copy(here, there)
        back.join()


def _enter_network(pid: int) -> None:
    descriptor = os.open(Path(f"/proc/{pid}/ns/net"), os.O_RDONLY)
    try:
        if _LIBC.setns(descriptor, 0):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
    finally:
        os.close(descriptor)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # either side is gone: so is the connection
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
