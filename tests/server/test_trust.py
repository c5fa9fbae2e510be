"""The server shows the site's CA and how to trust it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.crypto.ca import create_ca
from tests.server.site import app_of, ask


@pytest.fixture(name="ca")
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(create_ca("site CA", ["site.test"]).root_pem)
    return path


def test_the_page_and_the_file(ca: Path) -> None:
    app = app_of(ca=ca)
    assert b"/trust/" in ask(app, "/").body
    assert ask(app, "/trust").status == 301
    page = ask(app, "/trust/")
    assert (page.status, page.headers["Content-Type"].split(";")[0]) == (200, "text/html")
    assert b"CN=site CA" in page.body
    file = ask(app, "/trust/ca.crt")
    assert (file.status, file.headers["Content-Type"]) == (200, "application/x-x509-ca-cert")
    assert file.body == ca.read_bytes()
    assert ask(app, "/trust/other").status == 404


def test_a_change_over_shows_at_once(ca: Path) -> None:
    app = app_of(ca=ca)
    assert b"site CA 2" not in ask(app, "/trust/").body
    ca.write_bytes(create_ca("site CA 2", ["site.test"]).root_pem + ca.read_bytes())
    page = ask(app, "/trust/").body
    assert b"site CA 2" in page
    assert page.count(b"SHA-256 fingerprint") == 2


def test_without_a_ca_there_is_no_page(ca: Path) -> None:
    assert ask(app_of(), "/trust/").status == 404
    assert b"trust" not in ask(app_of(), "/").body
    ca.write_bytes(b"no PEM")
    assert ask(app_of(ca=ca), "/trust/").status == 404
    ca.unlink()
    assert ask(app_of(ca=ca), "/trust/ca.crt").status == 404
