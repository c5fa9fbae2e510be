"""The zip application at the end of a bundle: airbundle itself and what a bare Python lacks (design §3, §9).

Entries are stored, not compressed, sorted, and have fixed times: equal parts give equal bytes with any zlib.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from airbundle.builder.installer_parts import (
    PART_LIMIT,
    WHEEL,
    check_own_part,
    ensure_parts,
    has_parts,
    own_sources,
    pinned_parts,
)
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.lock import InstallerPart
from airbundle.errors import HostError, UsageError
from airbundle.progress import SILENT, Reporter
from airbundle.store.blob_file import same_file
from airbundle.store.cache import Cache
from airbundle.store.host import host_errors, private_directory, write_atomically

_log = logging.getLogger(__name__)
_EPOCH = (1980, 1, 1, 0, 0, 0)
# PyYAML has no pure wheel; its Python files work without the compiled part beside them.
_STRIPPED = ("pyyaml-",)
_NATIVE_ABI = "abi3"


def build_zip(parts: Iterable[InstallerPart], cache: Cache) -> bytes:
    """Return the zip application.

    Args:
        parts: the wheels, all in the cache; airbundle's own part stands for the running one.
        cache: where they are.
    """
    entries = own_sources()
    entries["__main__.py"] = entries["airbundle/bootstrap/entry.py"]
    native: dict[str, list[Mapping[str, object]]] = {}
    for part in sorted(parts, key=lambda part: part.name):
        if not part.name.endswith(WHEEL):
            continue
        raw = cache.read(part.digest, PART_LIMIT)
        if _is_pure(part.name):
            entries.update(_wheel_sources(raw))
        else:
            entries[f"native/{part.name}"] = raw
            described = {"name": part.name, "files": dict(_native_files(raw))}
            for host in _hosts(part.name):
                native.setdefault(host, []).append(described)
    whole = {host: wheels for host, wheels in native.items() if "_" in host and len(wheels) > 1}
    entries["native/index.json"] = json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
    return _stored(entries)


def kept_zip(
    parts: Iterable[InstallerPart],
    cache: Cache,
    donated: Callable[[], bytes | None] = lambda: None,
    *,
    reporter: Reporter = SILENT,
) -> bytes:
    """Return the zip application as `build_zip` does. The last one is kept beside the cache: making it takes a while.

    Args:
        parts: as `build_zip`; those that the cache lacks are fetched.
        cache: where they are.
        donated: gives the zip of an earlier bundle that is made of the same parts; asked before anything is fetched.
        reporter: told of what is fetched.

    Raises:
        MissingContent: a wheel can't be fetched, or this airbundle is not the one that made the lock.
    """
    parts = tuple(parts)
    check_own_part(parts)
    wanted = hex_of(sha256("".join(f"{part.name}\0{part.digest}\n" for part in parts).encode()))
    path = cache.root / f"installer-{wanted}.zip"
    kept = _kept(path, cache)
    if kept is not None:
        return kept
    raw = None if has_parts(parts, cache) else donated()
    if raw is None:
        ensure_parts(parts, cache, reporter=reporter)
        raw = build_zip(parts, cache)
    try:
        with host_errors("write to the cache", path):
            private_directory(cache.root)
            for older in cache.root.glob("installer-*.zip"):
                older.unlink(missing_ok=True)
            write_atomically(path, raw, mode=0o600)
            # Whoever writes a file of this name writes these bytes.
            cache.records.remember(path.stem, path.stat())
    except HostError as error:  # it only saves time
        _log.info("%s", error.problem)
    return raw


def _kept(path: Path, cache: Cache) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not cache.records.holds(path.stem, status):
                return None
            raw = file.read(status.st_size)
            return raw if len(raw) == status.st_size and same_file(status, os.fstat(descriptor)) else None
    except OSError:
        return None


@dataclass(frozen=True)
class WrittenInstaller:
    """An installer on disk: path, size in bytes, `sha256:…`."""

    path: Path
    size: int
    digest: str


def write_installer(path: Path, cache: Cache, *, reporter: Reporter = SILENT) -> WrittenInstaller:
    """Write the zip application of this version of airbundle alone; it takes its name when it is whole.

    Raises:
        UsageError: there is no such directory.
        MissingContent: a wheel can't be fetched.
        HostError: it can't be written.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no directory {path.parent}", hint="make it, or name another with -o")
    parts = pinned_parts()
    ensure_parts(parts, cache, reporter=reporter)
    raw = build_zip(parts, cache)
    with host_errors("write", path):
        write_atomically(path, raw, mode=0o644)
    return WrittenInstaller(path, len(raw), sha256(raw))


def _is_pure(name: str) -> bool:
    return name.endswith("-none-any.whl") or name.startswith(_STRIPPED)


def _wheel_sources(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a wheel's modules and licences, without compiled parts and pip's own records."""
    with zipfile.ZipFile(io.BytesIO(raw)) as wheel:
        for info in wheel.infolist():
            top, _, rest = info.filename.partition("/")
            if info.is_dir() or info.filename.endswith(".so") or top.endswith(".data"):
                continue
            if top.endswith(".dist-info") and not (rest == "METADATA" or rest.upper().startswith("LICEN")):
                continue
            yield info.filename, wheel.read(info)


def _native_files(raw: bytes) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(io.BytesIO(raw)) as wheel:
        for info in wheel.infolist():
            if not info.is_dir() and ".dist-info/" not in info.filename:
                yield info.filename, hashlib.sha256(wheel.read(info)).hexdigest()


_PYTHONS = ("cp39", "cp310", "cp311", "cp312", "cp313", "cp314")


def _hosts(name: str) -> Iterator[str]:
    """Yield `cp312-x86_64` for each Python and architecture that a native wheel is for."""
    python, abi, platform = name[: -len(WHEEL)].split("-")[2:5]
    machine = "x86_64" if platform.endswith("x86_64") else "aarch64"
    for candidate in _PYTHONS:
        if candidate == python or (abi == _NATIVE_ABI and int(candidate[2:]) >= int(python[2:])):
            yield f"{candidate}-{machine}"


def _stored(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, entries[name])
    return buffer.getvalue()
