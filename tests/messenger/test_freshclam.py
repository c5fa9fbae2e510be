"""ClamAV's updater as the inventory configures it, against airbundle's own mirror: by TLS, with the site's CA."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.messenger.conftest import read_site, values_of
from tests.server.site import Site, make_site
from tests.support.process import program
from tests.support.serving import Server, run_server
from tests.support.tls import Authority


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A bundle with databases."""
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The site's CA."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, databases: Site, authority: Authority) -> Iterator[Server]:
    """airbundle's server, as a site has it."""
    with run_server(tmp_path_factory.mktemp("mirror"), [databases.path], tls=authority) as server:
        yield server


def freshclam(tmp_path: Path, mirror: Server, environment: Mapping[str, str]) -> str:
    """Run freshclam with the inventory's configuration; what it says."""
    ((_, values),) = values_of("clamav", read_site("small"))
    text: str = values["freshclamConfig"]
    assert "https://registry.messenger.internal:5443/clamav" in text
    (tmp_path / "db").mkdir()
    text = text.replace("https://registry.messenger.internal:5443", mirror.url).replace(" /data", f" {tmp_path / 'db'}")
    # What follows belongs to this machine: clamd isn't there, and nobody but ClamAV's makers can sign these databases.
    text = re.sub(r"(?m)^NotifyClamd.*\n", "", text) + "MaxAttempts 1\nTestDatabases no\nDatabaseOwner root\n"
    (tmp_path / "freshclam.conf").write_text(text)
    command = [program("freshclam", "clamav-freshclam"), f"--config-file={tmp_path / 'freshclam.conf'}", "--stdout"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CURL_", "SSL_"))}
    done = subprocess.run(
        [*command, "--verbose"], env={**plain, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout + done.stderr


def test_it_trusts_the_ca_that_the_values_name(
    tmp_path: Path, mirror: Server, authority: Authority, databases: Site
) -> None:
    ((_, values),) = values_of("clamav", read_site("small"))
    given: Mapping[str, Any] = {each["name"]: each["value"] for each in values["extraEnvVars"]}
    mounted = next(each for each in values["extraVolumeMounts"] if each["name"] == "site-ca")
    assert given["CURL_CA_BUNDLE"] == f"{mounted['mountPath']}/ca.crt"
    said = freshclam(tmp_path, mirror, {"CURL_CA_BUNDLE": str(authority.ca_file)})
    assert re.search(
        rf'"GET /clamav/daily\.cvd[^"]*" 200 {len(databases.databases["daily.cvd"])}', mirror.log.read_text()
    ), said


def test_without_the_ca_it_fetches_nothing(tmp_path: Path, mirror: Server) -> None:
    before = mirror.log.read_text().count("GET /clamav/daily.cvd")
    said = freshclam(tmp_path, mirror, {})
    assert mirror.log.read_text().count("GET /clamav/daily.cvd") == before, said
