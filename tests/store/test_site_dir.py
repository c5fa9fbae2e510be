from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.errors import DocumentError, UsageError
from airbundle.store.site_dir import open_site

SITE = (
    "apiVersion: airbundle.dev/v1\nkind: Site\nmetadata: {name: berlin}\nvalues: {web: [a.yaml, deep/b.yaml], db: %s}\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A site file with two values files beside it, and one elsewhere."""
    file = tmp_path / "site" / "site.yaml"
    (tmp_path / "site" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere.yaml").write_bytes(b"c: 3\n")
    (tmp_path / "site" / "a.yaml").write_bytes(b"a: 1\n")
    (tmp_path / "site" / "deep" / "b.yaml").write_bytes(b"b: 2\n")
    file.write_text(SITE % (tmp_path / "elsewhere.yaml"))
    return file


def test_values_are_read_from_beside_the_site_file(path: Path) -> None:
    opened = open_site(path)
    assert opened.site.name == "berlin"
    assert opened.read_values("web", 100) == [("a.yaml", b"a: 1\n"), ("deep/b.yaml", b"b: 2\n")]
    assert [raw for _, raw in opened.read_values("db", 100)] == [b"c: 3\n"]
    assert opened.read_values("none", 100) == []


def test_values_that_are_missing_or_too_large(path: Path) -> None:
    opened = open_site(path)
    with pytest.raises(UsageError, match="more than the 3 bytes"):
        opened.read_values("web", 3)
    (path.parent / "a.yaml").unlink()
    with pytest.raises(UsageError, match=r"site.yaml values.web: 'a.yaml' is not there"):
        opened.read_values("web", 100)


def test_what_is_no_site_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no site file"):
        open_site(tmp_path)
    (tmp_path / "site.yaml").write_text("kind: Bundle\n")
    with pytest.raises(DocumentError):
        open_site(tmp_path / "site.yaml")
