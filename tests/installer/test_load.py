"""Loading into registry:2: real servers only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, RemoteError, Unauthorized, Unreachable
from airbundle.installer.journal import Journal
from airbundle.installer.load import LoadResult, load
from airbundle.installer.load_plan import LoadPlan, plan_load
from airbundle.installer.placed import Placing, Recorder
from airbundle.installer.target import parse_target
from airbundle.progress import SILENT
from airbundle.store.checksum import write_checksums
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.transfer.registry import RegistryClient
from tests.installer.bundles import Key, chart, content, sign_and_write
from tests.support.bundles import Made
from tests.support.images import attestation, index, layer, noise, referrer, tiny_image
from tests.support.process import program
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage
from tests.support.tls import Authority

BASE = layer({"base": noise("base", 3_000_000)})
REDIS = tiny_image("redis", shared=[BASE])
NGINX = tiny_image("nginx", shared=[BASE], family="docker")
AMD, ARM = tiny_image("multi", platform="linux/amd64"), tiny_image("multi", platform="linux/arm64")
MULTI = index([AMD, ARM])
APP = chart("app", "1.2.3+4")


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory, release_key: Key) -> Path:
    made = content(
        {
            "docker.io/library/redis:7.2": REDIS,
            "host.example:5000/nginx:1": NGINX,
            "quay.io/a/multi:1": MULTI,
        },
        charts={"charts.example.org/stable/app:1.2.3+4": APP},
        others={("file", "file/notes.txt:1"): tiny_image("file")},
        referrers={"docker.io/library/redis:7.2": [referrer(REDIS.descriptor)]},
        signer=release_key.signer,
    )
    return sign_and_write(tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle", made, release_key)


def plan_of(bundle: BundleFile, prefix: str = "") -> LoadPlan:
    def manifest(descriptor: Descriptor) -> bytes | None:
        return bundle.read_small(descriptor.digest, 1 << 20) if bundle.has_blob(descriptor.digest) else None

    return plan_load(bundle.index, manifest, prefix=prefix)


def client_for(registry: Registry) -> RegistryClient:
    return parse_target(registry.url, ca_file=registry.ca_file).client()


def load_into(path: Path, registry: Registry, prefix: str = "", client: RegistryClient | None = None) -> LoadResult:
    with open_bundle([path]) as bundle, client or client_for(registry) as own:
        return load(bundle, plan_of(bundle, prefix), own, registry.host, reporter=SILENT)


def tree(root: Path) -> set[str]:
    """Return what a registry's storage knows: links of blobs, manifests and tags."""
    # Uploads go away meanwhile, which `rglob` takes amiss.
    return {str(Path(top).relative_to(root)) for top, _, files in os.walk(root) if "link" in files}


def skopeo_digest(registry: Registry, name: str) -> str:
    command = [program("skopeo", "skopeo"), "inspect", "--raw", "--cert-dir", str(cert_dir(registry))]
    raw = subprocess.run([*command, f"docker://{registry.host}/{name}"], check=True, capture_output=True).stdout
    import hashlib

    return "sha256:" + hashlib.sha256(raw).hexdigest()


def cert_dir(registry: Registry) -> Path:
    directory = registry.storage.parent / "certs"
    directory.mkdir(exist_ok=True)
    assert registry.ca_file is not None
    shutil.copyfile(registry.ca_file, directory / "ca.crt")
    return directory


def test_every_name_has_the_digest_of_upstream(bundle_path: Path, empty_registry: Registry) -> None:
    result = load_into(bundle_path, empty_registry)
    for name, digest in {
        "docker.io/library/redis:7.2": REDIS.digest,
        "host.example_5000/nginx:1": NGINX.digest,
        "quay.io/a/multi:1": MULTI.digest,
        "charts.example.org/stable/app:1.2.3_4": APP.digest,
    }.items():
        assert skopeo_digest(empty_registry, name) == digest
    assert result.changed and result.sparse == {}
    assert not (empty_registry.storage / "docker/registry/v2/repositories/file").exists()


def test_an_index_is_pulled_whole_by_skopeo(bundle_path: Path, empty_registry: Registry, tmp_path: Path) -> None:
    load_into(bundle_path, empty_registry)
    source = f"docker://{empty_registry.host}/quay.io/a/multi:1"
    command = [program("skopeo", "skopeo"), "copy", "--all", "--preserve-digests", "-q"]
    subprocess.run(
        [*command, "--src-cert-dir", cert_dir(empty_registry), source, f"oci:{tmp_path / 'out'}:x"], check=True
    )
    root = json.loads((tmp_path / "out/index.json").read_text())["manifests"][0]["digest"]
    assert root == MULTI.digest


def test_shared_layers_are_sent_once_and_mounted(bundle_path: Path, empty_registry: Registry) -> None:
    result = load_into(bundle_path, empty_registry)
    assert result.sent == result.blobs
    assert result.mounted > 0
    mounts = [r for r in empty_registry.uploads() if "mount=" in r.path and BASE.descriptor.digest[7:] in r.path]
    assert [mount.status for mount in mounts] == [201]


def test_a_second_run_sends_nothing(bundle_path: Path, empty_registry: Registry) -> None:
    load_into(bundle_path, empty_registry)
    before, seen = len(empty_registry.uploads()), len(empty_registry.requests())
    result = load_into(bundle_path, empty_registry)
    assert not result.changed
    assert len(empty_registry.uploads()) == before
    methods = {(r.method, "/manifests/sha256-" in r.path) for r in empty_registry.requests()[seen:]}
    assert methods <= {("HEAD", False), ("HEAD", True), ("GET", True), ("GET", False)}
    gets = [r.path for r in empty_registry.requests()[seen:] if r.method == "GET"]
    assert all("/referrers/" in path or "/manifests/sha256-" in path or path == "/v2/" for path in gets)


def recorded(path: Path, registry: Registry, journal: Path) -> list[Placing]:
    """Load, and return what was written down meanwhile."""
    writer = Journal(journal)
    with open_bundle([path]) as bundle, client_for(registry) as own:
        recorder = Recorder(writer, registry.url)
        load(bundle, plan_of(bundle), own, registry.host, reporter=SILENT, recorder=recorder)
    own_entries = [entry for entry in writer.read() if entry.run == writer.run]
    rows = [row for entry in own_entries for row in entry.info["placed"]]
    return [Placing(row["repository"], _tuples(row["manifests"]), _tuples(row["tags"])) for row in rows]


def _tuples(rows: list[list[str]]) -> Any:
    return tuple(tuple(row) for row in rows)


def test_what_the_registry_lacked_is_written_down(bundle_path: Path, empty_registry: Registry, tmp_path: Path) -> None:
    journal, theirs = tmp_path / "journal.jsonl", tiny_image("theirs")
    storage = Storage(empty_registry.storage)
    NGINX.put(storage, "host.example_5000/nginx", "mine")
    theirs.put(storage, "quay.io/a/multi", "1")
    found = recorded(bundle_path, empty_registry, journal)
    with open_bundle([bundle_path]) as bundle:
        plan = plan_of(bundle)
    placed = {(each.repository, digest) for each in found for digest, _ in each.manifests}
    everything = {(name, node.descriptor.digest) for name, nodes in plan.manifests.items() for node in nodes}
    assert everything - placed == {("host.example_5000/nginx", NGINX.digest)} and placed <= everything
    tags = {(each.repository, tag): (digest, before) for each in found for tag, digest, before in each.tags}
    assert tags.keys() == {(tag.repository, tag.tag) for tag in plan.tags}
    before = {name: each[1] for name, each in tags.items() if each[1]}
    assert before == {("quay.io/a/multi", "1"): theirs.digest}
    order = [digest for each in found if each.repository == "quay.io/a/multi" for digest, _ in each.manifests]
    assert order.index(AMD.digest) < order.index(MULTI.digest)
    subjects = {subject for each in found for _, subject in each.manifests if subject}
    assert {REDIS.digest, MULTI.digest} <= subjects
    # Nothing is lacking the second time; what went away is written down again.
    assert recorded(bundle_path, empty_registry, journal) == []
    with client_for(empty_registry) as client:
        client.repository(f"{empty_registry.host}/quay.io/a/multi").delete_manifest(MULTI.digest)
    assert recorded(bundle_path, empty_registry, journal) == [
        Placing("quay.io/a/multi", ((MULTI.digest, ""),)),
        Placing("quay.io/a/multi", (), (("1", MULTI.digest, ""),)),
    ]


def test_of_an_index_that_is_refused_what_stands_in_is_written_down(
    tmp_path: Path, empty_registry: Registry, release_key: Key
) -> None:
    s390 = tiny_image("multi", platform="linux/s390x")
    made = content({"quay.io/a/m:1": index([AMD, ARM, s390])}, carried={"quay.io/a/m:1": [AMD, ARM]})
    path = sign_and_write(tmp_path / "s.airbundle", made, release_key)
    found = recorded(path, empty_registry, tmp_path / "journal.jsonl")
    with client_for(empty_registry) as client:
        made_here = client.repository(f"{empty_registry.host}/quay.io/a/m").has_manifest("1") or ""
    digests = [digest for each in found for digest, _ in each.manifests]
    assert digests == [AMD.digest, ARM.digest, made_here]
    assert [each.tags for each in found if each.tags] == [(("1", made_here, ""),)]
    assert recorded(path, empty_registry, tmp_path / "journal.jsonl") == []


def test_signatures_are_found_both_ways(bundle_path: Path, empty_registry: Registry) -> None:
    load_into(bundle_path, empty_registry)
    with client_for(empty_registry) as client:
        repository = client.repository(f"{empty_registry.host}/docker.io/library/redis")
        types = sorted(each.artifact_type for each in repository.referrers(REDIS.digest))
        assert types == ["application/spdx+json", "application/vnd.dev.sigstore.bundle.v0.3+json"]
        assert repository.has_manifest(f"sha256-{REDIS.digest[7:]}.sig") is not None


def test_a_referrer_that_is_there_but_not_listed_is_listed(bundle_path: Path, empty_registry: Registry) -> None:
    load_into(bundle_path, empty_registry)
    # As after a kill between the manifest and the list.
    tags = empty_registry.storage / "docker/registry/v2/repositories/docker.io/library/redis/_manifests/tags"
    shutil.rmtree(tags / f"sha256-{REDIS.digest[7:]}")
    load_into(bundle_path, empty_registry)
    with client_for(empty_registry) as client:
        repository = client.repository(f"{empty_registry.host}/docker.io/library/redis")
        assert len(repository.referrers(REDIS.digest)) == 2


def test_below_a_prefix(bundle_path: Path, empty_registry: Registry) -> None:
    load_into(bundle_path, empty_registry, prefix="mirror/one")
    assert skopeo_digest(empty_registry, "mirror/one/docker.io/library/redis:7.2") == REDIS.digest


def test_what_another_repository_has_is_mounted_from_there(bundle_path: Path, empty_registry: Registry) -> None:
    storage = Storage(empty_registry.storage)
    storage.put_bytes(REDIS.all_blobs()[BASE.descriptor.digest])
    storage.link_blob("host.example_5000/nginx", BASE.descriptor.digest)
    load_into(bundle_path, empty_registry)
    sent = [
        r.path for r in empty_registry.uploads() if f"digest={BASE.descriptor.digest}".replace(":", "%3A") in r.path
    ]
    assert sent == []


def damaged(bundle_path: Path, digest: str, target: Path) -> Path:
    shutil.copyfile(bundle_path, target)
    with open_bundle([target]) as bundle:
        offset = bundle.table[digest].offset
    with target.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte[0] ^ 1]))
    return target


@pytest.mark.parametrize("which", ["large layer", "small layer", "chart", "a file that isn't loaded"])
def test_no_manifest_appears_when_a_blob_is_damaged(
    bundle_path: Path, empty_registry: Registry, tmp_path: Path, which: str
) -> None:
    digest = {
        "large layer": BASE.descriptor.digest,
        "small layer": REDIS.blobs[-1].descriptor.digest,
        "chart": APP.blobs[1].descriptor.digest,
        "a file that isn't loaded": tiny_image("file").blobs[1].descriptor.digest,
    }[which]
    path = damaged(bundle_path, digest, tmp_path / "x.airbundle")
    with pytest.raises(DigestMismatch) as caught:
        load_into(path, empty_registry)
    assert caught.value.exit_code == 5
    assert digest in caught.value.problem
    links = tree(empty_registry.storage)
    assert not [link for link in links if "_manifests" in link]
    assert not [link for link in links if digest[7:] in link]


def test_a_blob_that_the_target_has_is_not_read(bundle_path: Path, empty_registry: Registry, tmp_path: Path) -> None:
    load_into(bundle_path, empty_registry)
    path = damaged(bundle_path, BASE.descriptor.digest, tmp_path / "x.airbundle")
    assert not load_into(path, empty_registry).changed


def test_a_read_only_registry_refuses_and_is_unchanged(bundle_path: Path, tmp_path: Path, authority: Authority) -> None:
    with run_registry(tmp_path / "registry", tls=authority, read_only=True) as registry:
        with pytest.raises(RemoteError, match="405") as caught:
            load_into(bundle_path, registry)
    assert (caught.value.exit_code, caught.value.outcome) == (6, "unchanged")
    assert "read-only" in caught.value.hint


def test_a_wrong_ca_is_told(bundle_path: Path, empty_registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="certificate is not trusted") as caught:
        load_into(bundle_path, empty_registry, client=parse_target(empty_registry.url).client())
    assert (caught.value.exit_code, caught.value.outcome) == (6, "unchanged")


def test_credentials_are_needed(bundle_path: Path, basic_registry: Registry) -> None:
    with pytest.raises(Unauthorized) as caught:
        load_into(bundle_path, basic_registry, prefix="anonymous")
    assert (caught.value.exit_code, caught.value.outcome) == (6, "unchanged")


@pytest.mark.parametrize("kind", ["basic_registry", "token_registry"])
def test_with_credentials_from_registries_yaml(
    bundle_path: Path, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    registry: Registry = request.getfixturevalue(kind)
    document = tmp_path / "registries.yaml"
    document.write_text(json.dumps(registry.registries_yaml()))
    client = parse_target(registry.url, registries=document).client()
    result = load_into(bundle_path, registry, prefix="with-credentials", client=client)
    assert result.tags > 0
    again = parse_target(registry.url, registries=document).client()
    assert not load_into(bundle_path, registry, prefix="with-credentials", client=again).changed


def sparse_made(**more: object) -> Made:
    return content({"quay.io/a/multi:1": index([AMD, attestation(AMD), ARM])}, carried={"quay.io/a/multi:1": [AMD]})


def test_a_sparse_index_is_refused_and_its_manifest_stands_in(
    tmp_path: Path, empty_registry: Registry, release_key: Key
) -> None:
    path = sign_and_write(tmp_path / "s.airbundle", sparse_made(), release_key)
    result = load_into(path, empty_registry)
    assert result.sparse == {"quay.io/a/multi:1": AMD.digest}
    assert skopeo_digest(empty_registry, "quay.io/a/multi:1") == AMD.digest
    before = len(empty_registry.uploads())
    again = load_into(path, empty_registry)
    assert again.sparse == result.sparse and not again.changed
    assert len(empty_registry.uploads()) == before


def test_a_sparse_index_is_told_loudly(tmp_path: Path, empty_registry: Registry, release_key: Key) -> None:
    told: list[str] = []

    class Loud(type(SILENT)):  # type: ignore[misc]
        def warn(self, message: str) -> None:
            told.append(message)

    path = sign_and_write(tmp_path / "s.airbundle", sparse_made(), release_key)
    with open_bundle([path]) as bundle, client_for(empty_registry) as client:
        load(bundle, plan_of(bundle), client, empty_registry.host, reporter=Loud())
    assert len(told) == 1
    assert "quay.io/a/multi:1" in told[0] and "linux/amd64" in told[0] and "sparse: false" in told[0]


def test_two_carried_platforms_get_an_index_of_these(
    tmp_path: Path, empty_registry: Registry, release_key: Key
) -> None:
    s390 = tiny_image("multi", platform="linux/s390x")
    made = content({"quay.io/a/m:1": index([AMD, ARM, s390])}, carried={"quay.io/a/m:1": [AMD, ARM]})
    path = sign_and_write(tmp_path / "s.airbundle", made, release_key)
    result = load_into(path, empty_registry)
    assert skopeo_digest(empty_registry, "quay.io/a/m:1") == result.sparse["quay.io/a/m:1"]
    for platform in ("amd64", "arm64"):
        command = [program("skopeo", "skopeo"), "copy", "-q", "--override-arch", platform]
        source = f"docker://{empty_registry.host}/quay.io/a/m:1"
        target = f"dir:{tmp_path / platform}"
        subprocess.run([*command, "--src-cert-dir", cert_dir(empty_registry), source, target], check=True)


def test_volumes_are_loaded_in_place(tmp_path: Path, empty_registry: Registry, release_key: Key) -> None:
    made = content({"docker.io/library/redis:7.2": REDIS})
    directory = sign_and_write(tmp_path / "v.airbundle", made, release_key, volume_size=1_000_000)
    assert len(list(directory.glob("v.airbundle.*"))) > 2
    load_into(directory, empty_registry)
    assert skopeo_digest(empty_registry, "docker.io/library/redis:7.2") == REDIS.digest


def test_a_damaged_volume_is_named(tmp_path: Path, empty_registry: Registry, release_key: Key) -> None:
    """Though the blob that it damages begins in another one."""
    made = content({"docker.io/library/redis:7.2": REDIS})
    directory = sign_and_write(tmp_path / "v.airbundle", made, release_key, volume_size=1_000_000)
    sums = {path.name: sha256(path.read_bytes())[7:] for path in sorted(directory.glob("v.airbundle.*"))}
    write_checksums(directory / "v.airbundle", sums)
    second = directory / "v.airbundle.002"
    data = bytearray(second.read_bytes())
    data[500_000] ^= 1
    second.write_bytes(data)
    with pytest.raises(DigestMismatch, match=r"^v\.airbundle\.002: the bytes of blob") as caught:
        load_into(directory, empty_registry)
    assert caught.value.hint.endswith("carry this volume again")
    assert not empty_registry.stored("_manifests")


def test_a_registry_that_nobody_runs(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRBUNDLE_RETRY_SECONDS", "0")
    with open_bundle([bundle_path]) as bundle, parse_target("127.0.0.1:1").client() as client:
        with pytest.raises(Unreachable) as caught:
            load(bundle, plan_of(bundle), client, "127.0.0.1:1", reporter=SILENT)
    assert (caught.value.exit_code, caught.value.outcome) == (6, "unchanged")
