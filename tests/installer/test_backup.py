"""Backups of a state directory and their restore: what is in them, what is refused, and what a cut-off run leaves."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import airbundle
from airbundle.bundle.digest import sha256
from airbundle.bundle.trust import TrustState
from airbundle.crypto import sealed
from airbundle.errors import AirbundleError, Busy, DocumentError, NoPermission, NoSpace, UsageError, VerificationError
from airbundle.installer import backup as backup_module
from airbundle.installer.backup import back_up, write_backup
from airbundle.installer.backup_format import BackedUp, Backup, file_mode
from airbundle.installer.ca import SiteCa
from airbundle.installer.journal import Journal
from airbundle.installer.restore import open_backup, restore
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.settled import begin
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.verify import write_trust
from tests.installer.bundles import Key, make_key

WORD = b"a passphrase of the backup"
OLD = InstalledBundle("shop", "1.0.0", 7, "sha256:" + "1" * 64, file="shop-1.0.0.airbundle", verified=(1, 2, 3, 4))
NEW = InstalledBundle("shop", "1.1.0", 8, "sha256:" + "2" * 64, file="shop-1.1.0.airbundle", verified=(1, 2, 3, 4))
MANIFEST = sha256(b"kind: Deployment\n").replace(":", "-") + ".yaml"
INSTALLED = Installed(mode="url", registries="/etc/airbundle/registries.yaml", program="0.1", bundles=(NEW, OLD))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("key"), "release")


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "seal", lambda content, word: sealed.seal(content, word, cost=4))


@pytest.fixture
def state(tmp_path: Path, key: Key) -> StateDirectory:
    """A state directory with all that an install leaves, but for what runs."""
    made = StateDirectory(tmp_path / "site/state")
    with made.locked("test"):
        ca = SiteCa.of(made)
        ca.create("CA", ["shop.internal", "127.0.0.0/8"])
        ca.server_certificate(["registry.shop.internal"], label="registry")
        (made.directory("server") / "config.json").write_text("{}")
        (made.directory("bundles") / "shop-1.0.0.airbundle").write_text("bytes of a bundle")
        (made.directory("log") / "server.log").write_text("a log")
        (made.directory("bin") / "airbundle").write_text("a program")
        made.uploads.write_text("{}")
        (made.path("ca") / ".issuer-1.key.7.part").write_text("half of a key")
        pem = key.public.read_bytes()
        trust = TrustState({key.signer.public_key.key_id: pem})
        write_trust(made, trust)
        body = json.loads(made.trust.read_text())
        body["bundles"] = {"shop": {"serial": 8, "newest": "2026-11-21T12:00:00Z"}}
        made.trust.write_text(json.dumps(body))
        Journal(made.journal).note("install", "done", undo=[{"container": "x"}])
        made.write(INSTALLED)
        site = SiteState(made, "berlin-1")
        site.write_cluster(SiteCluster("uid-1", "berlin"))
        site.write(Deployment(1, "shop", "1.1.0", 8, NEW.statement, "2026-11-21T12:00:00Z"))
        site.keep_manifest(b"kind: Deployment\n")
        begin(site, "dns", "sha256:1")
        Journal(site.journal).note("release/web")
    return made


@pytest.fixture
def elsewhere(tmp_path: Path) -> StateDirectory:
    """Where a backup is restored to: nothing is there yet."""
    return StateDirectory(tmp_path / "new host/state")


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and bytes of everything below a directory; directories have none."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def test_what_is_in_a_backup(state: StateDirectory) -> None:
    backup = back_up(state)
    assert sorted(backup.files) == [
        "ca/ca.crt",
        "ca/ca.json",
        "ca/issuer-1.crt",
        "ca/issuer-1.key",
        "ca/issuer-1.passphrase",
        "ca/servers/registry.crt",
        "ca/servers/registry.key",
        "certs/ca.crt",
        "journal.jsonl",
        "server/config.json",
        "sites/berlin-1/deployments/0001.json",
        "sites/berlin-1/journal.jsonl",
        f"sites/berlin-1/manifests/{MANIFEST}",
        "sites/berlin-1/settings/dns.json",
        "sites/berlin-1/site.json",
        "state.json",
        "trust.json",
    ]
    assert b"ENCRYPTED PRIVATE KEY" in backup.files["ca/issuer-1.key"]
    # In the order to install them again; a newer one was seen than the first.
    assert [(each.version, each.older) for each in backup.bundles] == [("1.0.0", True), ("1.1.0", False)]
    assert backup.outside == ("/etc/airbundle/registries.yaml",)
    assert Backup.parse(backup.to_bytes(), what="x") == backup
    assert backup.to_bytes() == backup.to_bytes()


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_all_comes_back_with_its_modes(
    mask: int, state: StateDirectory, elsewhere: StateDirectory, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        write_backup(back_up(state), WORD, tmp_path / "b")
        restore(open_backup(tmp_path / "b", lambda: WORD), elsewhere, source="b")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    was, now = tree(state.root), tree(elsewhere.root)
    gone = {"bundles", "bundles/shop-1.0.0.airbundle", "log", "log/server.log", "bin", "bin/airbundle", "uploads.json"}
    assert set(was) - set(now) == gone | {"ca/.issuer-1.key.7.part"}
    assert set(now) <= set(was)
    changed = {name for name in now if was[name] != now[name]}
    # The journal tells of the restore, and the lock of who held it; the test itself gave the configuration its mode.
    assert changed == {"journal.jsonl", "lock", "server/config.json"}
    assert {now[name][0] for name in ("trust.json", "server/config.json", "lock", "journal.jsonl")} == {0o640}
    assert stat.S_IMODE(elsewhere.root.stat().st_mode) == 0o755
    assert {path.stat().st_uid for path in elsewhere.root.rglob("*")} == {os.geteuid()}
    assert [path.name for path in elsewhere.root.parent.iterdir()] == ["state"]


def test_a_restored_state_is_the_same_site(state: StateDirectory, elsewhere: StateDirectory) -> None:
    backup = back_up(state)
    restore(backup, elsewhere, source="/mnt/stick/b")
    assert elsewhere.read() == INSTALLED
    *before, last = Journal(elsewhere.journal).read()
    assert before == Journal(state.journal).read()
    assert (last.step, last.event) == ("restore", "note")
    assert dict(last.info) == {
        "from": "/mnt/stick/b",
        "created": backup.created,
        "host": backup.host,
        "root": str(state.root),
    }
    ca = SiteCa.of(elsewhere)
    assert ca.info() == SiteCa.of(state).info()
    assert ca.server_certificate(["other.shop.internal"]).renewed  # its key can be opened
    with elsewhere.locked("test"):
        pass


def test_a_ca_alone_can_be_kept(tmp_path: Path, elsewhere: StateDirectory) -> None:
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        SiteCa.of(state).create("CA", ["shop.internal"], passphrase=b"kept nowhere")
    backup = back_up(state)
    assert "ca/issuer-1.passphrase" not in backup.files and not backup.bundles
    restore(backup, elsewhere, source="b")
    assert SiteCa.of(elsewhere, passphrase=lambda: b"kept nowhere").open()


def test_the_lock_is_held_meanwhile(state: StateDirectory, elsewhere: StateDirectory) -> None:
    with state.locked("airbundle install"), pytest.raises(Busy, match="airbundle install"):
        back_up(state)
    backup = back_up(state)
    elsewhere.root.mkdir(parents=True)
    with elsewhere.locked("airbundle install"), pytest.raises(Busy, match="airbundle install"):
        restore(backup, elsewhere, source="b")
    restore(backup, elsewhere, source="b")  # a lock that nobody holds is nothing


def test_nothing_is_no_backup(tmp_path: Path) -> None:
    for root in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="nothing here to back up"):
            back_up(StateDirectory(root))
    assert list(tmp_path.iterdir()) == []


def damage(name: str) -> Callable[[StateDirectory], object]:
    return lambda state: state.path(name).write_bytes(b"{")


@pytest.mark.parametrize(
    "harm",
    [
        damage("state.json"),
        damage("trust.json"),
        damage("ca/ca.json"),
        lambda state: state.journal.write_bytes(b"{}\n"),
        lambda state: state.path("ca/issuer-1.key").unlink(),
        lambda state: state.path("ca/issuer-1.crt").unlink(),
        lambda state: state.path("ca/issuer-1.key").write_bytes(b""),
    ],
)
def test_a_damaged_state_takes_no_good_backups_place(
    harm: Callable[[StateDirectory], object], state: StateDirectory
) -> None:
    harm(state)
    with pytest.raises(AirbundleError) as caught:
        back_up(state)
    assert caught.value.exit_code in (2, 5)


@pytest.mark.parametrize("there", ["state.json", "ca", "precious", ".hidden", "bundles"])
def test_only_an_empty_place_is_restored_to(there: str, state: StateDirectory, elsewhere: StateDirectory) -> None:
    backup = back_up(state)
    elsewhere.root.mkdir(parents=True)
    (elsewhere.root / there).mkdir()
    with pytest.raises(UsageError, match=f"is not empty, there is {there};"):
        restore(backup, elsewhere, source="b")
    assert [path.name for path in elsewhere.root.iterdir()] == [there]
    assert [path.name for path in elsewhere.root.parent.iterdir()] == ["state"]


def test_unpacked_native_code_stays(state: StateDirectory, elsewhere: StateDirectory) -> None:
    (elsewhere.root / "cache/native").mkdir(parents=True)
    (elsewhere.root / "cache/native/x.so").write_text("code")
    restore(back_up(state), elsewhere, source="b")
    assert (elsewhere.root / "cache/native/x.so").read_text() == "code"
    assert elsewhere.read() == INSTALLED


def test_a_link_in_its_place_is_followed(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "big/state")
    restore(back_up(state), StateDirectory(tmp_path / "link"), source="b")
    assert (tmp_path / "link").is_symlink()
    assert StateDirectory(tmp_path / "big/state").read() == INSTALLED


def test_a_mount_point_is_told(state: StateDirectory, small_disk: Path) -> None:
    with pytest.raises(UsageError, match="is a mount point"):
        restore(back_up(state), StateDirectory(small_disk), source="b")
    restore(back_up(state), StateDirectory(small_disk / "state"), source="b")
    assert StateDirectory(small_disk / "state").read() == INSTALLED


def test_a_directory_of_another_user_gets_no_keys(state: StateDirectory, elsewhere: StateDirectory) -> None:
    backup = back_up(state)
    part = elsewhere.root.with_name(".state.restore")
    part.mkdir(parents=True)
    os.chown(part, 12345, 12345)
    with pytest.raises(NoPermission, match="belongs to another user"):
        restore(backup, elsewhere, source="b")
    part.rmdir()
    part.symlink_to(elsewhere.root.parent)
    with pytest.raises(NoPermission, match="belongs to another user"):
        restore(backup, elsewhere, source="b")
    assert [path.name for path in elsewhere.root.parent.iterdir()] == [".state.restore"]


def test_a_group_that_a_directory_hands_down_is_not_taken(state: StateDirectory, elsewhere: StateDirectory) -> None:
    elsewhere.root.parent.mkdir(parents=True)
    os.chown(elsewhere.root.parent, -1, 12345)
    elsewhere.root.parent.chmod(0o2755)
    restore(back_up(state), elsewhere, source="b")
    found = [path.stat() for path in (elsewhere.root, *elsewhere.root.rglob("*"))]
    assert {each.st_gid for each in found} == {os.getegid()}
    assert not any(each.st_mode & stat.S_ISGID for each in found)


KILLED = """
import os, signal, sys
from pathlib import Path
from airbundle.installer import restore
from airbundle.installer.state import StateDirectory
calls = 0
def deadly(function):
    def wrapped(*given, **more):
        global calls
        calls += 1
        if calls == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **more)
    return wrapped
for name in ("make_directory", "write_file", "_own", "_put", "_rename", "check_place", "sync_directory"):
    setattr(restore, name, deadly(getattr(restore, name)))
backup = restore.open_backup(Path(sys.argv[1]), lambda: sys.argv[4].encode())
restore.restore(backup, StateDirectory(Path(sys.argv[2])), source="b")
"""


def test_killed_at_any_step_it_is_there_as_a_whole_or_not_at_all(
    state: StateDirectory, elsewhere: StateDirectory, tmp_path: Path
) -> None:
    write_backup(back_up(state), WORD, tmp_path / "b")
    ends = []
    for number in range(1, 80):
        words = [str(tmp_path / "b"), str(elsewhere.root), str(number), WORD.decode()]
        done = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, capture_output=True, text=True)
        ends.append(done.returncode)
        if done.returncode == 0 or elsewhere.root.exists():
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(ends) > 15 and elsewhere.root.exists()
    assert elsewhere.read() == INSTALLED
    assert SiteCa.of(elsewhere).open()
    # What the killed ones left was used up by the one that came to its end.
    assert [path.name for path in elsewhere.root.parent.iterdir()] == ["state"]
    assert not any(path.name.startswith(".") for path in elsewhere.root.rglob("*"))


BACKUP_KILLED = """
import os, signal, sys
from pathlib import Path
from airbundle.installer import backup
from airbundle.installer.state import StateDirectory
def deadly(*given):
    os.kill(os.getpid(), signal.SIGKILL)
made = backup.back_up(StateDirectory(Path(sys.argv[1])))
os.fsync = deadly
backup.write_backup(made, b"word", Path(sys.argv[2]))
"""


def test_a_backup_that_was_killed_has_no_name(state: StateDirectory, tmp_path: Path) -> None:
    before = tree(state.root)
    words = [str(state.root), str(tmp_path / "b")]
    done = subprocess.run([sys.executable, "-c", BACKUP_KILLED, *words], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "b").exists()
    after = tree(state.root)
    assert {name for name in after if before.get(name) != after[name]} <= {"lock"}
    write_backup(back_up(state), WORD, tmp_path / "b")


def fill(disk: Path, leave: int) -> None:
    status = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - leave)))


@pytest.mark.parametrize("leave", [0, 8192, 24576])
def test_a_full_disk_leaves_nothing(leave: int, state: StateDirectory, small_disk: Path) -> None:
    backup = back_up(state)
    fill(small_disk, leave)
    with pytest.raises(NoSpace):
        restore(backup, StateDirectory(small_disk / "state"), source="b")
    with pytest.raises(NoSpace):
        write_backup(replace(backup, files={**backup.files, "journal.jsonl": bytes(100_000)}), WORD, small_disk / "b")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    (small_disk / "filler").unlink()
    restore(backup, StateDirectory(small_disk / "state"), source="b")


def test_damage_and_passphrases(state: StateDirectory, tmp_path: Path) -> None:
    path = tmp_path / "b"
    write_backup(back_up(state), WORD, path)
    with pytest.raises(UsageError, match="does not open it"):
        open_backup(path, lambda: b"wrong")
    raw = path.read_bytes()

    def ask() -> bytes:
        raise AssertionError("nobody is asked for the passphrase of what is damaged")

    for damaged in (raw[:-1], raw[: len(raw) // 2], b"", raw[:50] + b"\0" + raw[51:], b"something else"):
        path.write_bytes(damaged)
        with pytest.raises(VerificationError):
            open_backup(path, ask)
    with pytest.raises(UsageError, match="no such file"):
        open_backup(tmp_path / "none", ask)


def test_no_file_is_written_over(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("precious")
    for output, words in ((tmp_path / "b", "is there already"), (tmp_path / "none/b", "no such directory")):
        with pytest.raises(UsageError, match=words):
            write_backup(back_up(state), WORD, output)
    assert (tmp_path / "b").read_text() == "precious"
    with pytest.raises(UsageError, match="protects nothing"):
        write_backup(back_up(state), b"", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_newer_ones_are_refused(state: StateDirectory, elsewhere: StateDirectory) -> None:
    backup = back_up(state)
    body = json.loads(backup.files["state.json"])
    for change, words in (({"version": 2}, "has version 2"), ({"program": "999.0"}, "airbundle 999.0 manages")):
        newer = {**backup.files, "state.json": json.dumps({**body, **change}).encode()}
        with pytest.raises(UsageError, match=words):
            restore(replace(backup, files=newer), elsewhere, source="b")
    raw = backup.to_bytes().replace(b'"version": 1\n', b'"version": 2\n')
    assert airbundle.__version__ and raw != backup.to_bytes()
    with pytest.raises(UsageError, match="has version 2, expected 1 at most"):
        Backup.parse(raw, what="x")
    assert list(elsewhere.root.parent.iterdir()) == []


def test_a_file_of_it_that_is_damaged_restores_nothing(state: StateDirectory, elsewhere: StateDirectory) -> None:
    backup = back_up(state)
    for name in ("state.json", "journal.jsonl"):
        with pytest.raises(DocumentError):
            restore(replace(backup, files={**backup.files, name: b"{}\n{}\n"}), elsewhere, source="b")
    assert list(elsewhere.root.parent.iterdir()) == []


def packed(members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), tarfile.REGTYPE if name == "backup.json" else kind
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


HOSTILE = (
    "../x",
    "/etc/passwd",
    "ca/../../x.key",
    "ca/servers/../../x.crt",
    "ca/servers/.x.key",
    "ca/x/y.key",
    "lock",
    "bin/airbundle",
    "ca/servers/a.key\n",
    "state.json/x",
    "bundles/x.airbundle",
    "certs/x.crt",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_without_a_place_is_refused(name: str) -> None:
    assert file_mode(name) is None
    head = json.loads(Backup("t", "1", "h", "/r").to_bytes()[512:].split(b"\0", 1)[0])
    raw = packed({"backup.json": json.dumps({**head, "files": [name]}).encode(), name: b"x"})
    with pytest.raises(VerificationError, match="has no place in a state directory"):
        Backup.parse(raw, what="x")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_files_are_restored(kind: bytes) -> None:
    head = json.loads(Backup("t", "1", "h", "/r").to_bytes()[512:].split(b"\0", 1)[0])
    raw = packed({"backup.json": json.dumps({**head, "files": ["state.json"]}).encode(), "state.json": b""}, kind=kind)
    with pytest.raises(VerificationError):
        Backup.parse(raw, what="x")


@given(st.binary(max_size=2000))
def test_no_other_content_is_a_backup(raw: bytes) -> None:
    for each in (raw, packed({"backup.json": raw})):
        with pytest.raises(VerificationError):
            Backup.parse(each, what="x")


TEXT = st.text(max_size=20)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3))


@given(
    st.dictionaries(
        st.sampled_from(["version", "kind", "apiVersion", "files", "bundles", "outside", "created", "host"]), VALUES
    )
)
def test_a_head_that_says_something_else(changes: dict[str, object]) -> None:
    head = json.loads(Backup("t", "1", "h", "/r").to_bytes()[512:].split(b"\0", 1)[0])
    try:
        parsed = Backup.parse(packed({"backup.json": json.dumps({**head, **changes}).encode()}), what="x")
    except (VerificationError, UsageError):
        return
    assert not parsed.files and all(isinstance(each, BackedUp) for each in parsed.bundles)
