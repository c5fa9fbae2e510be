"""The listening socket, and what is said when there is none."""

from __future__ import annotations

import os
import socket

import pytest

from airbundle.errors import NoPermission, SiteError, UsageError
from airbundle.server.listen import listen


def test_port_zero_becomes_a_real_one() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_connections_inherit_the_patience_with_stalled_readers() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


def test_ipv6() -> None:
    with listen("::1", 0) as listener:
        assert listener.family is socket.AF_INET6


def test_a_taken_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SiteError, match=rf"127\.0\.0\.1:{port}.*\(pid {os.getpid()}\)") as caught:
            listen("127.0.0.1", port)
        assert "--listen" in caught.value.hint
        assert caught.value.outcome == "unchanged"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-name.invalid", ""])
def test_addresses_that_are_not_ours(host: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        listen(host, 0)


def test_low_ports_need_a_right() -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as stream:
                lowest = int(stream.read())
            try:
                listen("127.0.0.1", 1).close()
                code = 0 if lowest <= 1 else 2
            except NoPermission as error:
                code = 0 if "--listen" in error.hint else 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
