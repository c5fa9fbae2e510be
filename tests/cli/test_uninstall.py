"""`airbundle uninstall` with the real server and a real registry: what it would do, and one bundle of several."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_install import Site, into, skopeo_digest
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.images import tiny_image
from tests.support.registries import Registry

IMAGES = {name: tiny_image(f"uninstall-{name}") for name in ("shop", "tools", "both")}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, key: Key) -> dict[str, Path]:
    """Two bundles, each with an image of its own and one that both have."""
    directory = tmp_path_factory.mktemp("bundles")
    both = {"docker.io/library/both:1": IMAGES["both"]}
    made = {
        name: content({f"docker.io/library/{name}:1": IMAGES[name], **both}, signer=key.signer, name=name)
        for name in ("shop", "tools")
    }
    return {name: sign_and_write(directory / f"{name}-1.0.0.airbundle", each, key) for name, each in made.items()}


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document
    assert not made.state.exists()


def files(site: Site) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in site.state.rglob("*") if path.is_file()}


def test_a_dry_run_tells_what_the_run_does_and_changes_nothing(bundles: dict[str, Path], site: Site) -> None:
    site.install(bundles["shop"])
    before = files(site)
    code, plan = site.run("uninstall", "--dry-run")
    assert (code, plan["dryRun"], plan["changed"]) == (0, True, False)
    assert files(site) == before and site.get("/healthz")
    parts = [each["part"] for each in plan["plan"]]
    assert parts[0] == "server" and parts.index("registry") < parts.index("state")
    kept = site.run("uninstall", "--dry-run", "--keep-data")[1]
    assert f"{site.state / 'bundles'}: --keep-data" in kept["kept"]
    said = subprocess.run(site.command("uninstall", "--dry-run"), capture_output=True, text=True)
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert lines[0].startswith("goes     the server, ") and f"goes     {site.state / 'state.json'}" in lines
    # The run takes away just that, and tells of each part as it begins and ends.
    done = subprocess.run(site.command("uninstall", "--yes"), capture_output=True, text=True)
    assert done.returncode == 0
    gone = {line[len("removed  ") :] for line in done.stdout.splitlines() if line.startswith("removed  ")}
    assert gone - {"the server"} == {each["what"] for each in plan["plan"] if each["part"] != "server"}
    assert "server: begins" in done.stderr and "server: done" in done.stderr and "files: begins" in done.stderr


def test_where_nothing_is_installed_a_dry_run_says_so(tmp_path: Path, key: Key) -> None:
    site = Site(tmp_path, key)
    answer = site.run("uninstall", "--dry-run")[1]
    assert (answer["removed"], answer["dryRun"]) == ([], True)
    assert not site.state.exists()


def test_of_two_bundles_one_goes_with_what_only_it_has(bundles: dict[str, Path], site: Site) -> None:
    for bundle in bundles.values():
        assert site.install(bundle)[0] == 0
    host, certs = f"127.0.0.1:{site.port}", site.ca.parent
    code, answer = site.run("uninstall", "--bundle", "web")
    assert code == 2 and answer["errors"][0]["hint"] == "bundles there: tools 1.0.0, shop 1.0.0"
    code, plan = site.run("uninstall", "--bundle", "shop", "--dry-run")
    assert (code, plan["removed"]) == (0, ["copy of shop 1.0.0"])
    assert plan["kept"] == ["registry and server: other bundles need them: tools 1.0.0"]
    code, answer = site.run("uninstall", "--bundle", "shop")
    assert (code, answer["removed"]) == (0, ["copy of shop 1.0.0"]), answer
    assert answer["kept"] == ["registry and server, which other bundles need: tools 1.0.0"]
    assert [each["name"] for each in site.run("status")[1]["bundles"]] == ["tools"]
    for name in ("tools", "both"):
        assert skopeo_digest(host, certs, f"docker.io/library/{name}:1") == IMAGES[name].digest
    with pytest.raises(subprocess.CalledProcessError):
        skopeo_digest(host, certs, "docker.io/library/shop:1")
    assert len(list((site.state / "bundles").glob("*.airbundle"))) == 1
    # It can be installed again; and the last of them takes all along.
    assert site.install(bundles["shop"])[0] == 0
    assert skopeo_digest(host, certs, "docker.io/library/shop:1") == IMAGES["shop"].digest
    assert site.run("uninstall", "--bundle", "tools")[0] == 0
    assert site.run("uninstall", "--bundle", "shop")[0] == 0
    assert not site.state.exists()


def test_in_a_registry_of_others_only_its_own_goes(
    bundles: dict[str, Path], site: Site, empty_registry: Registry
) -> None:
    for bundle in bundles.values():
        code, answer = site.install(bundle, *into(empty_registry))
        assert code == 0, answer
    code, answer = site.run("uninstall", "--bundle", "shop")
    assert code == 0, answer
    assert answer["removed"][0] == "copy of shop 1.0.0" and empty_registry.url in answer["removed"][1]
    assert answer["kept"] == ["registry and server, which other bundles need: tools 1.0.0"]
    certs = site.state / "certs/registry"
    for name in ("tools", "both"):
        assert skopeo_digest(empty_registry.host, certs, f"docker.io/library/{name}:1") == IMAGES[name].digest
    with pytest.raises(subprocess.CalledProcessError):
        skopeo_digest(empty_registry.host, certs, "docker.io/library/shop:1")


def test_contradictions_are_refused(site: Site) -> None:
    for words in (["--delete-data"], ["--bundle", "shop"]):
        code, answer = site.run("uninstall", "--keep-cluster", *words)
        assert code == 2 and words[0] in answer["errors"][0]["message"]
    assert site.run("uninstall", "--bundle", "")[0] == 2
