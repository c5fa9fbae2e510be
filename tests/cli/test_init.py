from __future__ import annotations

import json
from pathlib import Path

import pytest

from airbundle.bundle.inventory import parse_inventory
from airbundle.bundle.site import parse_site
from airbundle.cli.main import main


def test_writes_a_commented_inventory_that_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "My App")]) == 0
    out = capsys.readouterr().out
    assert all(f"`airbundle {command} '{tmp_path}/My App'`" in out for command in ("scan", "lock"))
    raw = (tmp_path / "My App" / "bundle.yaml").read_bytes()
    assert parse_inventory(raw).name == "my-app"
    assert raw.count(b"#") > 20


def test_its_examples_are_valid_too(tmp_path: Path) -> None:
    main(["init", str(tmp_path / "x")])
    lines = (tmp_path / "x" / "bundle.yaml").read_text().splitlines()
    # What is indented or looks like a field, and is commented out, is an example.
    examples = [
        line.replace("# ", "", 1) if "  # " in line[:4] or line.startswith("# clamav") else line for line in lines
    ]
    start = next(number for number, line in enumerate(examples) if line == "clamav:")
    for number in range(start + 1, start + 3):
        examples[number] = examples[number].replace("# ", "", 1).replace("#  ", "  ", 1)
    inventory = parse_inventory("\n".join(examples).encode())
    assert len(inventory.images) == 5
    assert len(inventory.charts) == 3
    assert len(inventory.files) == 2
    assert inventory.clamav is not None
    assert inventory.releases[1].needs == ("cert-manager",)


def test_writes_a_site_file(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "berlin"), "--site"]) == 0
    site = parse_site((tmp_path / "berlin" / "site.yaml").read_bytes())
    assert (site.name, site.registry.mode) == ("berlin", "embedded")
    assert "`local`: this host is the cluster's only node" in (tmp_path / "berlin" / "site.yaml").read_text()


def test_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle.yaml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "bundle.yaml").read_text() == "mine"


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").symlink_to(tmp_path / "elsewhere")
    assert main(["init", str(tmp_path)]) == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("document", ["bundle", "site"])
def test_prints_the_schema(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", document]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(["schema", document, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == plain
