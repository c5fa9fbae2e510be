from __future__ import annotations

import json
from pathlib import Path

import pytest

from airbundle.cli.main import main
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image

ZIP = b"PK" * 9000


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = make_images({"docker.io/library/redis:7.2": tiny_image("redis", sizes=(50_000,))})
    return write_bundle(tmp_path / "x.airbundle", made, installer=ZIP).path


def test_a_bundle_is_cut_and_still_verifies(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", str(bundle), "--size", "20KiB", "-o", str(tmp_path / "v"), "--json", "-q"]) == 0
    volumes = json.loads(capsys.readouterr().out)["volumes"]
    assert b"".join(Path(path).read_bytes() for path in volumes) == bundle.read_bytes()
    assert max(Path(path).stat().st_size for path in volumes) <= 20 * 1024
    assert main(["verify", volumes[2], "-q"]) == 0


@pytest.mark.parametrize("size", ["1KiB", "0", "many"])
def test_a_size_that_cannot_be_is_a_usage_error(bundle: Path, tmp_path: Path, size: str) -> None:
    assert main(["split", str(bundle), "--size", size, "-o", str(tmp_path / "v")]) == 2
    assert not (tmp_path / "v").exists()


def test_the_volumes_are_listed(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # As `build` has it, too.
    assert main(["split", str(bundle), "--split-size", "100KiB", "-o", str(tmp_path / "v")]) == 0
    text = capsys.readouterr().out
    assert "x.airbundle.001" in text
    assert "sha256sum -c x.airbundle.sha256" in text


def test_what_is_to_be_pasted_is_quoted(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = bundle.rename(bundle.with_name("my x.airbundle"))
    assert main(["split", str(named), "--size", "100KiB", "-o", str(tmp_path / "v")]) == 0
    assert "sha256sum -c 'my x.airbundle.sha256'" in capsys.readouterr().out
