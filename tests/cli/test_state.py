"""A jump host dies, and another one takes its place: backup and restore of a real install."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_install import APP, REDIS, Site, error_text, skopeo_digest
from tests.installer.bundles import Key, content, sign_and_write
from tests.installer.deltas import make_chain
from tests.support.bundles import SERIAL
from tests.support.images import tiny_image
from tests.support.registries import Registry

NEWER = tiny_image("redis-newer")


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document


@pytest.fixture
def bundles(tmp_path: Path, key: Key) -> list[Path]:
    """Two versions of a bundle, the older one first."""
    older = content(
        {"docker.io/library/redis:7.2": REDIS},
        charts={"charts.example.org/stable/app:1.0.0": APP},
        signer=key.signer,
    )
    newer = content({"docker.io/library/redis:7.4": NEWER}, version="1.1.0", serial=SERIAL + 60)
    return [sign_and_write(tmp_path / f"{n}.airbundle", made, key) for n, made in enumerate((older, newer))]


@pytest.fixture
def word(tmp_path: Path) -> Path:
    path = tmp_path / "word"
    path.write_text("a passphrase of the backup\n")
    return path


def lacking(document: dict[str, Any]) -> list[str]:
    findings = document["errors"][0]["findings"]
    return [finding["message"] for finding in findings if finding["code"] == "copy"]


def test_a_dead_jump_host(site: Site, bundles: list[Path], word: Path, tmp_path: Path) -> None:
    for bundle in bundles:
        assert site.install(bundle, "--domain", "site.internal")[0] == 0
    ca = site.ca.read_bytes()
    served = (site.state / "ca/servers/registry.key").read_bytes()
    backup = tmp_path / "b"
    code, document = site.run("state", "backup", "-o", backup, "--passphrase-file", word)
    assert code == 0, document
    assert [(each["version"], each["older"]) for each in document["bundles"]] == [("1.0.0", True), ("1.1.0", False)]
    assert document["size"] == backup.stat().st_size < 64 * 1024
    assert ca not in backup.read_bytes()
    code, document = site.run("state", "restore", backup, "--passphrase-file", word)
    assert code == 2 and "is not empty, there is" in error_text(document)
    # Not everything of a dead host goes so orderly; its port has to come free, though.
    assert site.run("uninstall")[0] == 0

    code, document = site.run("state", "restore", backup, "--passphrase-file", word)
    assert code == 0, document
    assert document["bundles"][0]["statement"].startswith("sha256:")
    assert site.ca.read_bytes() == ca
    code, status = site.run("status")
    assert code == 3
    assert lacking(status) == ["the copy of test 1.1.0 is gone", "the copy of test 1.0.0 is gone"]

    for bundle, told in zip(bundles, document["bundles"]):
        # Domain, address and port are not said again.
        words = ["install", bundle, *(["--allow-older"] if told["older"] else [])]
        code, report = site.run(*words)
        assert code == 0, report
    code, status = site.run("status")
    assert (code, status["healthy"], [each["version"] for each in status["bundles"]]) == (0, True, ["1.1.0", "1.0.0"])
    assert site.ca.read_bytes() == ca
    assert (site.state / "ca/servers/registry.key").read_bytes() == served
    host = f"127.0.0.1:{site.port}"
    assert skopeo_digest(host, site.ca.parent, "docker.io/library/redis:7.2") == REDIS.digest
    assert skopeo_digest(host, site.ca.parent, "docker.io/library/redis:7.4") == NEWER.digest
    # An older one than the newest that was ever seen is still refused.
    code, document = site.run("install", bundles[0])
    assert code == 5 and "is older" in error_text(document)


def kept_and_lost(site: Site, word: Path, backup: Path) -> list[dict[str, Any]]:
    """Back a site up, lose it, restore it; return the bundles to install again."""
    assert site.run("state", "backup", "-o", backup, "--passphrase-file", word)[0] == 0
    assert site.run("uninstall")[0] == 0
    code, document = site.run("state", "restore", backup, "--passphrase-file", word)
    assert code == 0, document
    told: list[dict[str, Any]] = document["bundles"]
    return told


def test_deltas_come_back_in_the_order_that_is_told(site: Site, key: Key, word: Path, tmp_path: Path) -> None:
    chain = make_chain(tmp_path, key)
    paths = [chain.base, chain.delta, chain.second]
    for path in paths:
        assert site.install(path)[0] == 0
    told = kept_and_lost(site, word, tmp_path / "b")
    for path, each in zip(paths, told):
        code, report = site.run("install", path, *(["--allow-older"] if each["older"] else []))
        assert code == 0, report
    assert site.run("status")[0] == 0


def test_a_site_with_a_registry_of_its_own(
    site: Site, bundles: list[Path], word: Path, plain_registry: Registry, tmp_path: Path
) -> None:
    words = ["--registry", plain_registry.url, "--prefix", "dead-host"]
    assert site.install(bundles[0], *words)[0] == 0
    kept_and_lost(site, word, tmp_path / "b")
    code, status = site.run("status")
    assert code == 3 and lacking(status) == ["the copy of test 1.0.0 is gone"]
    code, report = site.run("install", bundles[0])
    assert (code, report["mode"], report["registry"]["url"]) == (0, "url", plain_registry.url), report
    assert site.run("status")[0] == 0


def test_passphrases(site: Site, word: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRBUNDLE_KEY_PASSPHRASE", raising=False)
    assert site.run("ca", "init")[0] == 0
    code, document = site.run("state", "backup", "-o", tmp_path / "b")
    assert code == 2 and "--passphrase-file" in error_text(document)
    empty = tmp_path / "empty"
    empty.touch()
    code, document = site.run("state", "backup", "-o", tmp_path / "b", "--passphrase-file", empty)
    assert code == 2 and "protects nothing" in error_text(document)
    assert not (tmp_path / "b").exists()
    assert site.run("state", "backup", "-o", tmp_path / "b", "--passphrase-file", word)[0] == 0
    other = ["state", "restore", tmp_path / "b"]
    assert site.run("uninstall")[0] == 0
    (tmp_path / "wrong").write_text("wrong")
    code, document = site.run(*other, "--passphrase-file", tmp_path / "wrong")
    assert code == 2 and "does not open it" in error_text(document)
    damaged = bytearray((tmp_path / "b").read_bytes())
    damaged[200] ^= 4
    (tmp_path / "damaged").write_bytes(damaged)
    code, document = site.run("state", "restore", tmp_path / "damaged", "--passphrase-file", word)
    assert code == 5 and "is damaged or cut off" in error_text(document)
    assert not site.state.exists()
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "a passphrase of the backup")
    assert site.run(*other)[0] == 0
    assert json.loads((site.state / "ca/ca.json").read_text())["mode"] == "site"
