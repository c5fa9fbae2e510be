"""One file, or volumes in order, as one range of bytes. A volume is a byte range of a bundle and nothing more.

Names: `X.airbundle.001`, `.002`, … They may lie in several directories and are read in place. The whole zip lies in
the last one, so that it runs (design §3).
"""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType

from airbundle.bundle.content import piece_buffer
from airbundle.errors import HostError, UsageError, VerificationError
from airbundle.store.host import host_errors

SUFFIX = ".airbundle"
CHUNK = 128 * 1024
"""Bytes read at once. They stay in the processor's cache: 1 MiB takes five times the kernel time."""

_AGAIN = "let nothing write to it, and carry it again if it is cut"
_WHERE = "put all volumes in one directory, or name each directory with --volumes"
_VOLUME = re.compile(rf"(.*{re.escape(SUFFIX)})\.([0-9]{{3}}|[1-9][0-9]{{3}})")
_SHOWN = 20  # names in a message; how many lack may be claimed by anyone
MOST_VOLUMES = 9999
"""Most volumes of a bundle. A larger number behind a name is a date or the like, and the file no volume."""


@dataclass(frozen=True)
class Part:
    """One open file: where it is, its descriptor, where it begins in the whole and its size, in bytes."""

    path: Path
    fd: int
    start: int
    size: int


class ByteFile:
    """Open files, one after the other, read and written by position. Safe for many threads.

    Attributes:
        parts: the files; none once it is closed.
        path: of the first file.
        size: of all, in bytes.
    """

    def __init__(self, files: Iterable[tuple[Path, int, int]]) -> None:
        """Take over open files.

        Args:
            files: path, descriptor and size in bytes of each, in order. They are closed with this object.
        """
        parts = []
        start = 0
        for path, fd, size in files:
            parts.append(Part(path, fd, start, size))
            start += size
        self.parts = tuple(parts)
        self.path = self.parts[0].path
        self.size = start
        self._starts = [part.start for part in parts]

    @classmethod
    def open(cls, paths: Sequence[Path], *, writable: bool = False) -> ByteFile:
        """Open existing files.

        Raises:
            UsageError: one does not exist, or is no regular file.
            HostError: the system refuses.
        """
        with ExitStack() as undo:
            files = []
            for path in paths:
                fd = _open(path, writable)
                undo.callback(os.close, fd)
                files.append((path, fd, os.fstat(fd).st_size))
            undo.pop_all()
        return cls(files)

    def part_at(self, position: int) -> Part:
        """Return the file that holds the byte at `position` (or the last, beyond the end)."""
        return self.parts[max(bisect_right(self._starts, position) - 1, 0)]

    def parts_of(self, position: int, length: int) -> tuple[Part, ...]:
        """Return the files that hold a range; of an empty one, the file where it would begin."""
        first = max(bisect_right(self._starts, position) - 1, 0)
        last = max(bisect_right(self._starts, position + max(length, 1) - 1), first + 1)
        return self.parts[first:last]

    def segments(self, position: int, length: int) -> list[tuple[int, int, int]]:
        """Return (descriptor, offset in it, bytes) for a range; shorter where the files end."""
        found = []
        for part in self.parts[max(bisect_right(self._starts, position) - 1, 0) :]:
            offset = position - part.start
            count = min(length, part.size - offset)
            if length <= 0:
                break
            if count > 0:
                found.append((part.fd, offset, count))
                position += count
                length -= count
        return found

    def read_into(self, position: int, buffer: memoryview) -> int:
        """Fill `buffer` from `position` on; return how many bytes, fewer only at the end.

        Raises:
            HostError: the disk fails.
        """
        done = 0
        for fd, offset, count in self.segments(position, len(buffer)):
            end = done + count
            while done < end:
                try:
                    got = os.preadv(fd, [buffer[done:end]], offset)
                except OSError as error:
                    raise self._translated("read", fd, error) from error
                if not got:
                    return done
                done += got
                offset += got
        return done

    def read(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, fewer only at the end; the caller has bounded `length`."""
        buffer = bytearray(min(length, max(self.size - position, 0)))
        with memoryview(buffer) as view:
            count = self.read_into(position, view)
        return bytes(buffer) if count == len(buffer) else bytes(buffer[:count])

    def pieces(self, position: int, length: int) -> Iterator[memoryview]:
        """Yield the bytes of a range in pieces, all in one buffer.

        Raises:
            VerificationError: the files became shorter since they were opened.
            HostError: the disk fails.
        """
        with piece_buffer(min(CHUNK, length)) as buffer:
            end = position + length
            while position < end:
                count = self.read_into(position, buffer[: end - position])
                if not count:
                    name = self.part_at(position).path.name
                    raise VerificationError(f"{name}: the file became shorter while it was read", hint=_AGAIN)
                yield buffer[:count]
                position += count

    def will_need(self, position: int, length: int) -> None:
        """Ask the system to read a range ahead. Threads that read apart would make a disk seek at every piece."""
        for fd, offset, count in self.segments(position, length):
            with suppress(OSError):  # advice only
                os.posix_fadvise(fd, offset, count, os.POSIX_FADV_WILLNEED)

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `position`; all of it lies within the files.

        Raises:
            NoSpace: the file system is full.
            HostError: the disk fails.
        """
        with memoryview(data).cast("B") as view:
            done = 0
            for fd, offset, count in self.segments(position, len(view)):
                end = done + count
                while done < end:
                    try:
                        wrote = os.pwrite(fd, view[done:end], offset)
                    except OSError as error:
                        raise self._translated("write", fd, error) from error
                    done += wrote
                    offset += wrote
            if done != len(view):
                raise ValueError(f"{len(view)} bytes at {position} do not lie within {self.size}")

    def sync(self) -> None:
        """Have everything on disk before returning."""
        for part in self.parts:
            with host_errors("write", part.path):
                os.fsync(part.fd)

    def close(self) -> None:
        """Close the files."""
        for part in self.parts:
            os.close(part.fd)
        self.parts = ()

    def __enter__(self) -> ByteFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _translated(self, operation: str, fd: int, error: OSError) -> Exception:
        path = next(part.path for part in self.parts if part.fd == fd)
        try:
            with host_errors(operation, path):
                raise error
        except HostError as translated:
            return translated


def _open(path: Path, writable: bool) -> int:
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
    with host_errors("open", path):
        try:
            fd = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{path}: there is no such file") from None
        except IsADirectoryError:
            raise UsageError(f"{path} is a directory; expected a bundle") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path} is no regular file; a bundle is read by position")
    return fd


def volume_name(bundle: str, number: int) -> str:
    """Return the name of a volume: `X.airbundle.001`; numbers begin at 1."""
    return f"{bundle}.{number:03}"


def bundle_path(path: Path) -> Path:
    """Return the path of the whole bundle that `path`, a bundle or a volume, is or belongs to."""
    match = _VOLUME.fullmatch(path.name)
    return path.with_name(match[1]) if match else path


def real_path(path: Path) -> Path:
    """Return where a path leads to. A link that leads to itself stays, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


def cut(total: int, size: int, tail: int) -> list[int]:
    """Return the sizes of the volumes of a bundle, all in bytes.

    Args:
        total: of the bundle.
        size: of a volume, at most.
        tail: of the zip at the end, which lies whole in the last volume.

    Raises:
        UsageError: the zip does not fit a volume, or there would be too many of them.
    """
    if size >= 1 and -(-total // size) > MOST_VOLUMES:
        raise UsageError(
            f"volumes of {size} bytes are too small: there would be more than {MOST_VOLUMES}",
            hint=f"give at least {-(-total // MOST_VOLUMES // 1024**2)}MiB",
        )
    if size < max(tail, 1):
        raise UsageError(
            f"volumes of {size} bytes are too small: the installer of {tail} bytes lies whole in the last one",
            hint=f"give at least {-(-tail // 1024**2)}MiB, or build with --no-installer",
        )
    return list(_cut(total, size, tail))


def _cut(total: int, size: int, tail: int) -> Iterator[int]:
    position, zip_start = 0, total - tail
    while total - position > size:
        # The last cut moves forward to the zip where it would fall into it.
        end = min(position + size, zip_start)
        yield end - position
        position = end
    yield total - position


def check_sizes(file: ByteFile, expected: int | None = None, tail: int = 0) -> None:
    """Check that each volume has the size it must have, as far as that can be told.

    Args:
        file: the volumes, or one file.
        expected: bytes of the whole bundle, once they are known.
        tail: bytes of the zip at its end.

    Raises:
        VerificationError: names the volume that is cut, too long or missing.
    """
    if len(file.parts) < 2 or file.size == expected:
        return
    # All but the last two are equal; the one before the last ends early where the zip begins.
    counts = Counter(part.size for part in file.parts[:-1])
    usual = max(counts, key=lambda size: (counts[size], size))
    sizes = [usual] * (len(file.parts) - 2)
    if expected is not None and usual >= max(tail, 1):
        sizes = list(islice(_cut(expected, usual, tail), len(file.parts) + _SHOWN))
    for part, size in zip(file.parts, sizes):
        if part.size != size:
            raise _wrong_size(part, f"{size}")
    # Of two volumes the first may be the shorter one, and tells nothing.
    for part in file.parts[len(sizes) :]:
        if part.size > usual and len(file.parts) > 2:
            raise _wrong_size(part, f"at most {usual}")
    if len(file.parts) < len(sizes):
        name = bundle_path(file.path).name
        names = [volume_name(name, number) for number in range(len(file.parts) + 1, len(sizes) + 1)]
        raise VerificationError(f"{', '.join(names)}: missing", hint=_WHERE)


def _wrong_size(part: Part, expected: str) -> VerificationError:
    return VerificationError(
        f"{part.path.name}: found {part.size} bytes, expected {expected}",
        hint="this volume is cut, or of another bundle; carry it again",
    )


def find_parts(paths: Sequence[Path]) -> list[Path]:
    """Return the file, or the volumes in order, that belong to what was named.

    Args:
        paths: a bundle; or any of its volumes, directories that hold volumes, or several of both.

    Raises:
        UsageError: nothing is there, or more than one bundle.
        VerificationError: a volume between others, or the first, is missing.
    """
    if len(paths) == 1 and not paths[0].is_dir() and not _is_volume(paths[0]):
        return [paths[0]]
    volumes: dict[str, dict[int, Path]] = {}
    whole: dict[Path, Path] = {}
    for path in paths:
        _look(path, volumes, whole)
    named = [match[1] for path in paths if (match := _VOLUME.fullmatch(path.name)) and not path.is_dir()]
    if named:
        volumes = {name: numbers for name, numbers in volumes.items() if name in named}
        whole = {}
    shown = ", ".join(str(path) for path in paths)
    if len(volumes) + len(whole) > 1:
        names = sorted([*volumes, *(path.name for path in whole.values())])
        raise UsageError(f"{shown}: there are {len(names)} bundles: {', '.join(names)[:300]}", hint="name one of them")
    if whole:
        return list(whole.values())
    for name, numbers in volumes.items():
        return _complete(name, numbers, shown)
    raise UsageError(f"{shown}: there is no bundle, and no volume of one")


def bundles_in(directory: Path) -> list[Path]:
    """Return the bundles of a directory: the file, or the first volume that is there, of each; by name.

    Raises:
        HostError: the directory can't be read.
    """
    volumes: dict[str, dict[int, Path]] = {}
    whole: dict[Path, Path] = {}
    _look(directory, volumes, whole)
    return sorted([*whole.values(), *(numbers[min(numbers)] for numbers in volumes.values())])


def _is_volume(path: Path) -> bool:
    return _VOLUME.fullmatch(path.name) is not None


def _look(path: Path, volumes: dict[str, dict[int, Path]], whole: dict[Path, Path]) -> None:
    """Sort what `path` names, and the volumes beside it, into `volumes` (by bundle and number) and `whole`."""
    directory = path if path.is_dir() else path.parent
    if not path.exists():
        raise UsageError(f"{path}: there is no such file")
    if path != directory and not _is_volume(path):
        whole.setdefault(real_path(path), path)
        return
    with host_errors("list", directory):
        entries = sorted(directory.iterdir())
    for entry in entries:
        match = _VOLUME.fullmatch(entry.name)
        if match:
            volumes.setdefault(match[1], {}).setdefault(int(match[2]), entry)
        elif path == directory and entry.name.endswith(SUFFIX):
            whole.setdefault(real_path(entry), entry)


def _complete(name: str, numbers: dict[int, Path], shown: str) -> list[Path]:
    missing = list(islice((number for number in range(1, max(numbers) + 1) if number not in numbers), _SHOWN))
    if missing or 0 in numbers:
        listed = ", ".join(volume_name(name, number) for number in missing)
        raise VerificationError(
            f"{shown}: missing {listed or 'the right names'}",
            hint=_WHERE,
        )
    return [numbers[number] for number in sorted(numbers)]
