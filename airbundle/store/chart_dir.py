"""A chart that lies beside the inventory: a directory, which is packed, or an archive, which stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from airbundle.bundle.chart import ARCHIVE_LIMIT, PROVENANCE_LIMIT, UNPACKED_LIMIT, read_metadata
from airbundle.bundle.chart_metadata import ChartMetadata
from airbundle.bundle.chart_pack import pack_chart
from airbundle.bundle.helmignore import IGNORE_NAME, IgnoreRules
from airbundle.errors import UsageError, VerificationError
from airbundle.store.host import read_bounded


@dataclass(frozen=True)
class LocalChart:
    """A chart from this host: its metadata, its archive, and the provenance file beside an archive."""

    metadata: ChartMetadata
    archive: bytes = field(repr=False)
    provenance: bytes | None = field(default=None, repr=False)


def read_local_chart(files: Iterable[tuple[str, Path]], *, what: str) -> LocalChart:
    """Read a local chart.

    Args:
        files: of a directory: path below it, and where the file is; of an archive: one entry, whose path is "".
        what: the chart's path in the inventory, for errors.

    Raises:
        UsageError: it is no chart, it is too large, or dependencies are missing in `charts/`.
        HostError: a file can't be read.
    """
    found = dict(files)
    if set(found) == {""}:
        return _read_archive(found[""], what)
    metadata, archive = pack_chart(read_chart_directory(found, what=what), what=what)
    return LocalChart(metadata, archive)


def _read_archive(path: Path, what: str) -> LocalChart:
    archive = read_bounded(path, ARCHIVE_LIMIT)
    signed = path.with_name(f"{path.name}.prov")
    provenance = read_bounded(signed, PROVENANCE_LIMIT) if signed.is_file() else None
    try:
        return LocalChart(read_metadata(archive, what=what), archive, provenance)
    except VerificationError as error:
        raise UsageError(error.problem, hint="expected a directory with Chart.yaml, or a chart archive") from None


def read_chart_directory(found: Mapping[str, Path], *, what: str) -> dict[str, bytes]:
    """Read the files of a chart's directory, without those that its `.helmignore` names.

    Args:
        found: path below the directory → where the file is.
        what: the directory, for errors.

    Raises:
        UsageError: they are too large, or `.helmignore` can't be read.
        HostError: a file can't be read.
    """
    ignore = read_bounded(found[IGNORE_NAME], PROVENANCE_LIMIT) if IGNORE_NAME in found else b""
    try:
        rules = IgnoreRules(ignore.decode(), what=f"{what}/{IGNORE_NAME}")
    except UnicodeDecodeError:
        raise UsageError(f"{what}/{IGNORE_NAME}: not UTF-8") from None
    files: dict[str, bytes] = {}
    total = 0
    for name, path in sorted(found.items()):
        if rules.ignores_file(name):
            continue
        files[name] = read_bounded(path, UNPACKED_LIMIT)
        total += len(files[name])
        if total > UNPACKED_LIMIT:
            raise UsageError(f"{what}: more than the {UNPACKED_LIMIT} bytes that a chart may have")
    return files
