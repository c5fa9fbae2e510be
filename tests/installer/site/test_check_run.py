"""Checks over the network: names of the site's zone, the site's CA, and patience."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import cast

import pytest

from airbundle.bundle.release import Release
from airbundle.bundle.release_checks import Check
from airbundle.bundle.site import Site, SiteDns
from airbundle.errors import Finding
from airbundle.installer.site.check_run import Desk, check_findings
from airbundle.transfer.cluster_write import ClusterWriter
from tests.support.answers import web
from tests.support.tls import Authority

ZONE = SiteDns(
    "site.test", {"*.apps": ("10.255.255.1",), "chat": ("here.site.test",), "here": ("127.0.0.1",), "@": ("127.0.0.1",)}
)


def desk(ca: bytes = b"", known: dict[str, list[str]] | None = None) -> Desk:
    site = Site("berlin", domain="site.test", dns=ZONE)
    return Desk(site, cast(ClusterWriter, None), ca, lambda name: list((known or {}).get(name, [])))


def look(desk: Desk, *checks: Check, wait: bool = False, timeout: str = "5m") -> list[Finding]:
    return check_findings(desk, Release("app", checks=checks, timeout=timeout), "", wait=wait)


@pytest.fixture(name="authority", scope="module")
def private_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_checks_that_hold(authority: Authority) -> None:
    with web() as plain, web(authority, "chat.site.test") as secure:
        checks = [
            Check(http=f"http://{{{{ site.domain }}}}:{plain}/x", body="/x of site.test"),
            Check(http=f"http://127.0.0.1:{plain}/away", status=302),
            Check(http=f"https://chat.site.test:{secure}/"),
            Check(tls=f"chat.{{{{ site.domain }}}}:{secure}"),
            Check(tcp=f"CHAT.site.test:{secure}"),
            Check(tcp=f"elsewhere.test:{secure}"),
        ]
        assert look(desk(authority.ca_pem, {"elsewhere.test": ["127.0.0.1"]}), *checks) == []
    assert look(desk()) == []


def test_the_hosts_own_names_win() -> None:
    with web() as port:
        assert look(desk(known={"x.apps.site.test": ["127.0.0.1"]}), Check(tcp=f"x.apps.site.test:{port}")) == []


def test_all_that_does_not_hold_is_told_at_once(authority: Authority, tmp_path: Path) -> None:
    with web(authority, "chat.site.test") as port:
        checks = [
            Check(http=f"https://chat.site.test:{port}/", status=404),
            Check(http=f"https://chat.site.test:{port}/a", body="something else"),
            Check(tls=f"here.site.test:{port}"),
            Check(tcp="nowhere.test:443"),
            Check(tcp="{{ x }}:443"),
            Check(tcp="x.{{ site.registry_host }}:443"),
        ]
        found = look(desk(authority.ca_pem), *checks)
        foreign = look(desk(Authority(tmp_path).ca_pem), checks[0])
        nobody = look(desk(), checks[0])
    assert [each.code for each in found] == [
        "check-http",
        "check-http",
        "check-tls",
        *["check-tcp"] * 2,
        "check",
    ]
    assert {each.where for each in found} == {"release app"}
    assert str(found[0]) == (
        f"release app: the check http https://chat.site.test:{port}/ does not hold; "
        f"found 200: / of chat.site.test:{port}; expected 404"
    )
    assert found[1].expected == "200 with 'something else' in it"
    assert "Hostname mismatch" in found[2].found
    assert "nobody knows an address" in found[3].found
    assert "names no host and port" in found[4].found
    assert "unable to get local issuer" in foreign[0].found
    assert "there is no CA at this site" in nobody[0].found


def test_a_check_is_asked_again_until_it_holds() -> None:
    with socket.socket() as later:
        later.bind(("127.0.0.1", 0))
        port = later.getsockname()[1]
        opened = threading.Timer(1.0, later.listen)
        opened.start()
        assert look(desk(), Check(tcp=f"here.site.test:{port}", timeout="2m"), wait=True, timeout="1s") == []
        opened.join()


def test_a_check_has_an_end() -> None:
    begun = time.monotonic()
    found = look(desk(), Check(tcp="nowhere.test:1"), Check(tcp="nowhere.test:2"), wait=True, timeout="2s")
    assert [each.message for each in found] == [
        f"the check tcp nowhere.test:{port} does not hold within 2 s" for port in (1, 2)
    ]
    assert time.monotonic() - begun >= 0.5
