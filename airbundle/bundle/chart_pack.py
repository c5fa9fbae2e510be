"""A chart's directory as an archive: equal files give equal bytes, on every machine.

`helm package` differs from run to run. Here tar headers are fixed, names are sorted, and the gzip frame holds stored
blocks, so that no version of zlib has a say in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from airbundle.bundle.chart import FILE_LIMIT, UNPACKED_LIMIT, read_metadata
from airbundle.bundle.chart_metadata import ChartMetadata, Dependency, metadata_of
from airbundle.bundle.gzipstream import GZIP_MAGIC
from airbundle.bundle.helmignore import IGNORE_NAME
from airbundle.bundle.tar import END, header, padded
from airbundle.errors import UsageError, VerificationError

_STORED_LIMIT = 65535
_NAME_FIELD = 100
_GZIP_HEADER = GZIP_MAGIC + b"\x08\0\0\0\0\0\0\xff"  # deflate, no name, no time, unknown system


def pack_chart(files: Mapping[str, bytes], *, what: str) -> tuple[ChartMetadata, bytes]:
    """Return a chart's metadata, and its archive.

    Args:
        files: content by path below the chart's directory, without what `.helmignore` names.
        what: the directory, for errors.

    Raises:
        UsageError: it is no chart, it is too large, or dependencies are missing in `charts/`.
    """
    try:
        metadata = metadata_of(files, what=what)
    except VerificationError as error:
        raise UsageError(error.problem, hint="`helm lint` tells more") from None
    _check_sizes(files, what)
    missing = missing_dependencies(metadata, files, what=what)
    if missing:
        raise _lacking(missing, files, what)
    return metadata, _stored_gzip(_tar(metadata.name, files))


def _check_sizes(files: Mapping[str, bytes], what: str) -> None:
    for path, data in files.items():
        if len(data) > FILE_LIMIT:
            raise UsageError(
                f"{what}/{path}: {len(data)} bytes; helm takes no file of more than {FILE_LIMIT} in a chart",
                hint=f"take it out, or name it in {IGNORE_NAME}",
            )
    total = sum(map(len, files.values()))
    if total > UNPACKED_LIMIT:
        raise UsageError(f"{what}: {total} bytes; helm takes no chart of more than {UNPACKED_LIMIT}")


def missing_dependencies(metadata: ChartMetadata, files: Mapping[str, bytes], *, what: str) -> list[Dependency]:
    """Return the dependencies of a chart that do not lie in its `charts/`; one of several aliases is enough.

    Raises:
        VerificationError: what lies there is no chart.
    """
    if not metadata.dependencies:
        return []
    present = set(_subcharts(files, what))
    first: dict[str, Dependency] = {}
    for dependency in metadata.dependencies:
        first.setdefault(dependency.name, dependency)
    return [dependency for name, dependency in first.items() if name not in present]


def _lacking(missing: Iterable[Dependency], files: Mapping[str, bytes], what: str) -> UsageError:
    locked = "Chart.lock" in files or "requirements.lock" in files
    command = "build" if locked else "update"
    names = ", ".join(sorted(dependency.name for dependency in missing))
    return UsageError(
        f"{what}: Chart.yaml names dependencies that are not in charts/: {names}",
        hint=f"run `helm dependency {command} {what}`, and commit charts/ or run it before each lock",
    )


def _subcharts(files: Mapping[str, bytes], what: str) -> list[str]:
    """Return the names of the charts in `charts/`, unpacked or packed."""
    names = []
    for path, data in files.items():
        parts = path.split("/")
        if parts[0] != "charts" or len(parts) < 2 or parts[1][:1] in ("_", "."):
            continue
        if len(parts) == 3 and parts[2] == "Chart.yaml":
            names.append(metadata_of({"Chart.yaml": data}, what=f"{what}/charts/{parts[1]}").name)
        elif len(parts) == 2 and path.endswith(".tgz"):
            names.append(read_metadata(data, what=f"{what}/{path}").name)
    return names


def _tar(top: str, files: Mapping[str, bytes]) -> bytes:
    # helm reads Chart.yaml first when it is first, as `helm package` has it.
    order = sorted(files, key=lambda path: (path != "Chart.yaml", path))
    parts = [part for path in order for part in _member(f"{top}/{path}", files[path])]
    return b"".join([*parts, END])


def _member(name: str, data: bytes) -> tuple[bytes, ...]:
    padding = bytes(padded(len(data)) - len(data))
    if name.isascii() and len(name) <= _NAME_FIELD:
        return header(name, len(data)), data, padding
    records = _path_record(name.encode())
    short = name.encode("ascii", "replace").decode().replace("?", "_")[:_NAME_FIELD]
    long = header("././@PaxHeader", len(records), b"x") + records + bytes(padded(len(records)) - len(records))
    return long + header(short, len(data)), data, padding


def _path_record(name: bytes) -> bytes:
    """Return the pax record `<its own length> path=<name>\\n`."""
    rest = len(b" path=\n") + len(name)
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d path=%s\n" % (length, name)


def _stored_gzip(data: bytes) -> bytes:
    """Return `data` in a gzip frame of stored blocks (RFC 1951 §3.2.4, RFC 1952)."""
    blocks = []
    for start in range(0, len(data), _STORED_LIMIT):
        piece = data[start : start + _STORED_LIMIT]
        last = start + _STORED_LIMIT >= len(data)
        size = len(piece)
        blocks.append(bytes([last]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + piece)
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"".join([_GZIP_HEADER, *blocks, trailer])
