"""`airbundle support` on a real install, well and broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_install import REDIS, Site
from tests.installer.bundles import Key, content, sign_and_write


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document


@pytest.fixture
def installed(site: Site, key: Key, tmp_path: Path) -> Site:
    made = content({"docker.io/library/redis:7.2": REDIS}, signer=key.signer)
    assert site.install(sign_and_write(tmp_path / "x.airbundle", made, key))[0] == 0
    return site


def look_into(path: Path) -> dict[str, Any]:
    """Return the documents of an archive by name, and its texts."""
    found: dict[str, Any] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            name = member.name.partition("/")[2]
            found[name] = json.load(stream) if name.endswith(".json") else stream.read().decode()
    return found


def test_of_a_site_that_is_well(installed: Site, tmp_path: Path) -> None:
    code, document = installed.run("support", "-o", tmp_path / "s.tar.gz")
    assert code == 0, document
    found = look_into(tmp_path / "s.tar.gz")
    assert {each["path"] for each in document["contents"]} == set(found) - {"MANIFEST.json"}
    assert document["failed"] == []
    assert found["status.json"]["healthy"] is True and found["status.json"]["blobCount"] > 3
    assert found["service.json"]["running"] is True
    assert found["ports.json"][0]["port"] == installed.port and "pid" in found["ports.json"][0]["listens"]
    assert found["state.json"]["bundles"][0]["name"] == "test"
    assert '"step": "serve"' in found["journal.jsonl"]
    assert found["versions.json"]["airbundle"] == found["MANIFEST.json"]["airbundle"]
    assert installed.run("status")[0] == 0
    listing = subprocess.run(["tar", "-tzf", tmp_path / "s.tar.gz"], check=True, capture_output=True, text=True).stdout
    assert listing.splitlines()[0] == "airbundle-support/MANIFEST.json"
    code, document = installed.run("support", "-o", tmp_path / "s.tar.gz")
    assert code == 2


def test_of_a_site_that_is_not(installed: Site, tmp_path: Path) -> None:
    os.kill(installed.server_pid(), signal.SIGKILL)
    os.waitpid(installed.server_pid(), 0)
    code, document = installed.run("support", "-o", tmp_path / "dead.tar.gz")
    assert code == 0, document
    found = look_into(tmp_path / "dead.tar.gz")
    # Its workers may live on for a moment.
    assert "service" in [each["code"] for each in found["status.json"]["findings"]]
    assert found["service.json"]["running"] is False
    kept = (installed.state / "state.json").read_bytes()
    (installed.state / "state.json").write_bytes(kept[:100])
    code, document = installed.run("support", "-o", tmp_path / "damaged.tar.gz")
    assert code == 0, document
    found = look_into(tmp_path / "damaged.tar.gz")
    failed = {each["what"]: each["error"] for each in document["failed"]}
    assert "does not parse" in failed["state.json"] and "does not parse" in failed["status.json"]
    assert found["state.json.damaged"] and "install" in found["journal.jsonl"]
    (installed.state / "state.json").write_bytes(kept)
