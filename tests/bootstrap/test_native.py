from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airbundle.bootstrap import native

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
