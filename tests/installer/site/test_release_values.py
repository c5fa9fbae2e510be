"""installer.site.release_values: what a release was deployed with is known when its files are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.bundle.values_file import ValuesFile
from airbundle.errors import DocumentError
from airbundle.installer.site.release_values import keep_values, kept_values
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory


@pytest.fixture
def site(tmp_path: Path) -> SiteState:
    (tmp_path / "state").mkdir()
    return SiteState(StateDirectory(tmp_path / "state"), "berlin")


def test_values_come_back_in_order_and_byte_for_byte(site: SiteState) -> None:
    first = ValuesFile("values/a.yaml", "# ours\nword: ü\n", {"word": "ü"})
    second = ValuesFile("b.yaml", "word: {}\n", {"word": {}})
    digest = keep_values(site, [first, second])
    assert kept_values(site, digest) == [first, second]
    assert kept_values(site, keep_values(site, [])) == []
    assert {path.stat().st_mode & 0o777 for path in site.root.glob("manifests/*")} == {0o600}


@pytest.mark.parametrize("text", [b"", b"{}", b'[{"name": "a"}]', b"[3]", b'[{"name": "a", "text": "- 1"}]'])
def test_what_are_no_values_is_told(site: SiteState, text: bytes) -> None:
    digest = site.keep_manifest(text)
    with pytest.raises(DocumentError):
        kept_values(site, digest)
