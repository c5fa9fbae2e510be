from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.errors import (
    AirbundleError,
    DigestMismatch,
    NotFound,
    Unauthorized,
    Unreachable,
    UsageError,
    VerificationError,
)
from airbundle.transfer.chart_repository import ChartRepository
from airbundle.transfer.charts import ChartSource, oci_repository
from airbundle.transfer.credentials import Credential, CredentialStore
from airbundle.transfer.helm import Helm
from airbundle.transfer.hosts import HostConfig, Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from tests.support.helm import helm, package, write_chart
from tests.support.images import tiny_image
from tests.support.registries import Registry
from tests.support.storage import Storage
from tests.support.tls import Authority
from tests.support.web import PASSWORD, USER, Redirect, Web, serve

PATIENT = HttpSettings(backoff_base=0.01, backoff_limit=0.05)
HASTY = HttpSettings(retry_time=0.0, first_contact_time=0.0)
VERSIONS = ["1.0.0", "1.2.0", "1.10.0+build.5", "2.0.0-rc.1"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives of a chart `demo` in several versions, with helm's own index."""
    top = tmp_path_factory.mktemp("charts")
    for version in VERSIONS:
        package(write_chart(top / version, "demo", version, appVersion="7"), top / "packages", home=top)
    helm("repo", "index", top / "packages", home=top)
    return top / "packages"


def put(web: Web, packages: Path, base: str = "/stable") -> None:
    web.files.update({f"{base}/{path.name}": path.read_bytes() for path in packages.iterdir()})


@pytest.fixture
def web(packages: Path) -> Iterator[Web]:
    with serve() as web:
        put(web, packages)
        yield web


def repository(url: str, registries: Registries | None = None, settings: HttpSettings = PATIENT) -> ChartRepository:
    http = HttpClient(settings, registries=registries or Registries(), credentials=CredentialStore())
    return ChartRepository(url, http, Helm.find(), credentials=CredentialStore())


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("", "1.10.0+build.5"),
        ("1.2.0", "1.2.0"),
        ("^1.0", "1.10.0+build.5"),
        ("~1.2", "1.2.0"),
        (">=2.0.0-0", "2.0.0-rc.1"),
        ("1.x <1.10", "1.2.0"),
    ],
)
def test_a_range_means_what_it_means_to_helm(
    packages: Path, web: Web, tmp_path: Path, wanted: str, version: str
) -> None:
    fetched = repository(f"{web.url}/stable/").fetch("demo", wanted)
    assert (fetched.metadata.name, fetched.metadata.version, fetched.metadata.app_version) == ("demo", version, "7")
    assert fetched.archive == (packages / f"demo-{version}.tgz").read_bytes()
    assert fetched.digest == sha256(fetched.archive)
    assert fetched.repo == f"{web.url}/stable"
    assert fetched.provenance is None
    helm("pull", "demo", "--repo", f"{web.url}/stable", "--version", wanted, "-d", tmp_path, home=tmp_path)
    assert (tmp_path / f"demo-{version}.tgz").read_bytes() == fetched.archive


def test_the_index_is_fetched_once(web: Web) -> None:
    charts = repository(f"{web.url}/stable")
    assert [chart.version for chart in charts.versions("demo")] == ["2.0.0-rc.1", "1.10.0+build.5", "1.2.0", "1.0.0"]
    charts.fetch("demo", "1.0.0")
    charts.fetch("demo", "1.2.0")
    assert web.paths().count("/stable/index.yaml") == 1


def test_provenance_travels_along(web: Web) -> None:
    web.files["/stable/demo-1.0.0.tgz.prov"] = b"signed by someone"
    assert repository(f"{web.url}/stable").fetch("demo", "1.0.0").provenance == b"signed by someone"


def test_provenance_is_not_lost_to_a_fault(web: Web) -> None:
    web.files["/stable/demo-1.0.0.tgz.prov"] = b"signed by someone"
    web.faults["/stable/demo-1.0.0.tgz.prov"] = [503, 0]
    assert repository(f"{web.url}/stable").fetch("demo", "1.0.0").provenance == b"signed by someone"


def test_faults_are_survived(web: Web) -> None:
    web.faults["/stable/index.yaml"] = [503, 0, 429]
    web.faults["/stable/demo-1.0.0.tgz"] = [500, 0]
    assert repository(f"{web.url}/stable").fetch("demo", "1.0.0").metadata.version == "1.0.0"


def test_faults_that_stay_are_told(web: Web) -> None:
    web.faults["/stable/index.yaml"] = [503] * 100
    with pytest.raises(AirbundleError, match=f"chart repository {web.url}/stable: fetch index.* 503") as caught:
        repository(f"{web.url}/stable", settings=HASTY).versions("demo")
    assert caught.value.exit_code == 4


def test_what_is_not_there(web: Web) -> None:
    charts = repository(f"{web.url}/stable")
    with pytest.raises(NotFound, match=r"chart demo \^3: .*the newest there are 2\.0\.0-rc\.1, 1\.10\.0"):
        charts.resolve("demo", "^3")
    with pytest.raises(NotFound, match=r"chart other: .*it has no chart of this name"):
        charts.resolve("other", "")
    with pytest.raises(UsageError, match="version range"):
        charts.resolve("demo", "latest and greatest")
    with pytest.raises(NotFound, match="fetch index"):
        repository(f"{web.url}/elsewhere").versions("demo")
    del web.files["/stable/demo-1.0.0.tgz"]
    with pytest.raises(NotFound, match=r"chart demo 1\.0\.0 of .*: fetch"):
        charts.fetch("demo", "1.0.0")


def test_nobody_answers() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        repository("http://127.0.0.1:1/charts", settings=HASTY).versions("demo")


def test_what_is_no_repository(web: Web) -> None:
    web.files["/stable/index.yaml"] = b"<html>welcome</html>"
    with pytest.raises(AirbundleError) as caught:
        repository(f"{web.url}/stable").versions("demo")
    assert caught.value.exit_code in (4, 5)


def test_an_archive_that_the_index_does_not_know_is_refused(web: Web, packages: Path) -> None:
    web.files["/stable/demo-1.0.0.tgz"] = (packages / "demo-1.2.0.tgz").read_bytes()
    with pytest.raises(DigestMismatch, match="as its index says"):
        repository(f"{web.url}/stable").fetch("demo", "1.0.0")


def test_an_archive_of_another_chart_is_refused(web: Web, packages: Path) -> None:
    index = (packages / "index.yaml").read_bytes()
    web.files["/stable/index.yaml"] = b"\n".join(line for line in index.splitlines() if b"digest:" not in line)
    web.files["/stable/demo-1.0.0.tgz"] = (packages / "demo-1.2.0.tgz").read_bytes()
    with pytest.raises(VerificationError, match=r"the archive holds demo 1\.2\.0"):
        repository(f"{web.url}/stable").fetch("demo", "1.0.0")


def test_trust_and_credentials_are_those_of_registries_yaml(packages: Path, authority: Authority) -> None:
    with serve(tls=authority, auth=True) as web:
        put(web, packages)
        host = web.url.partition("//")[2]
        with pytest.raises(Unreachable, match="x509") as caught:
            repository(f"{web.url}/stable").versions("demo")
        assert "ca_file" in caught.value.hint
        tls = TlsSettings(ca_file=str(authority.ca_file))
        with pytest.raises(Unauthorized, match="401"):
            repository(f"{web.url}/stable", Registries(configs={host: HostConfig(tls)})).versions("demo")
        with pytest.raises(Unauthorized, match="401") as denied:
            wrong = HostConfig(tls, Credential(USER, "wrong-Passw0rd"))
            repository(f"{web.url}/stable", Registries(configs={host: wrong})).versions("demo")
        assert "wrong-Passw0rd" not in str(denied.value)
        known = HostConfig(tls, Credential(USER, PASSWORD))
        assert repository(f"{web.url}/stable", Registries(configs={host: known})).fetch("demo", "1.0.0").archive
        careless = HostConfig(TlsSettings(insecure_skip_verify=True), Credential(USER, PASSWORD))
        assert repository(f"{web.url}/stable", Registries(configs={host: careless})).fetch("demo", "1.0.0").archive


def test_credentials_do_not_go_to_other_hosts(packages: Path, tmp_path: Path) -> None:
    shutil.copytree(packages, tmp_path / "absolute")
    with serve(auth=True) as home, serve() as other:
        put(other, packages, "/files")
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        helm("repo", "index", tmp_path / "absolute", "--url", f"{elsewhere}/files", home=tmp_path)
        home.files["/stable/index.yaml"] = (tmp_path / "absolute" / "index.yaml").read_bytes()
        host = home.url.partition("//")[2]
        registries = Registries(configs={host: HostConfig(credential=Credential(USER, PASSWORD))})
        charts = repository(f"{home.url}/stable", registries)
        assert charts.fetch("demo", "1.0.0").metadata.version == "1.0.0"
        assert other.paths() == ["/files/demo-1.0.0.tgz", "/files/demo-1.0.0.tgz.prov"]
        put(home, packages, "/moved")
        home.files["/stable/index.yaml"] = (packages / "index.yaml").read_bytes()
        home.files["/stable/demo-1.0.0.tgz"] = Redirect(f"{elsewhere}/files/demo-1.0.0.tgz")
        repository(f"{home.url}/stable", registries).fetch("demo", "1.0.0")
        assert {authorization for _, _, authorization in other.asked} == {""}


@pytest.fixture
def client(plain_registry: Registry) -> Iterator[RegistryClient]:
    registries = Registries().with_registry(plain_registry.url)
    with RegistryClient(registries, settings=PATIENT) as client:
        yield client


@pytest.fixture(scope="module")
def in_oci(plain_registry: Registry, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("push")
    for path in sorted(packages.glob("*.tgz")):
        helm("push", path, f"oci://{plain_registry.host}/oci-charts", "--plain-http", home=home)
    tiny_image("no chart").put(Storage(plain_registry.storage), "oci-charts/demo", "latest", "v3.0.0", "9.9.9")
    return f"oci://{plain_registry.host}/oci-charts"


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("1.2.0", "1.2.0"), ("^1.0", "1.10.0+build.5"), ("1.10.0+build.5", "1.10.0+build.5"), ("~1.2", "1.2.0")],
)
def test_an_oci_chart(
    client: RegistryClient, in_oci: str, packages: Path, wanted: str, version: str, tmp_path: Path
) -> None:
    with ChartSource(client) as source:
        assert source.resolve(in_oci, "demo", wanted) == version
        reference = source.oci_reference(in_oci, "demo", wanted)
        assert reference.tag == version.replace("+", "_")
        descriptor, raw, metadata = source.oci_chart(reference)
    assert sha256(raw) == descriptor.digest
    assert (metadata.name, metadata.version) == ("demo", version)
    helm("pull", f"{in_oci}/demo", "--version", wanted, "--plain-http", "-d", tmp_path, home=tmp_path)
    assert (tmp_path / f"demo-{version}.tgz").read_bytes() == (packages / f"demo-{version}.tgz").read_bytes()


def test_an_oci_chart_that_is_not_there_or_is_none(client: RegistryClient, in_oci: str) -> None:
    with ChartSource(client) as source:
        with pytest.raises(NotFound, match=r"no tag fits; the newest there are 9\.9\.9, 2\.0\.0-rc\.1"):
            source.oci_reference(in_oci, "demo", "^3")
        with pytest.raises(NotFound):
            source.oci_reference(in_oci, "other", "^3")
        with pytest.raises(VerificationError, match="expected a chart"):
            source.oci_chart(source.oci_reference(in_oci, "demo", ""))
        with pytest.raises(NotFound):
            source.oci_chart(source.oci_reference(in_oci, "demo", "5.0.0"))


def test_both_kinds_by_one_door(client: RegistryClient, web: Web) -> None:
    with ChartSource(client) as source:
        assert source.resolve(f"{web.url}/stable/", "demo", "^1") == "1.10.0+build.5"
        assert source.fetch(f"{web.url}/stable", "demo", "1.0.0").metadata.version == "1.0.0"
        assert source.repository(f"{web.url}/stable") is source.repository(f"{web.url}/stable/")
        assert source.helm.version.startswith("v")
    assert web.paths().count("/stable/index.yaml") == 1


def test_names_of_oci_charts() -> None:
    assert oci_repository("oci://ghcr.io/org/charts/", "x") == "ghcr.io/org/charts/x"
    assert oci_repository("oci://registry-1.docker.io/bitnamicharts", "redis") == "docker.io/bitnamicharts/redis"
    for repo, name in [("https://x", "y"), ("oci://", "y"), ("oci://ghcr.io/Org", "y"), ("oci://ghcr.io", "../y")]:
        with pytest.raises(UsageError):
            oci_repository(repo, name)
