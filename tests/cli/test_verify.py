from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airbundle.cli.main import main
from airbundle.cli.verify_how import COMMANDS
from airbundle.crypto.keys import FileSigner
from airbundle.store.plan import plan_bundle
from airbundle.store.reader import open_bundle
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image
from tests.support.keys import FIRST, SECOND, signature

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(*signers: FileSigner, expires: str = "", volume_size: int | None = None) -> Path:
        made = make_images({"docker.io/library/redis:7.2": tiny_image("redis")}, expires=expires)
        statement = plan_bundle(made.content, installer=b"zip").statement
        signatures = [signature(signer, statement) for signer in signers]
        path = tmp_path / "x.airbundle"
        return write_bundle(path, made, installer=b"zip", signatures=signatures, volume_size=volume_size).files[0]

    return make


@pytest.fixture
def keys(tmp_path: Path) -> list[str]:
    paths = []
    for name, signer in (("first.pub", FIRST), ("second.pub", SECOND)):
        (tmp_path / name).write_bytes(signer.public_key.pem)
        paths.append(str(tmp_path / name))
    return paths


def test_a_signed_bundle_is_proven(build: Build, keys: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(build(FIRST)), "--key", keys[0]]) == 0
    told = capsys.readouterr()
    assert "whole: " in told.out
    assert f"signed by {FIRST.public_key.key_id}" in told.out
    assert "WARNING" not in told.err


def test_json_says_whether_origin_is_proven(build: Build, keys: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(build(FIRST))
    assert main(["verify", path, "--key", keys[0], "--json", "-q"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["origin"], body["signers"], body["errors"]) == ("proven", [FIRST.public_key.key_id], [])
    assert main(["verify", path, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "not proven"
    assert main(["verify", path, "--key", keys[1], "--json", "-q"]) == 5
    assert json.loads(capsys.readouterr().out)["errors"][0]["type"] == "TrustError"


def test_without_a_key_it_says_loudly_what_is_not_proven(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(build(FIRST))]) == 0
    told = capsys.readouterr()
    assert "ORIGIN OF THIS BUNDLE IS NOT PROVEN" in told.err
    assert "carries no signature" not in told.err
    assert main(["verify", str(build())]) == 0
    assert "carries no signature" in capsys.readouterr().err


def test_unsigned_and_foreign_bundles_are_refused(
    build: Build, keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(build()), "--key", keys[0]]) == 5
    assert "not signed" in capsys.readouterr().err
    assert main(["verify", str(build(SECOND)), "--key", keys[0]]) == 5
    assert SECOND.public_key.key_id in capsys.readouterr().err


def test_the_threshold_is_held(build: Build, keys: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--key", keys[0], "--key", keys[1], "--threshold", "2"]
    assert main(["verify", str(build(FIRST, SECOND)), *both]) == 0
    assert main(["verify", str(build(FIRST)), *both]) == 5
    assert "2 are needed" in capsys.readouterr().err


def test_an_expired_bundle_is_refused_unless_allowed(
    build: Build, keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(build(FIRST, expires="2026-01-02T00:00:00Z"))
    assert main(["verify", path, "--key", keys[0]]) == 5
    assert "expired" in capsys.readouterr().err
    assert main(["verify", path, "--key", keys[0], "--allow-expired"]) == 0


def test_a_damaged_bundle_is_refused_with_and_without_a_key(
    build: Build, keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = build(FIRST)
    with open_bundle([path]) as bundle:
        digest = bundle.toc.blobs[-1][0]
        place = bundle.table[digest].offset
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    for more in ([], ["--key", keys[0]]):
        assert main(["verify", str(path), *more]) == 5
        error = capsys.readouterr().err
        assert digest in error
        assert "verify: stopped in" in error and "verify: done" not in error


def test_a_volume_names_its_bundle(build: Build, keys: list[str], tmp_path: Path) -> None:
    first = build(FIRST, volume_size=30_000)
    (tmp_path / "other").mkdir()
    first.rename(tmp_path / "other" / first.name)
    assert main(["verify", str(tmp_path / "x.airbundle.002"), "--key", keys[0]]) == 5
    volumes = ["--volumes", str(tmp_path / "other"), "--volumes", str(tmp_path)]
    assert main(["verify", str(tmp_path / "x.airbundle.002"), "--key", keys[0], *volumes]) == 0


@pytest.mark.parametrize("content", [None, b"no key"])
def test_a_key_that_is_none_is_a_usage_error(build: Build, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    assert main(["verify", str(build(FIRST)), "--key", str(tmp_path / "key")]) == 2


def test_a_key_that_is_no_file_is_refused_and_not_waited_for(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.pub")
    assert main(["verify", str(build(FIRST)), "--key", str(tmp_path / "pipe.pub")]) == 2
    assert "pipe.pub is no regular file" in capsys.readouterr().err


def test_how_prints_the_commands_of_the_page(build: Build, keys: list[str], tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    assert all(f"```sh\n{command}\n```" in page for command in COMMANDS)
    # They work as they are printed, up to the one that runs the bundle: this one has no real installer.
    path = build(FIRST)
    done = subprocess.run(
        [sys.executable, "-m", "airbundle", "verify", str(path), "--key", keys[0], "--how"],
        capture_output=True,
        text=True,
        check=True,
    )
    script = done.stdout.rpartition("python3 ")[0]
    ran = subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Verified OK" in ran.stdout
    digests = re.findall("[0-9a-f]{64}", ran.stdout)
    assert len(digests) == 2 and digests[0] == digests[1]


def test_how_needs_no_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--how"]) == 0
    assert "B=NAME-VERSION.airbundle\nKEY=release.pub\n" in capsys.readouterr().out
