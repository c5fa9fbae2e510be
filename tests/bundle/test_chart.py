from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.chart import (
    FILE_LIMIT,
    UNPACKED_LIMIT,
    chart_files,
    materialise_chart,
    read_metadata,
)
from airbundle.bundle.chart_metadata import metadata_of, parse_metadata
from airbundle.bundle.chart_yaml import go_json, load_yaml, text_of
from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import HELM_CHART, HELM_CONFIG, HELM_PROVENANCE, OCI_MANIFEST, parse_manifest
from airbundle.errors import VerificationError
from airbundle.store.cache import Cache
from tests.support.helm import helm, package, write_chart
from tests.support.registries import Registry
from tests.support.storage import Storage

CHART = b"apiVersion: v2\nname: x\nversion: 1.2.3\n"
RICH = {
    "description": "Tags <b> & \u2028 tabs\tand\nlines",
    "home": "https://example.org/?a=1&b=2",
    "sources": ["https://example.org/source", "https://example.org/other"],
    "keywords": ["a", "b"],
    "maintainers": [{"name": "Ada", "email": "ada@example.org"}, {"name": "Bob", "url": "https://example.org/bob"}],
    "icon": "https://example.org/icon.svg",
    "appVersion": "2.0",
    "deprecated": True,
    "annotations": {"z": "1", "a": "2", "org.opencontainers.image.version": "ignored", "number": 1.10, "flag": True},
    "kubeVersion": ">=1.20.0-0",
    "type": "application",
}


def archive_of(files: Iterable[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = (len(data) if kind == tarfile.REGTYPE else 0), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    write_chart(tmp_path / "rich" / "charts", "inner", "0.1.0")
    dependencies = [
        {"name": "inner", "version": "0.1.0", "repository": "", "alias": "two", "tags": ["t"], "import-values": ["a"]},
        {"name": "inner", "version": "~0.1", "repository": "", "condition": "inner.enabled"},
    ]
    files = {"values.schema.json": "{}", "crds/crd.yaml": "a: 1\n", "README.md": "# x\n"}
    return write_chart(tmp_path, "rich", "1.2.3+build.4", files=files, dependencies=dependencies, **RICH)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_a_packaged_chart_is_read(rich: Path, tmp_path: Path) -> None:
    archive = package(rich, tmp_path / "out", home=tmp_path).read_bytes()
    metadata = read_metadata(archive, what="rich")
    assert (metadata.name, metadata.version, metadata.app_version) == ("rich", "1.2.3+build.4", "2.0")
    assert (metadata.kube_version, metadata.type, metadata.deprecated) == (">=1.20.0-0", "application", True)
    assert [(d.name, d.version, d.alias) for d in metadata.dependencies] == [
        ("inner", "0.1.0", "two"),
        ("inner", "~0.1", ""),
    ]
    assert metadata.file_name == "rich-1.2.3+build.4.tgz"
    files = dict(chart_files(archive, what="rich"))
    assert files["values.yaml"] == b"greeting: from rich\n"
    assert {"crds/crd.yaml", "README.md", "charts/inner/Chart.yaml"} <= files.keys()


def test_the_artifact_is_what_helm_pushes_but_for_the_time(
    rich: Path, tmp_path: Path, cache: Cache, plain_registry: Registry
) -> None:
    archive = package(rich, tmp_path / "out", home=tmp_path)
    made = materialise_chart(archive.read_bytes(), cache, what="rich")
    target = f"oci://{plain_registry.host}/as-helm-pushes"
    helm("push", archive, target, "--plain-http", home=tmp_path)
    pushed = httpx.get(
        f"{plain_registry.url}/v2/as-helm-pushes/rich/manifests/1.2.3_build.4", headers={"Accept": OCI_MANIFEST}
    )
    ours = json.loads(cache.read(made.descriptor.digest, 1 << 20))
    theirs = pushed.json()
    assert theirs["annotations"].pop("org.opencontainers.image.created")
    assert ours["config"] == theirs["config"]
    assert ours["layers"] == theirs["layers"]
    assert ours["annotations"] == theirs["annotations"]


@pytest.mark.parametrize("provenance", [None, b"signed"])
def test_stock_helm_pulls_the_artifact(
    rich: Path, tmp_path: Path, cache: Cache, plain_registry: Registry, provenance: bytes | None
) -> None:
    archive = package(rich, tmp_path / "out", home=tmp_path).read_bytes()
    made = materialise_chart(archive, cache, what="rich", provenance=provenance, info={"repo": "local"})
    repository = f"ours/rich-{bool(provenance)}".lower()
    storage = Storage(plain_registry.storage)
    for blob in made.blobs:
        storage.put_bytes(cache.read(blob.digest, 1 << 20), blob.digest)
        storage.link_blob(repository, blob.digest)
    storage.put_manifest(repository, cache.read(made.descriptor.digest, 1 << 20), "1.2.3_build.4")
    reference = f"oci://{plain_registry.host}/{repository}"
    (tmp_path / "pulled").mkdir()
    helm("pull", reference, "--version", "1.2.3+build.4", "--plain-http", home=tmp_path, cwd=tmp_path / "pulled")
    (pulled,) = (tmp_path / "pulled").glob("*.tgz")
    assert pulled.read_bytes() == archive
    assert 'appVersion: "2.0"' in helm("show", "chart", reference, "--plain-http", home=tmp_path)


def test_the_artifact_is_deterministic(cache: Cache) -> None:
    archive = archive_of([("x/Chart.yaml", CHART), ("x/values.yaml", b"")])
    made = materialise_chart(archive, cache, what="x", info={"repo": "https://example.org", "empty": ""})
    assert made == materialise_chart(archive, cache, what="x", info={"repo": "https://example.org"})
    manifest = parse_manifest(cache.read(made.descriptor.digest, 10_000), OCI_MANIFEST, what="x")
    assert manifest.kind_type == HELM_CONFIG
    assert [blob.media_type for blob in manifest.blobs] == [HELM_CONFIG, HELM_CHART]
    assert cache.read(manifest.layers[0].digest, 10_000) == archive
    assert made.blobs == manifest.blobs
    assert made.info == {"name": "x", "version": "1.2.3", "repo": "https://example.org"}
    signed = materialise_chart(archive, cache, what="x", provenance=b"prov")
    assert signed.blobs[-1].media_type == HELM_PROVENANCE
    with pytest.raises(VerificationError, match="provenance"):
        materialise_chart(archive, cache, what="x", provenance=bytes(2_000_000))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("x/values.yaml", b"")], "Chart.yaml is missing"),
        ([("Chart.yaml", CHART)], "does not lie in the chart's directory"),
        ([("x/../Chart.yaml", CHART)], "lead outside"),
        ([("/x/Chart.yaml", CHART)], "lead outside"),
        ([("x\\Chart.yaml", CHART)], "lead outside"),
        ([("x/C:/Chart.yaml", CHART)], "does not lie"),
        ([("x/Chart.yaml", CHART), ("y/Chart.yaml", CHART)], "stands twice"),
        ([("x/Chart.yaml", b"[]")], "expected a mapping"),
        ([("x/Chart.yaml", b"a: b: c")], "not YAML"),
        ([("x/Chart.yaml", b"{" * 1000)], "nested deeper"),
        ([("x/Chart.yaml", b"name: x\nversion: latest\n")], "'latest' is no version"),
        ([("x/Chart.yaml", b"name: ../x\nversion: 1.0.0\n")], "no name of a chart"),
        ([("x/Chart.yaml", b"name: ..\nversion: 1.0.0\n")], "no name of a chart"),
        ([("x/Chart.yaml", CHART + b"keywords: a\n")], "expected a list"),
        ([("x/Chart.yaml", CHART + b"deprecated: 1\n")], "expected true or false"),
        ([("x/Chart.yaml", CHART + b"maintainers: [a]\n")], "expected a mapping"),
        ([("x/Chart.yaml", CHART + b"appVersion: [1]\n")], "expected text"),
        ([("x/Chart.yaml", CHART + b"annotations: [1]\n")], "expected a mapping"),
        ([("x/Chart.yaml", b"# " + b"x" * 2_000_000)], "bytes are more than"),
        ([("x/Chart.yaml", CHART), ("x/big", bytes(FILE_LIMIT + 1))], "larger than"),
    ],
)
def test_what_is_no_chart(files: list[tuple[str, bytes]], said: str) -> None:
    with pytest.raises(VerificationError, match=said) as caught:
        read_metadata(archive_of(files), what="chart x of https://example.org")
    assert caught.value.problem.startswith("chart x of https://example.org: ")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes) -> None:
    with pytest.raises(VerificationError, match="only files and directories"):
        read_metadata(archive_of([("x/Chart.lock", b"")], kind), what="x")


def test_a_bomb_is_refused() -> None:
    files = [("x/Chart.yaml", CHART)] + [(f"x/{i}", bytes(FILE_LIMIT)) for i in range(UNPACKED_LIMIT // FILE_LIMIT)]
    archive = archive_of(files)
    assert len(archive) < 1_000_000
    with pytest.raises(VerificationError, match="unpacks to more than"):
        read_metadata(archive, what="x")


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"<html>", b"\x1f\x8b", gzip.compress(b"x" * 600, mtime=0)])
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_metadata(data, what="x")


def test_a_chart_of_helm_2_has_its_requirements() -> None:
    files = {
        "Chart.yaml": b"name: x\nversion: 1.0.0\n",
        "requirements.yaml": b"dependencies:\n- {name: inner, version: 1.x, repository: 'https://example.org'}\n",
    }
    metadata = metadata_of(files, what="x")
    assert metadata.fields["apiVersion"] == "v1"
    assert [(d.name, d.repository) for d in metadata.dependencies] == [("inner", "https://example.org")]


PLAIN = (
    "1.10 1.0 1 1. .5 1e3 1.5e+10 20240101 20240101.5 123456789012345678901234 1e21 1e20 0.00001 0.00012 0123 "
    "0o17 0x1F 0b11 1_000 1_0.5 ._5 -0 -0.0 +1 yes n on ~ null 2024-01-01 12:30:45 .inf -.inf .nan 1e400 08 "
    "3.4027e38 09.5 -0b11 0_8 = 1.2.3 100000.5 1000000.5 0x 1__0 -0x1f 18446744073709551615 18446744073709551616 "
    "-9223372036854775809 v1 true Null '1.10'"
).split()


def test_plain_scalars_become_the_text_that_helm_makes_of_them(tmp_path: Path) -> None:
    annotations = "".join(f"  k{i}: {text}\n" for i, text in enumerate(PLAIN))
    chart = write_chart(tmp_path, "x")
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: x\nversion: 1.0.0\nannotations:\n{annotations}")
    helms = load_yaml(helm("show", "chart", chart, home=tmp_path), what="helm")["annotations"]
    own = {f"k{i}": text_of(load_yaml(text, what="x"), what="x") for i, text in enumerate(PLAIN)}
    assert own == {key: value or "" for key, value in helms.items()}


@pytest.mark.parametrize(
    "raw", ["a: &a {x: 1}\nb: {<<: *a}", "a: !!python/name:os.system x", "a: &a [*a]\n- b", "\x00"]
)
def test_yaml_that_is_refused(raw: str) -> None:
    with pytest.raises(VerificationError):
        load_yaml(raw, what="x")


def test_aliases_of_aliases_are_not_unfolded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    metadata = parse_metadata(
        load_yaml("name: x\nversion: 1.0.0\n" + "\n".join(lines), what="x")
        | {"dependencies": [{"name": "y", "import-values": load_yaml("\n".join(lines), what="x")["a9"]}]},
        what="x",
    )
    with pytest.raises(VerificationError, match="more than"):
        go_json(metadata.fields, what="x")


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_a_damaged_archive_gives_only_our_errors(chooser: random.Random, count: int) -> None:
    plain = bytearray(gzip.decompress(archive_of([("x/Chart.yaml", CHART), ("x/values.yaml", b"a: 1")])))
    for _ in range(count):
        plain[chooser.randrange(1024 + 600)] = chooser.randrange(256)
    try:
        read_metadata(gzip.compress(bytes(plain)), what="x")
    except VerificationError as error:
        assert error.problem.startswith("x: ")


@given(st.text(max_size=100))
def test_any_chart_yaml_gives_only_our_errors(text: str) -> None:
    try:
        metadata = metadata_of({"Chart.yaml": b"name: x\nversion: 1.0.0\n" + text.encode()}, what="x")
    except VerificationError:
        return
    go_json(metadata.fields, what="x")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3))
FIELDS = ["name", "version", "keywords", "maintainers", "dependencies", "annotations", "deprecated", "appVersion"]


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_any_metadata_gives_only_our_errors(body: dict[str, object]) -> None:
    try:
        metadata = parse_metadata({"name": "x", "version": "1.0.0", **body}, what="x")
        go_json(metadata.fields, what="x")
    except VerificationError:
        return
    assert sha256(go_json(metadata.fields, what="x"))
