"""Must show 4: the commands of docs/verify.md work as they are printed there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.workshop import Workshop
from tests.support.cosign import MISSING, cosigns

PAGE = Path(__file__).parents[2] / "docs" / "verify.md"


def commands() -> list[str]:
    """Return the page's shell blocks, in order; the first sets B and KEY."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def as_printed(workshop: Workshop, built: BuiltCorpus, block: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    settings = f'B="{built.path}"\nKEY="{workshop.public_key}"\n'
    return subprocess.run(
        ["sh", "-c", settings + block], cwd=cwd, capture_output=True, text=True, env=workshop.env, check=False
    )


def test_the_page_begins_with_the_names() -> None:
    assert commands()[0] == "B=NAME-VERSION.airbundle\nKEY=release.pub\n"


def test_statement_signature_and_installer(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    take, check, prove = commands()[1:4]
    done = as_printed(workshop, built, take, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "airbundle" / "statement.json").exists()
    done = as_printed(workshop, built, check, tmp_path)
    assert (done.returncode, done.stdout) == (0, "Verified OK\n"), done.stderr
    done = as_printed(workshop, built, prove, tmp_path)
    digests = re.findall(r"[0-9a-f]{64}", done.stdout)
    assert done.returncode == 0, done.stderr
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_another_key_is_refused(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    take, check = commands()[1:3]
    as_printed(workshop, built, take, tmp_path)
    workshop.do("key", "generate", "-o", tmp_path / "other.key")
    done = as_printed(workshop, built, f'KEY="{tmp_path}/other.pub"\n{check}', tmp_path)
    assert done.returncode != 0
    assert "Verified OK" not in done.stdout


def test_the_whole_file(workshop: Workshop, built: BuiltCorpus) -> None:
    block = next(block for block in commands() if "sha256sum -c" in block)
    settings = f'B="{built.path.name}"\nKEY="{workshop.public_key}"\n'
    done = subprocess.run(
        ["sh", "-ec", settings + block], cwd=built.path.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"Verified OK\n{built.path.name}: OK\n"), done.stderr


def test_verify_by_its_own_installer(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    block = next(block for block in commands() if 'python3 "$B" verify' in block)
    done = as_printed(workshop, built, block.splitlines()[0], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cosign", cosigns() or [pytest.param(None, marks=pytest.mark.skip(reason=MISSING))], ids=str)
def test_with_cosign(workshop: Workshop, built: BuiltCorpus, tmp_path: Path, cosign: Path) -> None:
    as_printed(workshop, built, commands()[1], tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cosign").symlink_to(cosign)
    block = next(block for block in commands() if "cosign verify-blob" in block)
    done = as_printed(workshop, built, f'PATH="{tmp_path}/bin:$PATH"\n{block}', tmp_path)
    assert done.returncode == 0, done.stderr
