"""The zip application: its bytes, and that it runs on every bare Python this machine has."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.builder.installer_zip import build_zip, write_installer
from airbundle.bundle.lock import InstallerPart
from airbundle.deploy.pins import Pin, PinTable
from airbundle.errors import HostError, MissingContent
from airbundle.store.cache import Cache
from tests.support.corpus import cache_root
from tests.support.locks import once_per_machine
from tests.support.pythons import old_pythons, pythons

NATIVE = "from airbundle.bootstrap.native import install_finder; install_finder(); import cryptography, sys; "


@pytest.fixture(scope="module")
def parts_cache() -> Cache:
    """A cache with the installer's wheels, fetched once per machine."""
    cache = Cache(cache_root() / "installer-parts")
    with once_per_machine("installer-parts"):
        ensure_parts(pinned_parts(), cache)
    return cache


@pytest.fixture(scope="module")
def installer(parts_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installer alone."""
    return write_installer(tmp_path_factory.mktemp("zip") / "airbundle.pyz", parts_cache).path


def _run(python: Path, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment}
    return subprocess.run([str(python), *map(str, words)], capture_output=True, text=True, env=bare, timeout=120)


def test_equal_parts_give_equal_bytes(parts_cache: Cache) -> None:
    assert build_zip(pinned_parts(), parts_cache) == build_zip(reversed(pinned_parts()), parts_cache)


def test_an_installer_that_cannot_be_written_leaves_nothing(parts_cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "airbundle.pyz").mkdir()
    with pytest.raises(HostError, match=r"cannot write: .*airbundle\.pyz"):
        write_installer(tmp_path / "airbundle.pyz", parts_cache)
    assert [path.name for path in tmp_path.iterdir()] == ["airbundle.pyz"]


def test_pip_that_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.builder.installer_parts._TIMEOUT_SECONDS", 0.01)
    wheel = next(part for part in pinned_parts() if part.name.endswith(".whl"))
    with pytest.raises(MissingContent, match=r"no end after 0\.01 seconds"):
        ensure_parts([wheel], Cache(tmp_path))


def test_nothing_of_this_machine_is_inside(installer: Path) -> None:
    with zipfile.ZipFile(installer) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not [name for name in archive.namelist() if "__pycache__" in name or name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.name)
def test_it_runs_on_a_bare_python(python: Path, installer: Path, tmp_path: Path) -> None:
    done = _run(python, "-I", installer, "--version")
    assert done.returncode == 0, done.stderr
    code = f"import sys; sys.path.insert(0, {str(installer)!r}); {NATIVE} import httpx, yaml, gunicorn, docker"
    done = _run(python, "-I", "-c", code, AIRBUNDLE_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python", old_pythons(), ids=lambda path: path.name)
def test_an_old_python_goes_on_under_a_newer_one(python: Path, installer: Path, tmp_path: Path) -> None:
    (tmp_path / "python3.9").symlink_to(sys.executable)
    done = _run(python, installer, "--version", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python", old_pythons(), ids=lambda path: path.name)
def test_without_a_newer_one_it_says_what_to_install(python: Path, installer: Path) -> None:
    done = _run(python, installer, "--version", AIRBUNDLE_REEXEC="1")
    assert done.returncode == 7
    assert "3.9.2 or newer is needed" in done.stderr


def test_a_file_of_the_cache_that_was_changed_is_not_used(installer: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(installer)!r}); {NATIVE} print(cryptography.__file__)"
    python = pythons()[0]
    first = _run(python, "-I", "-c", code, AIRBUNDLE_CACHE_DIR=str(tmp_path / "cache"))
    module = Path(first.stdout.strip())
    assert tmp_path in module.parents
    module.write_text("raise SystemExit('changed code ran')")
    again = _run(python, "-I", "-c", code, AIRBUNDLE_CACHE_DIR=str(tmp_path / "cache"))
    assert again.returncode == 0, again.stderr


def test_a_cache_that_others_may_write_is_refused(installer: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(installer)!r}); {NATIVE} print(cryptography.__file__)"
    python = pythons()[0]
    first = _run(python, "-I", "-c", code, AIRBUNDLE_CACHE_DIR=str(tmp_path / "cache"))
    Path(first.stdout.strip()).parent.parent.chmod(0o777)
    again = _run(python, "-I", "-c", code, AIRBUNDLE_CACHE_DIR=str(tmp_path / "cache"))
    assert again.returncode != 0
    assert "not a private directory" in again.stderr


def test_it_runs_from_the_end_of_another_file(installer: Path, tmp_path: Path) -> None:
    prefixed = tmp_path / "prefixed.airbundle"
    with prefixed.open("wb") as stream:
        stream.write(os.urandom(100_000))
        with installer.open("rb") as source:
            shutil.copyfileobj(source, stream)
    done = _run(pythons()[0], "-I", prefixed, "--version")
    assert done.returncode == 0, done.stderr
    assert zipfile.ZipFile(io.BytesIO(prefixed.read_bytes())).testzip() is None


def test_it_is_the_post_renderer_that_helm_starts(installer: Path, tmp_path: Path) -> None:
    digest, name = "sha256:" + "1" * 64, "docker.io/library/app"
    table = PinTable("reg.test", {f"{name}:1": Pin(name, "1", digest, digest)}, {name: frozenset({digest})})
    pins = tmp_path / "pins.json"
    pins.write_bytes(table.to_bytes())
    pod = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: app:1}]}\n"
    command = [pythons()[0], installer, "post-render", pins, "--release", "x"]
    done = subprocess.run(list(map(str, command)), input=pod, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"image: reg.test/{name}:1@{digest}".encode() in done.stdout


def test_a_lock_of_another_airbundle_is_refused(parts_cache: Cache) -> None:
    own, *wheels = pinned_parts()
    other = InstallerPart(own.name, "sha256:" + "0" * 64, own.size)
    with pytest.raises(MissingContent, match="another airbundle"):
        ensure_parts([other, *wheels], parts_cache)


def test_a_wheel_that_is_not_what_its_name_says_is_fetched_again(parts_cache: Cache, tmp_path: Path) -> None:
    wheel = min((part for part in pinned_parts() if part.name.endswith(".whl")), key=lambda part: part.size)
    cache = Cache(tmp_path)
    cache.add(b"", "")  # makes its directories
    cache.path(wheel.digest).write_bytes(b"x" * wheel.size)
    ensure_parts([wheel], cache)
    assert cache.read(wheel.digest, wheel.size) == parts_cache.read(wheel.digest, wheel.size)
