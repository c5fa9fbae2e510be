"""Must show 2: into an empty registry:2 over TLS; skopeo sees upstream's digests, stock helm pulls every chart."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.workshop import Workshop
from tests.support.charts import helm_host, registry_flags
from tests.support.helm import helm
from tests.support.process import free_port, program
from tests.support.registries import Registry, run_registry
from tests.support.tls import Authority

MIB = 1024 * 1024

CHARTS = {
    "http": [("redis", "18.1.0"), ("nginx", "15.4.2"), ("monitoring", "0.9.0"), ("platform", "1.2.0+build.5")],
    "charts.airbundle.test/team": [("postgres", "12.5.1"), ("coturn", "2.0.0"), ("prometheus", "25.1.0")],
    "local": [("haproxy", "1.22.0")],
}
"""What the inventory's version ranges must resolve to (no pre-release: nginx 15.5.0-rc.1), by where it comes from."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """An empty registry:2 over TLS with basic auth: the private registry."""
    directory = tmp_path_factory.mktemp("site-registry")
    with run_registry(directory, tls=authority, auth="basic") as registry:
        yield registry
    shutil.rmtree(directory)


@dataclass(frozen=True)
class Installed:
    """What `install` said, and where airbundle's own server is."""

    report: dict[str, Any]
    server: str
    ca_file: Path


@pytest.fixture(scope="module")
def installed(workshop: Workshop, built: BuiltCorpus, site: Registry) -> Iterator[Installed]:
    """The bundle, installed into the private registry; chart repository and files served by airbundle."""
    server = f"127.0.0.1:{free_port()}"
    report = install(workshop, built, site, server)
    yield Installed(report, f"https://{server}", Path(report["server"]["ca"]))
    workshop.do("uninstall", "--state-dir", workshop.root / "site-state", "--yes")


def install(workshop: Workshop, built: BuiltCorpus, site: Registry, server: str) -> dict[str, Any]:
    """Install the bundle, with docker's credentials for the registry."""
    site.docker_config(workshop.root / "site-docker")
    done = workshop.run(
        *("install", built.path, "--registry", site.url, "--registry-ca", str(site.ca_file), "--listen", server),
        *("--key", workshop.public_key, "--state-dir", workshop.root / "site-state", "--yes", "--json"),
        env={**workshop.env, "DOCKER_CONFIG": str(workshop.root / "site-docker")},
    )
    assert done.code == 0, done.stderr + done.stdout
    assert done.peak_memory < 150 * MIB
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def skopeo(registry: Registry, name: str, certs: Path) -> bytes:
    """Return the raw manifest that skopeo gets."""
    certs.mkdir(exist_ok=True)
    (certs / "ca.crt").write_bytes(Path(str(registry.ca_file)).read_bytes())
    credentials = ["--creds", f"{registry.username}:{registry.password}"] if registry.username else []
    command = [program("skopeo", "skopeo"), "inspect", "--raw", "--cert-dir", str(certs), *credentials]
    done = subprocess.run([*command, f"docker://{registry.host}/{name}"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_every_image_has_upstreams_digest(
    workshop: Workshop, installed: Installed, site: Registry, tmp_path: Path
) -> None:
    assert installed.report["sparse"] == {}
    for image in workshop.corpus.images:
        assert sha256(skopeo(site, image.site_name, tmp_path / "certs")) == image.digest, image.ref


def test_the_two_platform_index_is_whole(
    workshop: Workshop, installed: Installed, site: Registry, tmp_path: Path
) -> None:
    image = workshop.corpus.having("index", "attestation")[0]
    for child in json.loads(skopeo(site, image.site_name, tmp_path / "certs"))["manifests"]:
        name = f"{image.site_name.rpartition(':')[0]}@{child['digest']}"
        assert sha256(skopeo(site, name, tmp_path / "certs")) == child["digest"]


def test_signatures_and_referrers_came_along(
    workshop: Workshop, installed: Installed, site: Registry, tmp_path: Path
) -> None:
    for feature, suffix in (("signature", ".sig"), ("referrer", "")):
        for image in workshop.corpus.having(feature):
            name = f"{image.site_name.rpartition(':')[0]}:{image.digest.replace(':', '-')}{suffix}"
            here = json.loads(skopeo(site, name, tmp_path / "certs"))
            stored = image.ref.partition("@")[0].rpartition(":")[0]
            there = json.loads(skopeo(workshop.upstream, f"{stored}:{name.rpartition(':')[2]}", tmp_path / "up"))
            part = "manifests" if feature == "referrer" else "layers"
            assert {item["digest"] for item in there[part]} <= {item["digest"] for item in here[part]}


def upstream_path(workshop: Workshop, where: str) -> str:
    """Return host and path below which the charts of `where` lie at the site."""
    return workshop.repository.url.partition("://")[2].replace(":", "_") if where == "http" else where


def assert_whole(workshop: Workshop, pulled: Path, where: str, tmp_path: Path) -> None:
    """Check that a chart is upstream's, byte for byte, and renders."""
    if where != "local":  # local charts are repacked with fixed headers
        assert pulled.read_bytes() == (workshop.charts[0].archive.parent / pulled.name).read_bytes()
    assert "kind:" in helm("template", "x", pulled, home=tmp_path / "helm")


def test_every_chart_pulls_from_oci(workshop: Workshop, installed: Installed, site: Registry, tmp_path: Path) -> None:
    login = ["--username", site.username, "--password", site.password, *registry_flags(site)]
    helm("registry", "login", helm_host(site), *login, home=tmp_path / "helm")
    for where, charts in CHARTS.items():
        for name, version in charts:
            source = f"oci://{helm_host(site)}/{upstream_path(workshop, where)}/{name}"
            options = ["--version", version, "-d", str(tmp_path), *registry_flags(site)]
            helm("pull", source, *options, home=tmp_path / "helm")
            assert_whole(workshop, tmp_path / f"{name}-{version}.tgz", where, tmp_path)


@pytest.mark.parametrize("each", [False, True], ids=["all", "upstream"])
def test_every_chart_pulls_from_the_chart_repository(
    workshop: Workshop, installed: Installed, tmp_path: Path, each: bool
) -> None:
    for where, charts in CHARTS.items():
        for name, version in charts:
            repository = f"{installed.server}/charts" + (f"/{upstream_path(workshop, where)}" if each else "")
            options = ["--version", version, "-d", str(tmp_path), "--ca-file", str(installed.ca_file)]
            helm("pull", name, "--repo", repository, *options, home=tmp_path / "helm")
            assert_whole(workshop, tmp_path / f"{name}-{version}.tgz", where, tmp_path)


def test_all_is_well(workshop: Workshop, installed: Installed) -> None:
    assert installed.report["images"] == len(workshop.corpus.images)
    assert installed.report["charts"] == sum(map(len, CHARTS.values()))
    workshop.do("status", "--state-dir", workshop.root / "site-state")


def test_again_uploads_nothing(workshop: Workshop, built: BuiltCorpus, installed: Installed, site: Registry) -> None:
    before = len(site.uploads())
    again = install(workshop, built, site, installed.server.partition("://")[2])
    assert again["changed"] is False
    assert len(site.uploads()) == before
