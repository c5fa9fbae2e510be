from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airbundle.bundle.clamav_artifact import clamav_artifacts
from airbundle.bundle.inventory import ClamavRequest
from airbundle.errors import AirbundleError, NotFound, VerificationError
from airbundle.transfer.clamav import ClamavCollection, collect_databases
from tests.support.clamav import make_cdiff, make_cvd, make_sign

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
FRESH = NOW - timedelta(days=1)
ALL = ("main", "daily", "bytecode")


@pytest.fixture(name="directory")
def filled(tmp_path: Path) -> Path:
    """A directory as freshclam and cvdupdate leave it."""
    directory = tmp_path / "db"
    directory.mkdir()
    daily = make_cvd("daily", 27001, FRESH, signatures=3)
    files = {
        "daily.cvd": daily,
        "daily-27001.cvd.sign": make_sign(daily),
        "daily-27000.cvd.sign": b"of an older daily",
        "daily-27001.cdiff": make_cdiff(27001),
        "daily-27001.cdiff.sign": make_sign(make_cdiff(27001)),
        "daily-27002.cdiff": b"of a newer daily",
        "main.cld": make_cvd("main", 62, FRESH, plain=True),
        "bytecode.cvd": make_cvd("bytecode", 335, FRESH),
        "own.ndb": b"Own.Test-1:0:*:4142434445\n",
        "freshclam.dat": b"not ours",
        "other.cvd": b"nobody asked for it",
    }
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


def collect(
    directory: Path, databases: Sequence[str] = ALL, custom: Sequence[Path] = (), now: datetime = NOW
) -> ClamavCollection:
    request = ClamavRequest(str(directory), tuple(databases), where="bundle.yaml:9 clamav")
    return collect_databases(request, source=directory, custom=custom, state=directory.parent / "state", now=now)


def refusal(directory: Path, error: type[AirbundleError] = VerificationError, custom: Sequence[Path] = ()) -> list[str]:
    with pytest.raises(error) as caught:
        collect(directory, custom=custom)
    assert caught.value.hint
    return [str(finding) for finding in caught.value.findings]


def test_takes_what_belongs_together(directory: Path) -> None:
    collection = collect(directory)
    assert sorted(file.name for file in collection.files) == [
        "bytecode.cvd",
        "daily-27001.cdiff",
        "daily-27001.cdiff.sign",
        "daily-27001.cvd.sign",
        "daily.cvd",
        "main.cld",
        "own.ndb",
    ]
    assert [artifact.ref.partition(":")[0] for artifact in clamav_artifacts(collection.files)] == [
        "clamav/bytecode",
        "clamav/custom",
        "clamav/daily",
        "clamav/main",
    ]


def test_facts_are_those_of_the_header(directory: Path) -> None:
    (daily,) = (file for file in collect(directory).files if file.name == "daily.cvd")
    assert daily.info == {"version": "27001", "time": "2026-11-20T12:00:00Z", "signatures": "3", "level": "90"}
    assert daily.size == (directory / "daily.cvd").stat().st_size


def test_only_databases_that_are_asked_for(directory: Path) -> None:
    assert {file.family for file in collect(directory, ["daily"]).files} == {"daily", "custom"}


def test_files_of_the_inventory_come_along(directory: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yar"
    rules.write_text("rule a { condition: false }\n")
    custom = [file.name for file in collect(directory, custom=[rules]).files if file.family == "custom"]
    assert custom == ["own.ndb", "rules.yar"]


def warnings(collection: ClamavCollection) -> list[str]:
    return [f"{finding.code} {finding.where}" for finding in collection.warnings]


def test_unsigned_databases_are_doubtful(directory: Path) -> None:
    assert warnings(collect(directory)) == ["clamav-unsigned bytecode.cvd", "clamav-unsigned daily.cvd"]


def test_a_stale_daily_is_a_warning(directory: Path) -> None:
    (finding,) = (each for each in collect(directory, now=NOW + timedelta(days=7)).warnings if "stale" in each.code)
    assert finding.severity == "warning"
    assert finding.where == "daily.cvd"
    assert finding.found == "version 27001 of 2026-11-20T12:00:00Z, 8 days old"


def test_the_newer_of_two_forms_is_taken(directory: Path) -> None:
    (directory / "daily.cld").write_bytes(make_cvd("daily", 27002, FRESH, plain=True))
    (directory / "daily-27002.cdiff").write_bytes(make_cdiff(27002))
    (directory / "main.cvd").write_bytes(make_cvd("main", 62, FRESH))
    collection = collect(directory)
    names = {file.name for file in collection.files}
    assert {"daily.cld", "main.cvd", "daily-27002.cdiff"} <= names
    assert not {"daily.cvd", "main.cld", "daily-27001.cvd.sign"} & names
    assert {"clamav-left-out daily.cvd", "clamav-left-out main.cld"} <= set(warnings(collection))


def test_all_missing_databases_are_told(directory: Path) -> None:
    (directory / "main.cld").unlink()
    (directory / "bytecode.cvd").unlink()
    found = refusal(directory, NotFound)
    assert [text.partition(";")[0] for text in found] == [
        "bundle.yaml:9 clamav: the database main is missing",
        "bundle.yaml:9 clamav: the database bytecode is missing",
    ]


def test_all_damaged_files_are_told_with_what_is_missing(directory: Path) -> None:
    data = bytearray((directory / "daily.cvd").read_bytes())
    data[-1] ^= 1
    (directory / "daily.cvd").write_bytes(data)
    (directory / "bytecode.cvd").write_bytes(b"<html>blocked</html>")
    (directory / "main.cld").unlink()
    found = refusal(directory)
    assert len(found) == 3
    assert "bytecode.cvd: found 20 bytes, expected a CVD header of 512" in found[0]
    assert "daily.cvd: damaged: found MD5" in found[1] or "daily.cvd: broken gzip" in found[1]
    assert "the database main is missing" in found[2]


@pytest.mark.parametrize("place", [0, 30, 600, -30])
def test_one_changed_bit_is_found(directory: Path, place: int) -> None:
    data = bytearray((directory / "daily.cvd").read_bytes())
    data[place] ^= 4
    (directory / "daily.cvd").write_bytes(data)
    assert any("daily.cvd" in text for text in refusal(directory))


def test_a_cut_database_is_found(directory: Path) -> None:
    data = (directory / "daily.cvd").read_bytes()
    (directory / "daily.cvd").write_bytes(data[:-10])
    assert any("daily.cvd" in text for text in refusal(directory))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("daily-27001.cdiff", b"<html>", "no patch"),
        ("daily-27001.cdiff", make_cdiff(26999), "the patch is for version 26999, expected 27001"),
        ("daily-27001.cvd.sign", b"<html>", "no signature file"),
        ("daily-27001.cvd.sign", make_sign(b"something else"), "it is the signature of other bytes than daily.cvd"),
        ("own.ndb", b"", "the file is empty"),
    ],
    # Signatures differ from run to run: they can't name tests that several processes share.
    ids=["patch", "patch-of-another", "signature", "signature-of-another", "custom"],
)
def test_what_lies_beside_is_checked(directory: Path, name: str, data: bytes, words: str) -> None:
    (directory / name).write_bytes(data)
    assert any(words in text for text in refusal(directory))


def test_a_link_that_leads_elsewhere_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (directory / "secret.ndb").symlink_to(tmp_path / "secret")
    (text,) = refusal(directory)
    assert "secret.ndb: is neither a file of this directory nor a link to one" in text


def test_a_link_within_the_directory_is_followed(directory: Path) -> None:
    (directory / "bytecode.cvd").rename(directory / "bytecode-335.dat")
    (directory / "bytecode.cvd").symlink_to("bytecode-335.dat")
    assert "bytecode.cvd" in {file.name for file in collect(directory).files}


def test_custom_files_must_be_signatures_and_have_names_of_their_own(directory: Path, tmp_path: Path) -> None:
    for name in ("notes.txt", "own.ndb"):
        (tmp_path / name).write_text("x")
    found = refusal(directory, custom=[tmp_path / "notes.txt", tmp_path / "own.ndb"])
    assert "notes.txt: is no signature file" in found[0]
    assert "own.ndb: stands twice" in found[1]


def test_sigtool_has_the_last_word_on_signed_databases(directory: Path) -> None:
    # The signature is of the right length and wrong: only who knows ClamAV's key can tell.
    assert shutil.which("sigtool"), "apt install clamav: scripts/test does it"
    forged = make_cvd("daily", 27001, FRESH, dsig="a" * 171)
    (directory / "daily.cvd").write_bytes(forged)
    (directory / "daily-27001.cvd.sign").write_bytes(make_sign(forged))
    (text,) = refusal(directory)
    assert "sigtool says" in text


def test_the_made_up_databases_are_what_clamav_takes_them_for(tmp_path: Path) -> None:
    assert shutil.which("clamscan"), "apt install clamav: scripts/test does it"
    (tmp_path / "daily.cud").write_bytes(make_cvd("daily", 27001, FRESH, signatures=3))
    (tmp_path / "sample").write_text("AIRBUNDLE-TEST-2")
    told = subprocess.run(
        ["sigtool", "--info", str(tmp_path / "daily.cud")], capture_output=True, text=True, check=True
    ).stdout
    assert "Version: 27001\nSignatures: 3\n" in told
    scan = subprocess.run(
        ["clamscan", "--no-summary", "-d", str(tmp_path / "daily.cud"), str(tmp_path / "sample")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Airbundle.Test-2.UNOFFICIAL FOUND" in scan.stdout
