from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from airbundle.errors import DocumentError, Finding, UsageError
from airbundle.store.inventory_dir import InventoryDir, open_inventory
from tests.bundle.documents import minimal

FIELDS: dict[str, Any] = {
    "charts": [{"name": "c", "path": "charts/c"}],
    "manifests": [{"path": "m.yaml", "release": {"name": "r", "values": ["values.yaml"]}}],
}


@pytest.fixture(name="directory")
def written(tmp_path: Path) -> Path:
    (tmp_path / "inv/charts/c/templates").mkdir(parents=True)
    inventory = tmp_path / "inv"
    (inventory / "bundle.yaml").write_bytes(minimal(**FIELDS))
    (inventory / "charts/c/Chart.yaml").write_text("name: c\n")
    (inventory / "charts/c/templates/a.yaml").write_text("a\n")
    (inventory / "m.yaml").write_text("m\n")
    (inventory / "values.yaml").write_text("v\n")
    return inventory


def refusal(directory: Path) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        open_inventory(directory).digest()
    return [str(finding) for finding in caught.value.findings]


def test_opens_a_directory_or_a_file(directory: Path) -> None:
    (directory / "bundle.yaml").rename(directory / "other.yaml")
    with pytest.raises(UsageError, match="there is no inventory"):
        open_inventory(directory)
    opened = open_inventory(directory / "other.yaml")
    assert opened.inventory.where == "other.yaml"
    assert opened.root == directory.resolve()


def test_lists_the_files_of_a_path(directory: Path) -> None:
    opened = open_inventory(directory)
    assert [name for name, _ in opened.files("charts/c")] == ["Chart.yaml", "templates/a.yaml"]
    assert opened.files("m.yaml") == [("", directory.resolve() / "m.yaml")]


def test_the_digest_follows_content_and_names_of_local_files(directory: Path) -> None:
    first = open_inventory(directory).digest()
    assert open_inventory(directory).digest() == first
    seen = {first}
    for change in (
        lambda: (directory / "values.yaml").write_text("other\n"),
        lambda: (directory / "charts/c/templates/a.yaml").write_text("b\n"),
        lambda: (directory / "charts/c/templates/a.yaml").rename(directory / "charts/c/templates/b.yaml"),
        lambda: (directory / "charts/c/new").write_text(""),
    ):
        change()
        seen.add(open_inventory(directory).digest())
    assert len(seen) == 5


def test_files_beside_do_not_count(directory: Path) -> None:
    first = open_inventory(directory).digest()
    (directory / "README").write_text("x")
    assert open_inventory(directory).digest() == first


def test_all_missing_files_are_told_at_once(directory: Path) -> None:
    (directory / "values.yaml").unlink()
    (directory / "m.yaml").unlink()
    found = refusal(directory)
    assert len(found) == 2
    assert "bundle.yaml:10 manifests[0]: 'm.yaml' is not there" in found[0]


@pytest.mark.parametrize("link", ["values.yaml", "charts/c/templates/a.yaml"])
def test_links_that_lead_out_are_refused(directory: Path, tmp_path: Path, link: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    (directory / link).unlink()
    (directory / link).symlink_to(secret)
    assert "leads out of the inventory by a symbolic link" in refusal(directory)[0]


def test_links_inside_are_followed(directory: Path) -> None:
    (directory / "values.yaml").unlink()
    (directory / "values.yaml").symlink_to("m.yaml")
    assert open_inventory(directory).digest().startswith("sha256:")


def test_a_directory_may_not_be_a_link_within_a_chart(directory: Path) -> None:
    (directory / "charts/c/loop").symlink_to(".")
    assert "is a link to a directory" in refusal(directory)[0]


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "m.yaml/x", "\ud800"], ids=ascii)
def test_what_can_be_no_path_is_not_there(directory: Path, path: str) -> None:
    with pytest.raises(DocumentError, match="is not there"):
        open_inventory(directory).resolve(path)


def test_a_pipe_is_no_file(directory: Path) -> None:
    os.mkfifo(directory / "charts/c/pipe")
    assert "is neither a file nor a directory" in refusal(directory)[0]


def test_what_can_be_listed_is_where_odd_entries_are_asked_for(directory: Path, tmp_path: Path) -> None:
    (directory / "charts/c/gone.yaml").symlink_to("nowhere.yaml")
    (directory / "charts/c/out.yaml").symlink_to(tmp_path)
    (directory / "charts/c/loop").symlink_to(".")
    os.mkfifo(directory / "charts/c/pipe")
    odd: list[Finding] = []
    files = open_inventory(directory).files("charts/c", where="here", odd=odd)
    assert [name for name, _ in files] == ["Chart.yaml", "templates/a.yaml"]
    assert [(each.where, each.message.split("' ")[-1]) for each in odd] == [
        ("here", "is not there"),
        ("here", "charts/c/loop is a link to a directory"),
        ("here", "leads out of the inventory by a symbolic link"),
        ("here", "is neither a file nor a directory"),
    ]


def test_a_directory_that_cannot_be_read_is_not_passed_over(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> Any:  # root, who may run this, can read everything
        if os.fspath(path).endswith("templates"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "'charts/c/templates' can't be read; found Permission denied" in refusal(directory)[0]


def test_the_inventory_itself_may_be_below_a_link(directory: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert open_inventory(link).digest() == open_inventory(directory).digest()


def test_foreign_paths_may_be_absolute_and_are_not_needed_to_open(directory: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    images = [{"ref": f"oci-archive:{archive}", "as": "x/y:1"}]
    (directory / "bundle.yaml").write_bytes(minimal(images=images))
    opened: InventoryDir = open_inventory(directory)
    with pytest.raises(DocumentError, match="is not there"):
        opened.resolve(str(archive))
    archive.write_bytes(b"")
    assert opened.resolve(str(archive)) == archive.resolve()
