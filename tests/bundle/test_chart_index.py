from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.chart import materialise_chart
from airbundle.bundle.chart_index import (
    ChartEntry,
    chart_clashes,
    chart_entry,
    chart_indexes,
    chart_ref,
    upstream_charts,
)
from airbundle.bundle.chart_metadata import parse_metadata
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.lock import LockedRoot
from airbundle.bundle.naming import site_name
from airbundle.bundle.oci import HELM_CHART, OCI_MANIFEST, Descriptor, parse_manifest
from airbundle.errors import AirbundleError, VerificationError
from airbundle.store.cache import Cache
from tests.support.helm import helm, package, write_chart
from tests.support.web import Web, serve

CREATED = "2026-01-02T03:04:05Z"


def entry(directory: str, name: str, version: str, content: bytes = b"x", **fields: object) -> ChartEntry:
    metadata = parse_metadata({"name": name, "version": version, **fields}, what=name)
    return ChartEntry(directory, metadata, Descriptor(HELM_CHART, sha256(content), len(content)))


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        yield web


def test_stock_helm_uses_the_indexes(tmp_path: Path, web: Web) -> None:
    cache = Cache(tmp_path / "cache")
    entries = []
    for repo, name, version in [
        ("https://charts.example.org/stable", "one", "1.0.0"),
        ("https://charts.example.org/stable", "one", "1.10.0+build.5"),
        ("https://charts.example.org/stable", "one", "1.9.0"),
        ("oci://ghcr.io:5000/x", "two", "0.1.0"),
        ("", "three", "0.2.0"),
    ]:
        odd = "\x7f \u2028 \ufeff \U0001f600 <&>"
        directory = write_chart(tmp_path / version, name, version, appVersion="7", description=odd)
        archive = package(directory, tmp_path / "out", home=tmp_path).read_bytes()
        made = materialise_chart(archive, cache, what=name)
        manifest = parse_manifest(cache.read(made.descriptor.digest, 1 << 20), what=name)
        config = cache.read(made.blobs[0].digest, 1 << 20)
        entries.append(chart_entry(chart_ref(repo, name, version), manifest, config))
        web.files[f"/charts/{entries[-1].path}"] = archive
    indexes = chart_indexes(entries, CREATED)
    assert sorted(indexes) == [
        "charts.example.org/stable/index.yaml",
        "ghcr.io_5000/x/index.yaml",
        "index.yaml",
        "local/index.yaml",
    ]
    web.files.update({f"/charts/{path}": raw for path, raw in indexes.items()})
    helm("repo", "add", "all", f"{web.url}/charts", home=tmp_path)
    helm("repo", "add", "stable", f"{web.url}/charts/charts.example.org/stable", home=tmp_path)
    found = json.loads(helm("search", "repo", "--versions", "-o", "json", home=tmp_path))
    stable = [("stable/one", "1.10.0+build.5"), ("stable/one", "1.9.0"), ("stable/one", "1.0.0")]
    everything = [(name.replace("stable/", "all/"), version) for name, version in stable]
    everything += [("all/three", "0.2.0"), ("all/two", "0.1.0")]
    assert [(chart["name"], chart["version"]) for chart in found] == [*everything, *stable]
    (tmp_path / "pulled").mkdir()
    for name, version, path in [
        ("all/one", "1.10.0+build.5", "charts.example.org/stable/one-1.10.0+build.5.tgz"),
        ("stable/one", "~1.9", "charts.example.org/stable/one-1.9.0.tgz"),
        ("all/two", "", "ghcr.io_5000/x/two-0.1.0.tgz"),
        ("all/three", "", "local/three-0.2.0.tgz"),
    ]:
        helm("pull", name, "--version", version, "-d", tmp_path / "pulled", home=tmp_path)
        assert (tmp_path / "pulled" / Path(path).name).read_bytes() == web.files[f"/charts/{path}"]


def test_the_index_is_yaml_and_tells_what_helm_tells() -> None:
    one = entry("x.org", "one", "1.0.0", appVersion="\x85\ufeff2", type="library", deprecated=True)
    (index,) = [raw for path, raw in chart_indexes([one], CREATED).items() if path == "x.org/index.yaml"]
    assert yaml.safe_load(index) == json.loads(index)
    assert json.loads(index) == {
        "apiVersion": "v1",
        "generated": CREATED,
        "entries": {
            "one": [
                {
                    "apiVersion": "v1",
                    "name": "one",
                    "version": "1.0.0",
                    "appVersion": " 2",
                    "type": "library",
                    "deprecated": True,
                    "created": CREATED,
                    "digest": hex_of(sha256(b"x")),
                    "urls": ["one-1.0.0.tgz"],
                }
            ]
        },
    }


def test_the_index_does_not_depend_on_the_order_of_the_charts() -> None:
    entries = [entry("a", "x", "1.0.0"), entry("a", "x", "1.0.0+b"), entry("b", "y", "2.0.0"), entry("a", "x", "0.1.0")]
    assert chart_indexes(entries, CREATED) == chart_indexes(reversed(entries), CREATED)
    assert [
        chart["version"] for chart in json.loads(chart_indexes(entries, CREATED)["a/index.yaml"])["entries"]["x"]
    ] == [
        "1.0.0+b",
        "1.0.0",
        "0.1.0",
    ]


def test_no_charts_give_an_empty_index() -> None:
    assert json.loads(chart_indexes([], CREATED)["index.yaml"])["entries"] == {}


def locked_chart(ref: str, version: str, content: bytes = b"x", kind: str = "chart") -> LockedRoot:
    descriptor = Descriptor(OCI_MANIFEST, sha256(content), len(content))
    return LockedRoot(kind, ref, f"from {ref}", "cache", "", descriptor, info={"name": "x", "version": version})


def test_a_clash_is_found_and_names_both() -> None:
    one, other = locked_chart("a.org/x:1.0.0", "1.0.0"), locked_chart("b.org/c/x:1.0.0", "1.0.0", b"other")
    harmless = [
        one,
        locked_chart("c.org/x:1.0.0", "1.0.0"),
        locked_chart("b.org/x:1.0.1", "1.0.1", b"other"),
        locked_chart("x", "1.0.0", b"other", "file"),
    ]
    assert chart_clashes(harmless) == []
    (finding,) = chart_clashes([*harmless, other])
    assert finding.message.startswith("two charts are x 1.0.0, and they differ")
    assert finding.found == "from a.org/x:1.0.0 and from b.org/c/x:1.0.0"


@pytest.mark.parametrize(
    ("repo", "name", "ref", "repository"),
    [
        (
            "https://charts.jetstack.io",
            "cert-manager",
            "charts.jetstack.io/cert-manager",
            "charts.jetstack.io/cert-manager",
        ),
        ("https://Example.org:8443/A/b/", "x", "example.org:8443/a/b/x", "example.org_8443/a/b/x"),
        ("http://h/~user/charts%20/?a=/b", "My.Chart", "h/user/charts-20/my.chart", "h/user/charts-20/my.chart"),
        ("oci://ghcr.io/org", "x__y", "ghcr.io/org/x__y", "ghcr.io/org/x__y"),
        ("", "--x..", "local/x", "local/x"),
    ],
)
def test_names_at_the_site(repo: str, name: str, ref: str, repository: str) -> None:
    assert chart_ref(repo, name, "1.0.0+b") == f"{ref}:1.0.0+b"
    site = site_name(f"{ref}:1.0.0+b")
    assert (site.repository, site.tag) == (repository, "1.0.0_b")


@given(st.text(max_size=30), st.text(min_size=1, max_size=20))
def test_any_path_gives_a_legal_name(path: str, name: str) -> None:
    site_name(chart_ref(f"https://example.org/{path}", name, "1.0.0"))


BITNAMI_LIKE = """apiVersion: v1
entries:
  # a comment
  first:
  - apiVersion: v2
    description: |
      entries:
        second:
    name: first
    version: 1.0.0
    urls: [https://cdn.example.org/first-1.0.0.tgz]
  'second':
    - name: second
      version: 1.10
      appVersion: 2.10
      digest: {digest}
      urls:
        - second-1.1.tgz
    - name: second
      version: latest
    - just text
    - name: second
      version: 1.0.0
      digest: nonsense
      urls: second.tgz
generated: "2026-01-01T00:00:00Z"
""".replace("{digest}", "A" * 64)


@pytest.mark.parametrize("spelled", ["yaml", "json", "flow", "wide"])
def test_an_upstream_index_is_read(spelled: str) -> None:
    raw = BITNAMI_LIKE.encode()
    if spelled == "json":
        raw = (
            json.dumps(yaml.load(raw, Loader=yaml.BaseLoader))
            .encode()
            .replace(b'"1.10"', b"1.10")
            .replace(b'"2.10"', b"2.10")
        )
    elif spelled == "flow":
        raw = b"# not JSON\n" + json.dumps(yaml.load(raw, Loader=yaml.BaseLoader)).encode().replace(
            b'"1.10"', b"1.10"
        ).replace(b'"2.10"', b"2.10")
    elif spelled == "wide":
        raw = raw.replace(b"\n  ", b"\n      ")
    first, last = upstream_charts(raw, "second", what="repo")
    assert (first.version, first.app_version, first.urls) == ("1.1", "2.1", ("second-1.1.tgz",))
    assert first.digest == "sha256:" + "a" * 64
    assert (last.version, last.digest, last.urls) == ("1.0.0", "", ())
    assert [chart.version for chart in upstream_charts(raw, "first", what="repo")] == ["1.0.0"]
    assert upstream_charts(raw, "third", what="repo") == []


@pytest.mark.parametrize(
    "raw", [b"", b"<html></html>", b"- a", b"entries: 1", b"entries: {x: 1}", b"{", b"{}{}", b"\0"]
)
def test_what_is_no_index(raw: bytes) -> None:
    with pytest.raises(VerificationError, match=r"^repo: index\.yaml"):
        upstream_charts(raw, "x", what="repo")


def test_a_large_index_is_not_read_whole() -> None:
    """Reading this with PyYAML would take minutes; the time is not asserted, the test's patience is."""
    chart = "  - {name: x, version: 1.0.0, description: " + "y" * 500 + "}\n"
    raw = "entries:\n" + "".join(f"  chart-{i}:\n{chart * 20}" for i in range(2000)) + "  wanted:\n" + chart
    assert len(raw) > 20_000_000
    assert [found.version for found in upstream_charts(raw.encode(), "wanted", what="repo")] == ["1.0.0"]
    assert upstream_charts(raw.encode(), "unwanted", what="repo") == []


@given(st.text(max_size=60))
def test_any_index_gives_only_our_errors(text: str) -> None:
    for raw in (text, f"entries:\n  x:\n{text}", f"entries:\n  x:\n  - {text}", "{" + text):
        try:
            upstream_charts(raw.encode(), "x", what="repo")
        except AirbundleError:
            pass


@pytest.mark.parametrize(
    ("manifest", "config"),
    [
        (b'{"schemaVersion":2,"config":%s,"layers":[]}', b"{}"),
        (b'{"schemaVersion":2,"config":%s,"layers":[%s]}', b"[]"),
        (b'{"schemaVersion":2,"config":%s,"layers":[%s]}', b"{"),
        (b'{"schemaVersion":2,"config":%s,"layers":[%s]}', b'{"name":"x"}'),
    ],
)
def test_an_artifact_that_is_no_chart(manifest: bytes, config: bytes) -> None:
    blob = b'{"mediaType":"%s","digest":"sha256:%s","size":1}' % (HELM_CHART.encode(), b"0" * 64)
    raw = manifest.replace(b"%s", blob)
    with pytest.raises(VerificationError, match=r"chart a\.org/x:1"):
        chart_entry("a.org/x:1", parse_manifest(raw, what="x"), config)
