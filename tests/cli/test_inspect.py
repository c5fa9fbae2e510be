from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.layout import INDEX_NAME, LOCK_MEMBER
from airbundle.bundle.statement import Base
from airbundle.cli.main import main
from airbundle.store.plan import BaseBundle, plan_bundle
from airbundle.store.reader import open_bundle
from tests.support.bundles import lock_of, locked, make, make_images, write_bundle
from tests.support.images import index, referrer, tiny_image
from tests.support.keys import FIRST, signature

REDIS = "docker.io/library/redis:7.2"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    redis, both = tiny_image("redis"), index([tiny_image("x"), tiny_image("x", platform="linux/arm64")])
    claim, chart = referrer(redis.descriptor), tiny_image("chart")
    roots = [
        locked(REDIS, redis, referrers=[claim]),
        locked("quay.io/x/y:1", both),
        locked("charts.io/x/cert-manager:1.2.3", chart, kind="chart", info={"version": "1.2.3"}),
    ]
    made = make([redis, both, claim, chart], roots, lock=lock_of(roots, expires="2026-04-01T00:00:00Z"))
    statement = plan_bundle(made.content, installer=b"the zip").statement
    path = tmp_path / "test-1.0.0.airbundle"
    write_bundle(path, made, installer=b"the zip", signatures=[signature(FIRST, statement)])
    return path


def test_it_lists_what_the_bundle_holds(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("test 1.0.0\n")
    for part in (REDIS, "linux/amd64,linux/arm64", "2026-04-01T00:00:00Z", FIRST.public_key.key_id, "a claim"):
        assert part in text
    assert "cert-manager:1.2.3" in text
    assert "and 1 referrer (--all lists them)" in text


def test_all_lists_referrers(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--all"]) == 0
    assert "docker.io/library/redis@sha256:" in capsys.readouterr().out


def test_json_has_every_root(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["name"], body["version"], body["serial"]) == ("test", "1.0.0", 1767225600)
    assert [root["kind"] for root in body["roots"]] == ["image", "image", "chart", "referrer"]
    assert body["roots"][1]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert body["roots"][2]["info"] == {"version": "1.2.3"}
    assert body["installer"]["digest"] == sha256(b"the zip")
    assert body["signatures"] == [FIRST.public_key.key_id]
    assert body["size"] == bundle.stat().st_size


def test_an_unsigned_bundle_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bundle(tmp_path / "x.airbundle", make_images({REDIS: tiny_image("redis")}), installer=None).path
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "NOBODY" in text
    assert "installer  none" in text


def test_a_delta_names_its_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_images({REDIS: tiny_image("redis")})
    base = BaseBundle(Base("test", "0.9.0", 1, sha256(b"")), set(made.content.others))
    path = write_bundle(tmp_path / "x.airbundle", made, base=base).path
    assert main(["inspect", str(path)]) == 0
    assert "delta on   test 0.9.0 (serial 1)" in capsys.readouterr().out


def test_a_first_volume_alone_is_shown_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_images({REDIS: tiny_image("redis", sizes=(200_000,))})
    files = write_bundle(tmp_path / "x.airbundle", made, volume_size=100_000).files
    for path in files[1:]:
        path.unlink()
    assert main(["inspect", str(files[0])]) == 0
    told = capsys.readouterr()
    assert REDIS in told.out
    assert "x.airbundle.002 is missing" in told.err
    assert main(["inspect", str(files[0]), "--json"]) == 0
    assert "x.airbundle.002 is missing" in json.loads(capsys.readouterr().out)["incomplete"]


def test_what_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.airbundle").write_bytes(b"no bundle" * 1000)
    assert main(["inspect", str(tmp_path / "x.airbundle")]) == 5
    assert "oci-layout" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "nothing")]) == 2


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_only_what_it_needs_is_imported(bundle: Path, command: str) -> None:
    """Start-up is most of the time that these take."""
    heavy = "{'httpx', 'cryptography', 'yaml', 'tqdm', 'gunicorn', 'ssl', 'ctypes'}"
    script = f"import sys; from airbundle.cli.main import main; main(sys.argv[1:]); print({heavy} & set(sys.modules))"
    words = [sys.executable, "-c", script, command, "-q", str(bundle)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("option", ["--quiet", "--json", "--all"])
@pytest.mark.parametrize("member", [INDEX_NAME, LOCK_MEMBER])
def test_damage_is_refused_in_every_form(
    bundle: Path, member: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_bundle([bundle]) as opened:
        at = opened.head[member].offset + 40
    raw = bytearray(bundle.read_bytes())
    raw[at] ^= 1
    bundle.write_bytes(raw)
    assert main(["inspect", str(bundle), option]) == 5
    told = capsys.readouterr()
    assert member in told.err
    assert REDIS not in told.out


def test_quiet_says_nothing(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
