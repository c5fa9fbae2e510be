"""Support archives: what is in them, what never is, and that nothing broken keeps the rest out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbundle.bundle.serving import ServerConfig
from airbundle.bundle.trust import TrustState
from airbundle.errors import Interrupted, NoSpace, UsageError
from airbundle.installer import support as support_module
from airbundle.installer import support_archive
from airbundle.installer.ca import SiteCa
from airbundle.installer.journal import Journal
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.support import gather, write_support
from airbundle.installer.verify import write_trust
from airbundle.progress import SILENT
from tests.installer.bundles import Key, make_key

PASSWORD, BASIC, SIGNED = "S3cret-pass/word+", "Y2Fyb2w6UzNjcmV0", "S1GNED-9f8e7d6c"
WORD = b"the passphrase of this CA"
PARTS = {
    "versions.json",
    "programs.json",
    "host.json",
    "disks.json",
    "ports.json",
    "files.json",
    "state.json",
    "trust.json",
    "journal.jsonl",
    "server/config.json",
    "ca/ca.json",
    "lock",
    "certificates.json",
    "registries.json",
    "log/server.log",
    "log/access.log",
    "service.json",
    "status.json",
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("key"), "release")


@pytest.fixture
def state(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    """A site with secrets wherever one can be."""
    monkeypatch.setenv("AIRBUNDLE_RETRY_SECONDS", "0")
    monkeypatch.setenv("HTTPS_PROXY", f"http://carol:{PASSWORD}@proxy.internal:3128")
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", WORD.decode())
    registries = tmp_path / "registries.yaml"
    auth = {"username": "carol", "password": PASSWORD}
    document = {
        "mirrors": {"docker.io": {"endpoint": ["https://mirror.internal/v2"]}},
        "configs": {"mirror.internal": {"auth": auth}, "r.internal": {"auth": {"auth": BASIC}}},
    }
    registries.write_text(json.dumps(document).replace(BASIC, "Y2Fyb2w6UzNjcmV0"))
    made = StateDirectory(tmp_path / "state")
    with made.locked("airbundle test"):
        ca = SiteCa.of(made)
        ca.create("CA of shop", ["shop.internal", "127.0.0.0/8"])
        server = ca.server_certificate(["registry.shop.internal"], label="registry")
        access = made.directory("log") / "access.log"
        config = ServerConfig((), port=1, tls_cert=server.certificate, tls_key=server.key, access_log=str(access))
        (made.directory("server") / "config.json").write_bytes(config.to_bytes())
        log = made.directory("log") / "server.log"
        log.write_text(
            f"[2026-11-21] started\nAuthorization: Basic {BASIC}\nGET https://carol:{PASSWORD}@r/x\n"
            f"password={PASSWORD}\n{server.key.read_text()}done\n"
        )
        access.write_text(f'10.0.0.7 "GET /v2/x/blobs/y?X-Sig={SIGNED} HTTP/1.1" 200\n')
        write_trust(made, TrustState({key.signer.public_key.key_id: key.public.read_bytes()}))
        journal = Journal(made.journal)
        journal.note("load", "failed", info={"error": f"https://carol:{PASSWORD}@r/ refused", "token": SIGNED})
        made.uploads.write_text(json.dumps({"x": f"https://r/upload?_state={SIGNED}"}))
        made.directory("bundles").joinpath("shop-1.0.0.airbundle").write_text("bytes of a bundle")
        bundle = InstalledBundle("shop", "1.0.0", 7, "sha256:" + "1" * 64, file="shop-1.0.0.airbundle")
        made.write(
            Installed(
                "url",
                "http://127.0.0.1:1",
                "http://127.0.0.1:1",
                registries=str(registries),
                server="https://127.0.0.1:1",
                server_here="https://127.0.0.1:1",
                bundles=(bundle,),
            )
        )
    return made


def opened(path: Path) -> dict[str, bytes]:
    """Return the files of an archive, without the directory that they are in."""
    with tarfile.open(path, "r:gz") as tar:
        names = [member.name for member in tar]
        found = {}
        for name in names:
            stream = tar.extractfile(name)
            assert stream is not None and name.startswith("airbundle-support/")
            found[name.partition("/")[2]] = stream.read()
    assert names[0] == "airbundle-support/MANIFEST.json" and names[1:] == sorted(names[1:])
    return found


def written(state: StateDirectory, path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    made = write_support(state, path, SILENT)
    files = opened(path)
    manifest = json.loads(files["MANIFEST.json"])
    assert made.manifest == manifest
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for entry in manifest["contents"]:
        data = files[entry["path"]]
        assert (entry["size"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert set(files) == {"MANIFEST.json", *(entry["path"] for entry in manifest["contents"])}
    return files, manifest


def secrets_of(state: StateDirectory) -> set[bytes]:
    found = {PASSWORD.encode(), BASIC.encode(), SIGNED.encode(), WORD}
    for path in state.root.rglob("*"):
        if path.suffix == ".passphrase":
            found.add(path.read_bytes().strip())
        if path.suffix == ".key":
            found |= {line for line in path.read_bytes().splitlines() if b"-----" not in line}
    assert len(found) > 8
    return found


def test_what_is_in_it_and_no_secret(state: StateDirectory, tmp_path: Path, key: Key) -> None:
    files, manifest = written(state, tmp_path / "s.tar.gz")
    assert set(files) >= PARTS, manifest["failed"]
    everything = b"\n".join(files.values())
    assert not [secret for secret in secrets_of(state) if secret in everything]
    assert b"PRIVATE KEY" not in everything
    assert stat.S_IMODE((tmp_path / "s.tar.gz").stat().st_mode) == 0o600
    # What helps is there.
    assert json.loads(files["trust.json"])["keys"][0]["pem"] == key.public.read_text()
    certificates = {each["file"]: each["certificates"] for each in json.loads(files["certificates.json"])}
    assert certificates["ca/servers/registry.crt"][0]["names"] == ["registry.shop.internal"]
    assert certificates["ca/servers/registry.crt"][0]["daysLeft"] > 300
    assert json.loads(files["registries.json"])["configs"]["mirror.internal"]["logsIn"] is True
    assert json.loads(files["host.json"])["environment"]["HTTPS_PROXY"] == "http://…@proxy.internal:3128"
    assert json.loads(files["status.json"])["healthy"] is False
    assert json.loads(files["state.json"])["bundles"][0]["name"] == "shop"
    assert b"started" in files["log/server.log"] and b"10.0.0.7" in files["log/access.log"]
    assert json.loads(files["journal.jsonl"].splitlines()[1])["info"]["token"] == "…"
    left = {each["what"]: each["why"] for each in manifest["leftOut"]}
    assert left["ca/issuer-1.key"] == left["ca/servers/registry.key"] == "private keys never leave the site"
    assert {"ca/issuer-1.passphrase", "uploads.json", "bundles"} <= set(left)
    assert [each for each in left if each.endswith("registries.yaml")]
    listed = {each["path"]: each for each in json.loads(files["files.json"])}
    assert listed["bundles/shop-1.0.0.airbundle"]["size"] == len("bytes of a bundle")


def test_nothing_is_changed(state: StateDirectory, tmp_path: Path) -> None:
    def seen() -> dict[str, tuple[float, ...]]:
        return {str(path): tuple(path.lstat())[:9] for path in [state.root, *state.root.rglob("*")]}

    before = {name: numbers[:7] + numbers[8:] for name, numbers in seen().items()}  # but for the time of reading
    written(state, tmp_path / "s.tar.gz")
    assert {name: numbers[:7] + numbers[8:] for name, numbers in seen().items()} == before


def test_where_there_is_no_site(tmp_path: Path) -> None:
    files, manifest = written(StateDirectory(tmp_path / "none"), tmp_path / "s.tar.gz")
    assert {"versions.json", "host.json", "disks.json", "status.json"} <= set(files)
    assert {"state.json", "journal.jsonl"} <= {each["what"] for each in manifest["failed"]}
    assert not (tmp_path / "none").exists()


def test_a_user_who_may_not_read_all_gets_the_rest(state: StateDirectory) -> None:
    open_to_all = Path(tempfile.mkdtemp(prefix="ab-support-"))
    try:
        open_to_all.chmod(0o755)
        site = StateDirectory(open_to_all / "state")
        shutil.copytree(state.root, site.root)
        groups, group = os.getgroups(), os.getegid()
        os.setgroups([])
        os.setegid(12345)
        os.seteuid(12345)
        try:
            archive = gather(site, SILENT)
        finally:
            os.seteuid(0)
            os.setegid(group)
            os.setgroups(groups)
        failed = {each["what"]: each["error"] for each in archive.manifest()["failed"]}
        assert "Permission denied" in failed["state.json"] and "Permission denied" in failed["trust.json"]
        assert "Permission denied" in failed[str(site.root / "ca")]
        contents = {each["path"] for each in archive.manifest()["contents"]}
        assert {"versions.json", "disks.json", "files.json", "host.json", "service.json"} <= contents
    finally:
        shutil.rmtree(open_to_all)


HALF = b'{"apiVersion": "airbundle.dev/v1", "password": "S3cret-pass/word+'


def gone(path: Path) -> Path:
    path.unlink()
    return path


HARM: dict[str, Callable[[Path], object]] = {
    "state": lambda root: (root / "state.json").write_bytes(HALF),
    "trust": lambda root: (root / "trust.json").write_bytes(HALF),
    "journal": lambda root: (root / "journal.jsonl").write_bytes(b"\xff\0" + HALF + b"\n" + HALF),
    "config": lambda root: (root / "server/config.json").write_bytes(HALF),
    "ca": lambda root: (root / "ca/ca.json").write_bytes(HALF),
    "certificate": lambda root: (root / "ca/servers/registry.crt").write_bytes(b"-----BEGIN CERTIFICATE-----"),
    "key in a certificate's place": lambda root: (root / "certs/ca.crt").write_bytes(
        (root / "ca/servers/registry.key").read_bytes()
    ),
    "lock": lambda root: (root / "lock").write_bytes(HALF),
    "pipe": lambda root: os.mkfifo(gone(root / "log/server.log")),
    "link": lambda root: gone(root / "log/server.log").symlink_to(root / "ca/issuer-1.passphrase"),
    "directory": lambda root: gone(root / "trust.json").mkdir(),
    "huge": lambda root: os.truncate(root / "state.json", 10**12),
    "long journal": lambda root: os.truncate(root / "journal.jsonl", 10**9),
    "no log": lambda root: gone(root / "log/server.log"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_broken_keeps_nothing_else_out(harm: str, state: StateDirectory, tmp_path: Path) -> None:
    secrets = secrets_of(state)
    HARM[harm](state.root)
    files, manifest = written(state, tmp_path / "s.tar.gz")
    assert harm == "no log" or manifest["failed"], manifest
    everything = b"\n".join(files.values())
    assert not [secret for secret in secrets if secret in everything]
    broken = {name for name in PARTS if name not in files}
    touched = {"status.json", "ports.json", "registries.json", "log/access.log"}  # need what is damaged
    assert len(broken - touched) <= 1, broken
    assert sum(map(len, files.values())) < support_archive.SIZE_LIMIT


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["state.json", "trust.json", "journal.jsonl", "server/config.json", "lock"]), raw=st.binary()
)
def test_any_bytes_in_a_files_place(
    name: str, raw: bytes, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support_module, "_host", lambda archive, state: None)
    state.path(name).write_bytes(raw)
    assert gather(state, SILENT).to_bytes()


def test_it_is_bounded_and_keeps_the_ends(state: StateDirectory, tmp_path: Path) -> None:
    log = state.path("log/server.log")
    line = f"token={SIGNED} " + "x" * 80 + "\n"
    log.write_text("the beginning\n" + line * 60_000 + "the end\n")
    state.path("log/server.log.1").write_text(line * 60_000)
    with state.journal.open("a") as stream:
        stream.write((json.dumps({"step": "x" * 200, "password": PASSWORD}) + "\n") * 40_000)
    files, manifest = written(state, tmp_path / "s.tar.gz")
    assert sum(map(len, files.values())) < support_archive.SIZE_LIMIT
    assert files["log/server.log"].endswith(b"the end\n") and b"beginning" not in files["log/server.log"]
    cut = {each["path"] for each in manifest["contents"] if each.get("cut")}
    assert cut == {"log/server.log", "log/server.log.1", "journal.jsonl"}
    everything = b"\n".join(files.values())
    assert SIGNED.encode() not in everything and PASSWORD.encode() not in everything


def test_what_does_not_fit_is_told(state: StateDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support_archive, "SIZE_LIMIT", support_archive._MANIFEST_RESERVE + 8000)
    files, manifest = written(state, tmp_path / "s.tar.gz")
    assert sum(len(data) for name, data in files.items() if name != "MANIFEST.json") <= 8000
    assert any("would make the archive larger" in each["why"] for each in manifest["leftOut"])


def test_equal_contents_give_equal_bytes(state: StateDirectory) -> None:
    archive = gather(state, SILENT)
    assert archive.to_bytes() == archive.to_bytes()


def test_a_full_disk_leaves_nothing(state: StateDirectory, small_disk: Path) -> None:
    status = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(status.f_bavail * status.f_frsize - 4096))
    with pytest.raises(NoSpace):
        write_support(state, small_disk / "s.tar.gz", SILENT)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_no_file_is_written_over(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    for output in (tmp_path / "s", tmp_path / "none/s"):
        with pytest.raises(UsageError):
            write_support(state, output, SILENT)
    assert (tmp_path / "s").read_text() == "precious"


def test_an_interruption_is_no_part_that_failed(
    state: StateDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(state: StateDirectory) -> None:
        raise Interrupted("terminated", signal=15)

    monkeypatch.setattr(support_module, "read_status", interrupted)
    with pytest.raises(Interrupted):
        write_support(state, tmp_path / "s", SILENT)
    assert not (tmp_path / "s").exists()


def test_a_fault_of_ours_is_told_and_the_rest_is_there(
    state: StateDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(state: StateDirectory) -> None:
        raise RuntimeError(f"password={PASSWORD}")

    monkeypatch.setattr(support_module, "read_status", broken)
    files, manifest = written(state, tmp_path / "s")
    assert {"what": "status.json", "error": "RuntimeError: password=…"} in manifest["failed"]
    assert "journal.jsonl" in files
