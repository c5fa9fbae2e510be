"""Questions to services, asked of real servers."""

from __future__ import annotations

import socket
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from airbundle.errors import Unreachable
from airbundle.transfer.probe import BODY_LIMIT, Target, probe_http, probe_tcp, probe_tls
from tests.support.answers import web
from tests.support.tls import Authority

LOCAL = ["127.0.0.1"]


@pytest.fixture(name="authority", scope="module")
def private_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_http_by_a_name_that_only_we_know() -> None:
    with web() as port:
        target = Target("chat.site.test", port, LOCAL)
        assert probe_http(target, "/a?b=c", None, timeout=20) == (200, f"/a?b=c of chat.site.test:{port}".encode())
        assert probe_http(target, "/away", None, timeout=20)[0] == 302
        assert len(probe_http(target, "/large", None, timeout=20)[1]) == BODY_LIMIT
        probe_tcp(target, timeout=20)


def test_https_with_the_sites_ca_alone(authority: Authority, tmp_path: Path) -> None:
    with web(authority, "chat.site.test") as port:
        target = Target("chat.site.test", port, LOCAL)
        assert probe_http(target, "/", authority.ca_pem, timeout=20)[0] == 200
        assert probe_tls(target, authority.ca_pem, timeout=20) > datetime.now(timezone.utc)
        with pytest.raises(Unreachable, match=r"no TLS: .*unable to get local issuer"):
            probe_tls(target, Authority(tmp_path).ca_pem, timeout=20)
        with pytest.raises(Unreachable, match="Hostname mismatch"):
            probe_http(Target("other.site.test", port, LOCAL), "/", authority.ca_pem, timeout=20)


def test_further_addresses_are_tried() -> None:
    with web() as port:
        assert probe_http(Target("x", port, ["127.0.0.2", "127.0.0.1"]), "/", None, timeout=20)[0] == 200


def test_what_does_not_answer_is_told(authority: Authority) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = Target("chat.site.test", taken.getsockname()[1], LOCAL)
        with pytest.raises(Unreachable, match=r"chat\.site\.test:\d+: no connection: 127\.0\.0\.1: Connection refused"):
            probe_tcp(target, timeout=20)
    with pytest.raises(Unreachable, match="nobody knows an address"):
        probe_tcp(Target("nowhere.test", 1, []), timeout=20)
    with web() as port, pytest.raises(Unreachable, match="no TLS"):
        probe_tls(Target("chat.site.test", port, LOCAL), authority.ca_pem, timeout=20)


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_drips_is_left(authority: Authority, tls: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(b"\x16" if tls else b"H")
                        stop.wait(0.05)
                except OSError:
                    pass

        stop = threading.Event()
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        target = Target("x", server.getsockname()[1], LOCAL)
        with pytest.raises(Unreachable):
            probe_http(target, "/", authority.ca_pem if tls else None, timeout=1)
        thread.join(20)
        assert not thread.is_alive()
