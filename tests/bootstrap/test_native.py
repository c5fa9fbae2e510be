from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airbundle.bootstrap import native
from airbundle.errors import NoPermission

WHEELS = [{"name": "x.whl", "files": {"x/__init__.py": hashlib.sha256(b"x = 1").hexdigest()}}]


def container() -> zipfile.ZipFile:
    wheel, whole = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/__init__.py", b"x = 1")
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("native/x.whl", wheel.getvalue())
    return zipfile.ZipFile(whole)


def test_what_another_process_unpacked_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "native" / "identity"

    class Slow(zipfile.ZipFile):
        def read(self, name: Any, pwd: bytes | None = None) -> bytes:
            native._unpack(container(), WHEELS, target)
            return super().read(name, pwd)

    slow = container()
    slow.__class__ = Slow
    native._unpack(slow, WHEELS, target)
    first = (target / "x" / "__init__.py").stat()
    native._unpack(slow, WHEELS, target)
    assert (target / "x" / "__init__.py").stat().st_ino == first.st_ino
    assert [path.name for path in target.parent.iterdir()] == ["identity"]


def test_another_process_may_be_faster_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "native" / "identity"
    remove, others = shutil.rmtree, [True]

    def slow(path: Path, **how: Any) -> None:
        remove(path, **how)
        if others and path == target:
            others.clear()
            native._unpack(container(), WHEELS, target)

    monkeypatch.setattr(shutil, "rmtree", slow)
    native._unpack(container(), WHEELS, target)
    assert not others
    assert (target / "x" / "__init__.py").read_bytes() == b"x = 1"
    assert [path.name for path in target.parent.iterdir()] == ["identity"]


@pytest.mark.parametrize(
    ("configured", "home", "expected"), [("/c", "/h", "/c"), ("c", "/h", "/h/.cache"), ("", "/h", "/h/.cache")]
)
def test_the_cache_lies_where_the_user_has_it(
    monkeypatch: pytest.MonkeyPatch, configured: str, home: str, expected: str
) -> None:
    monkeypatch.delenv(native.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", configured)
    monkeypatch.setenv("HOME", home)
    assert next(native.cache_candidates()) == Path(expected) / "airbundle"


@pytest.mark.parametrize("error", [RuntimeError, KeyError])
def test_a_user_without_a_home_has_no_place_there(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def no_home() -> Path:
        raise error

    monkeypatch.delenv(native.CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert list(native.cache_candidates()) == []


@pytest.fixture
def zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Carry the wheel in a zip application of this host's Python, and return a directory for the cache."""
    archive = tmp_path / "zip"
    with zipfile.ZipFile(archive, "w") as whole:
        whole.writestr("native/x.whl", container().read("native/x.whl"))
        whole.writestr(native.INDEX, "{}")
    monkeypatch.setattr(native, "_archive", lambda: str(archive))
    monkeypatch.setattr(native, "_wheels_for_host", lambda _: [{"name": "x.whl", **WHEELS[0]}])
    (tmp_path / "place").mkdir(mode=0o700)
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "place/cache"))
    return tmp_path / "place"


def owned_by(monkeypatch: pytest.MonkeyPatch, owners: dict[Path, int]) -> None:
    """Let some directories have other owners."""
    lstat = Path.lstat

    def other(path: Path) -> os.stat_result:
        found = lstat(path)
        return os.stat_result((*found[:4], owners.get(path, found.st_uid), *found[5:10]))

    monkeypatch.setattr(Path, "lstat", other)


def test_a_place_of_ones_own_is_unpacked_into(zipped: Path) -> None:
    target = native.unpacked()
    assert (target / "x/__init__.py").read_bytes() == b"x = 1"
    assert native.unpacked() == target and target.parent == zipped / "cache/native"


@pytest.mark.parametrize("mode", [0o1777, 0o775, 0o755])
def test_a_sticky_directory_and_ones_own_group_are_no_harm(zipped: Path, mode: int) -> None:
    zipped.chmod(mode)
    assert native.unpacked().is_dir()


def test_what_everybody_can_write_is_refused(zipped: Path) -> None:
    zipped.chmod(0o777)
    with pytest.raises(NoPermission, match=f"{zipped} can be written by everybody") as refused:
        native.unpacked()
    assert "--cache-dir" in refused.value.hint
    assert not list(zipped.iterdir())


def test_what_lies_below_a_directory_of_another_user_is_refused(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native.unpacked()
    owned_by(monkeypatch, {zipped: os.geteuid() + 1})
    with pytest.raises(NoPermission, match=f"{zipped} belongs to another user"):
        native.unpacked()


def test_who_has_the_root_directory_is_no_stranger(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat
    nobody = 65534

    def other(path: Path, **how: Any) -> os.stat_result:
        found = stat(path, **how)
        return os.stat_result((*found[:4], nobody, *found[5:10])) if path == Path("/") else found

    monkeypatch.setattr(Path, "stat", other)
    owned_by(monkeypatch, {zipped: nobody})
    assert native.unpacked().is_dir()


def test_a_link_does_not_hide_where_the_cache_lies(zipped: Path, tmp_path: Path) -> None:
    zipped.chmod(0o777)
    (tmp_path / "link").symlink_to(zipped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(native.CACHE_VARIABLE, str(tmp_path / "link/cache"))
        with pytest.raises(NoPermission, match=str(zipped)):
            native.unpacked()


def test_who_was_there_first_in_a_directory_for_all_is_refused(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user makes the cache's directory between the look at it and our own making it."""
    zipped.chmod(0o1777)
    unpack = native._unpack

    def late(*arguments: Any) -> None:
        unpack(*arguments)
        owned_by(monkeypatch, {zipped / "cache": os.geteuid() + 1})

    monkeypatch.setattr(native, "_unpack", late)
    with pytest.raises(NoPermission, match="belongs to another user"):
        native.unpacked()
