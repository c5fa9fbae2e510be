"""What is run by hand at the site, until `install --site` does it: held to the inventory and to the site files."""

from __future__ import annotations

import json
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from airbundle.bundle.chart_index import chart_ref
from airbundle.bundle.inventory import Inventory
from airbundle.bundle.naming import site_name
from airbundle.bundle.site import Site
from tests.messenger.conftest import HOME, read_site, values_of

TOOL = HOME / "sites" / "make-secrets"
REGISTRY = "registry.messenger.internal:5443"


def make_secrets(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make-secrets with the Python that a site has: nothing but its own library."""
    command = [sys.executable, "-I", "-S", str(TOOL), "--out", str(tmp_path / "secrets"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's CA as airbundle makes it."""
    state = tmp_path_factory.mktemp("site") / "state"
    command = [sys.executable, "-m", "airbundle", "ca", "init", "--quiet", "--yes", "--state-dir", str(state)]
    subprocess.run([*command, "--domain", "messenger.internal"], check=True)
    return state / "ca"


def made(tmp_path: Path) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return the Secrets that were made."""
    whole = json.loads((tmp_path / "secrets" / "secrets.json").read_text())
    return {(body["metadata"]["namespace"], body["metadata"]["name"]): body["stringData"] for body in whole["items"]}


def test_all_secrets_are_made_once_for_their_owner_only(tmp_path: Path, ca: Path) -> None:
    done = make_secrets(tmp_path, "--ca", str(ca))
    assert done.returncode == 0, done.stderr
    first = made(tmp_path)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {0o600}
    again = make_secrets(tmp_path, "--ca", "/nowhere")
    assert again.returncode == 0, again.stderr
    assert made(tmp_path) == first
    for keys in first.values():
        for value in keys.values():
            assert value not in done.stdout


def test_they_are_those_of_the_site_files(tmp_path: Path, ca: Path, site: Site) -> None:
    assert make_secrets(tmp_path, "--ca", str(ca)).returncode == 0
    found = made(tmp_path)
    asked = {(secret.namespace, secret.name): secret.keys for secret in site.secrets}
    assert {name: set(keys) for name, keys in found.items()} == {name: set(keys) for name, keys in asked.items()}
    for name, keys in asked.items():
        for key, source in keys.items():
            kind, _, rest = source.partition(":")
            if kind == "file":
                assert (tmp_path / rest).read_text() == found[name][key], (name, key)
            else:
                assert kind == "random"
                assert len(found[name][key]) == int(rest)


def test_what_two_share_is_equal_and_all_else_differs(tmp_path: Path, ca: Path) -> None:
    assert make_secrets(tmp_path, "--ca", str(ca)).returncode == 0
    found = made(tmp_path)
    assert found["messenger", "turn-shared"] == found["turn", "turn-shared"]
    backup, user = found["messenger", "postgres-s3"], found["messenger", "minio-user-backup"]
    assert backup["ACCESS_KEY_ID"] == user["CONSOLE_ACCESS_KEY"]
    assert backup["ACCESS_SECRET_KEY"] == user["CONSOLE_SECRET_KEY"]
    assert 3 <= len(backup["ACCESS_KEY_ID"]) <= 20
    assert len(backup["ACCESS_SECRET_KEY"]) == 40
    distinct = [value for keys in found.values() for value in keys.values()]
    # Two pairs are shared (three values), and the root of a CA is its own issuer (tls.crt is ca.crt).
    assert len(distinct) - len(set(distinct)) == 4


def test_the_ca_comes_with_its_key_and_issues(tmp_path: Path, ca: Path) -> None:
    assert make_secrets(tmp_path, "--ca", str(ca)).returncode == 0
    keys = made(tmp_path)["cert-manager", "site-ca"]
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text(keys[name])
    public = [
        subprocess.run(["openssl", *command], capture_output=True, text=True, check=True).stdout
        for command in (
            ["pkey", "-in", str(tmp_path / "tls.key"), "-pubout"],
            ["x509", "-in", str(tmp_path / "tls.crt"), "-noout", "-pubkey"],
        )
    ]
    assert public[0] == public[1]


def test_without_a_ca_it_says_what_to_do(tmp_path: Path) -> None:
    done = make_secrets(tmp_path, "--ca", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "docs/ca.md" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "secrets" / "secrets.json").exists()


BY_NAME = ("existingSecret", "usersExistingSecret", "secretName", "secret", "authSecret", "credentials")
BY_OBJECT = ("passwordSecret", "configSecret", "secret")


def secret_names(body: object) -> Iterator[str]:
    """Yield the names of Secrets that values ask for."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            if isinstance(value, str) and key in BY_NAME:
                yield value
            elif isinstance(value, Mapping) and key in BY_OBJECT and value.get("name"):
                yield str(value["name"])
            else:
                yield from secret_names(value)
    elif isinstance(body, list):
        for value in body:
            yield from secret_names(value)


def test_every_secret_that_values_name_is_made_by_somebody(inventory: Inventory, site: Site) -> None:
    makers = {
        "postgres-app": "CloudNativePG, for the owner of the database",
        "edge-tls": "cert-manager (charts/site-base)",
        "turn-tls": "cert-manager (charts/site-base)",
    }
    there = {(secret.namespace, secret.name) for secret in site.secrets}
    asked = 0
    for release in inventory.releases:
        for _, values in values_of(release.name, site):
            for name in secret_names(values):
                asked += 1
                assert name in makers or (release.namespace, name) in there, f"{release.name}: {name}"
    assert asked >= 10


# deploy


def printed(site: str) -> list[list[str]]:
    """Return the commands that deploy would run."""
    done = subprocess.run(
        [HOME / "sites" / "deploy", "--print", site, REGISTRY], capture_output=True, text=True, check=True
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


def option(command: list[str], name: str) -> list[str]:
    """Return the values of an option."""
    return [command[index + 1] for index, word in enumerate(command) if word == name]


def test_deploy_does_what_the_inventory_says_in_an_order_that_its_needs_allow(inventory: Inventory, site: Site) -> None:
    done: list[str] = []
    by_directory = {entry.path: entry.release for entry in inventory.manifests}
    charts = {chart.release.name: chart for chart in inventory.charts if chart.release}
    releases = {release.name: release for release in inventory.releases}
    for command in printed(site.name):
        if command[:2] == ["kubectl", "wait"]:
            continue
        if command[0] == "kubectl":
            path = command[-1].partition("/../")[2]
            release = by_directory[path]
            assert release is not None
        else:
            assert command[:3] == ["helm", "upgrade", "--install"]
            release = releases[command[3]]
            chart = charts[release.name]
            assert option(command, "-n") == [release.namespace]
            assert option(command, "--timeout") == [release.timeout]
            assert option(command, "-f") == [path for path, _ in values_of(release.name, site)]
            version = chart.version or yaml.safe_load((HOME / chart.path / "Chart.yaml").read_text())["version"]
            assert option(command, "--version") == [version]
            at_site = site_name(chart_ref(chart.repo, chart.name, version)).repository
            assert command[4] == f"oci://{REGISTRY}/{at_site}"
        assert set(release.needs) <= set(done), f"{release.name} begins before {set(release.needs) - set(done)}"
        done.append(release.name)
    assert sorted(done) == sorted(release.name for release in inventory.releases if release.enabled)


@pytest.mark.parametrize("field", ["domain", "storageClass"])
def test_deploy_wants_a_site_that_says_what_it_is(tmp_path: Path, field: str) -> None:
    shutil.copytree(HOME, tmp_path / "copy")
    path = tmp_path / "copy" / "sites" / "small.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(f"{field}:")))
    command = [str(tmp_path / "copy" / "sites" / "deploy"), "--print", "small", REGISTRY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert field in done.stderr
    assert not done.stdout


def test_deploy_takes_only_what_is_named() -> None:
    command = [str(HOME / "sites" / "deploy"), "--print", "small", REGISTRY, "ess", "edge"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["ess", "edge"]


def test_deploy_fills_in_what_the_site_is_called(tmp_path: Path, site: Site) -> None:
    """The values that helm gets are those of the inventory, filled in as airbundle does."""
    taken = tmp_path / "taken"
    taken.mkdir()
    for name in ("helm", "kubectl"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n"
            f'if [ "$1" = -f ] && [ -f "$2" ]; then cp "$2" {taken}/; fi; shift; done\n'
        )
        program.chmod(0o755)
    subprocess.run(
        [HOME / "sites" / "deploy", site.name, REGISTRY],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    for release in ("ess", "kube-prometheus-stack", "edge", "clamav", "coturn"):
        for path, body in values_of(release, site):
            assert yaml.safe_load((taken / path.replace("/", "_")).read_text()) == body, path


def test_both_sites_ask_for_the_same_secrets() -> None:
    first, second = (read_site(name).secrets for name in ("small", "large"))
    assert first == second
