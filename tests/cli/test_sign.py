from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from airbundle.cli.main import main
from airbundle.crypto.keys import load_public_key, load_signer
from airbundle.progress import SILENT
from airbundle.store.plan import plan_bundle
from airbundle.store.reader import open_bundle
from airbundle.store.sign import sign_bundle
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image
from tests.support.keys import PASSPHRASE, SECOND, key_files, signature


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", PASSPHRASE.decode())


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    made = make_images({"docker.io/library/redis:7.2": tiny_image("redis")})
    return write_bundle(tmp_path / "out" / "x.airbundle", made, installer=b"zip").path


def test_only_the_signatures_are_rewritten(unsigned: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    before = unsigned.read_bytes()
    assert main(["sign", str(unsigned), "--key", str(private)]) == 0
    after = unsigned.read_bytes()
    with open_bundle([unsigned]) as bundle:
        place = bundle.head["airbundle/signatures"]
    assert before[: place.offset] == after[: place.offset]
    assert before[place.end :] == after[place.end :]
    assert main(["verify", str(unsigned), "--key", str(public)]) == 0


def test_it_gives_what_a_signed_build_gives(unsigned: Path, tmp_path: Path) -> None:
    private, _ = key_files(tmp_path, 0x5555666677778888)
    made = make_images({"docker.io/library/redis:7.2": tiny_image("redis")})
    signatures = [signature(SECOND, plan_bundle(made.content, installer=b"zip").statement)]
    built = write_bundle(tmp_path / "x.airbundle", made, installer=b"zip", signatures=signatures).path
    assert main(["sign", str(unsigned), "--key", str(private)]) == 0
    assert unsigned.read_bytes() == built.read_bytes()


def test_signatures_add_up_and_the_same_key_counts_once(
    unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one, public_one), (two, public_two) = key_files(tmp_path), key_files(tmp_path, 0x777)
    assert main(["sign", str(unsigned), "--key", str(one)]) == 0
    assert "alone" not in capsys.readouterr().err  # there is one key: .sig is by it
    assert main(["sign", str(unsigned), "--key", str(two)]) == 0
    key_id = load_public_key(public_two.read_bytes()).key_id
    assert f"x.airbundle.sig signs x.airbundle.sha256, which is another now; it is by {key_id} alone" in (
        capsys.readouterr().err
    )
    for key, count in ((one, 2), (two, 2), (one, 2)):
        assert main(["sign", str(unsigned), "--key", str(key), "--json", "-q"]) == 0
        assert len(json.loads(capsys.readouterr().out)["signatures"]) == count
    both = ["--key", str(public_one), "--key", str(public_two), "--threshold", "2"]
    assert main(["verify", str(unsigned), *both]) == 0


def test_a_signature_that_came_since_the_bundle_was_opened_stays(unsigned: Path, tmp_path: Path) -> None:
    (one, public_one), (two, public_two) = key_files(tmp_path), key_files(tmp_path, 0x777)
    with open_bundle([unsigned], writable=True) as opened:
        assert main(["sign", str(unsigned), "--key", str(one)]) == 0
        sign_bundle(opened, load_signer(str(two), lambda: PASSPHRASE), reporter=SILENT)
    both = ["--key", str(public_one), "--key", str(public_two), "--threshold", "2"]
    assert main(["verify", str(unsigned), *both]) == 0


def test_checksum_and_its_signature_are_written_anew(unsigned: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    assert main(["sign", str(unsigned), "--key", str(private)]) == 0
    sums = unsigned.with_name("x.airbundle.sha256")
    assert sums.read_text() == f"{hashlib.sha256(unsigned.read_bytes()).hexdigest()}  x.airbundle\n"
    raw = tmp_path / "signature"
    raw.write_bytes(base64.b64decode(unsigned.with_name("x.airbundle.sig").read_bytes(), validate=False))
    command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(raw), str(sums)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"Verified OK\n"


def test_checksums_can_be_left_alone(unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, _ = key_files(tmp_path)
    before = unsigned.with_name("x.airbundle.sha256").read_bytes()
    assert main(["sign", str(unsigned), "--key", str(private), "--no-checksum"]) == 0
    assert unsigned.with_name("x.airbundle.sha256").read_bytes() == before
    assert not unsigned.with_name("x.airbundle.sig").exists()
    assert "those of the file before" in capsys.readouterr().err


def test_volumes_are_signed_in_place(tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    made = make_images({"docker.io/library/redis:7.2": tiny_image("redis")})
    (tmp_path / "v").mkdir()
    files = write_bundle(tmp_path / "v" / "x.airbundle", made, installer=b"zip", volume_size=20_000).files
    assert main(["sign", str(files[-1]), "--key", str(private)]) == 0
    assert main(["verify", str(files[0]), "--key", str(public)]) == 0
    command = ["sha256sum", "--quiet", "-c", "x.airbundle.sha256"]
    assert subprocess.run(command, cwd=tmp_path / "v", check=True).returncode == 0


def test_a_damaged_bundle_is_not_signed(unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, _ = key_files(tmp_path)
    raw = bytearray(unsigned.read_bytes())
    raw[-2000] ^= 1
    unsigned.write_bytes(raw)
    assert main(["sign", str(unsigned), "--key", str(private)]) == 5
    assert unsigned.read_bytes() == bytes(raw)
    assert not unsigned.with_name("x.airbundle.sig").exists()


def test_without_a_key_there_is_nothing_to_do(unsigned: Path) -> None:
    assert main(["sign", str(unsigned)]) == 2


def test_a_wrong_passphrase_changes_nothing(unsigned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = key_files(tmp_path)
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "wrong")
    before = unsigned.read_bytes()
    assert (
        main(["sign", str(unsigned), "--key", str(private)]) == 2
    )  # design §7: what was given is wrong; 7 is for what this user may not
    assert unsigned.read_bytes() == before
