from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.bundle import chart_pack
from airbundle.bundle.chart import chart_files
from airbundle.bundle.chart_pack import pack_chart
from airbundle.bundle.digest import sha256
from airbundle.errors import UsageError

CHART = b"apiVersion: v2\nname: demo\nversion: 1.2.3\n"
INNER = b"apiVersion: v2\nname: inner\nversion: 0.1.0\n"
DEPENDING = CHART + b"dependencies: [{name: inner, version: 0.x, repository: https://example.org}]\n"


def test_the_archive_never_changes() -> None:
    """The lock pins these bytes: another digest here breaks every lock with a local chart in it."""
    files = {"Chart.yaml": CHART, "templates/a.yaml": b"a: 1\n", "values.yaml": b"", "files/big": bytes(70_000)}
    metadata, archive = pack_chart(files, what="demo")
    assert (metadata.name, metadata.version) == ("demo", "1.2.3")
    assert sha256(archive) == "sha256:564a65df4a33b33bf3aa32c51bacbec67e1ad7dfb7a6d46efa5bdf56c0fc36cf"
    assert pack_chart(dict(reversed(files.items())), what="demo")[1] == archive


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=60
)
paths = st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4).map("/".join)


@settings(max_examples=50)
@given(st.dictionaries(paths.filter(lambda path: not path.startswith("charts/")), st.binary(max_size=2000), max_size=5))
def test_every_tar_and_gzip_reader_sees_the_same_files(files: dict[str, bytes]) -> None:
    files = {"Chart.yaml": CHART, **{f"files/{path}": data for path, data in files.items()}}
    _, archive = pack_chart(files, what="demo")
    assert dict(chart_files(archive, what="demo")) == files
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        found = {member.name: tar.extractfile(member) for member in tar}
        assert {name[5:]: file.read() for name, file in found.items() if file} == files


def test_long_and_foreign_names() -> None:
    files = {"Chart.yaml": CHART, "files/" + "x" * 200: b"1", "files/ü": b"2", "files/" + "x" * 89: b"3"}
    assert dict(chart_files(pack_chart(files, what="demo")[1], what="demo")) == files


@pytest.mark.parametrize(
    "present",
    [
        {"charts/inner/Chart.yaml": INNER},
        {"charts/inner-0.1.0.tgz": pack_chart({"Chart.yaml": INNER}, what="inner")[1]},
        {"charts/any-name.tgz": pack_chart({"Chart.yaml": INNER}, what="inner")[1]},
    ],
)
def test_dependencies_that_are_there(present: dict[str, bytes]) -> None:
    metadata, _ = pack_chart({"Chart.yaml": DEPENDING, **present}, what="demo")
    assert [dependency.name for dependency in metadata.dependencies] == ["inner"]


@pytest.mark.parametrize(
    ("present", "command"),
    [
        ({}, "helm dependency update charts/demo"),
        ({"Chart.lock": b""}, "helm dependency build charts/demo"),
        ({"charts/_inner/Chart.yaml": INNER, "charts/README.md": b""}, "helm dependency update charts/demo"),
        ({"charts/other/Chart.yaml": CHART, "charts/other/charts/inner/Chart.yaml": INNER}, "helm dependency update"),
    ],
)
def test_dependencies_that_are_missing(present: dict[str, bytes], command: str) -> None:
    with pytest.raises(UsageError, match="not in charts/: inner") as caught:
        pack_chart({"Chart.yaml": DEPENDING, **present}, what="charts/demo")
    assert command in caught.value.hint


def test_what_can_not_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"demo: Chart\.yaml is missing"):
        pack_chart({"values.yaml": b""}, what="demo")
    with pytest.raises(UsageError, match="no version"):
        pack_chart({"Chart.yaml": b"name: x\nversion: latest"}, what="demo")
    with pytest.raises(UsageError, match="demo/dump: 6000000 bytes"):
        pack_chart({"Chart.yaml": CHART, "dump": bytes(6_000_000)}, what="demo")
    monkeypatch.setattr(chart_pack, "UNPACKED_LIMIT", 1000)
    with pytest.raises(UsageError, match="takes no chart of more than"):
        pack_chart({"Chart.yaml": CHART, "dump": bytes(2000)}, what="demo")
