"""ClamAV databases: collected from cvdupdate or a directory, and checked before anything is made of them.

Only freshclam and cvdupdate may fetch from ClamAV's servers (their terms of use); airbundle never does.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from airbundle.bundle.clamav import DatabaseName, parse_name
from airbundle.bundle.clamav_artifact import ClamavFile, rfc3339
from airbundle.bundle.inventory import CVDUPDATE, ClamavRequest
from airbundle.errors import Finding, HostError, NotFound, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.clamav_check import (
    check_custom_file,
    check_database,
    check_patch_file,
    check_signature_file,
    check_with_sigtool,
)
from airbundle.transfer.cvdupdate import update_databases

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClamavCollection:
    """Checked files, and warnings about them: stale, unsigned, left out."""

    files: tuple[ClamavFile, ...]
    warnings: tuple[Finding, ...] = ()


def collect_databases(
    request: ClamavRequest,
    *,
    source: Path | None,
    custom: Sequence[Path],
    state: Path,
    now: datetime,
    reporter: Reporter = SILENT,
) -> ClamavCollection:
    """Get and check the databases that an inventory asks for.

    Args:
        request: which; its `source` is `cvdupdate` or a directory.
        source: that directory, resolved; None for cvdupdate.
        custom: the files of `request.custom`, resolved.
        state: a directory that cvdupdate keeps its state and databases in, between runs; airbundle's own.
        now: with a time zone; a daily older than a week gives a warning.
        reporter: where progress goes; warnings are returned, not reported.

    Raises:
        RemoteError: cvdupdate failed; NotFound: databases are missing, all are listed.
        VerificationError: files are damaged or no databases; all are listed.
        HostError, Busy: files can't be read; another run updates them.
    """
    directory = update_databases(request.databases, state, reporter=reporter) if source is None else source
    collecting = _Collecting(request, directory, now, reporter)
    try:
        return collecting.collect(custom)
    except VerificationError:
        if source is None:
            collecting.forget_damaged()
        raise


@dataclass
class _Collecting:
    """One run over a directory; errors are told together at the end."""

    request: ClamavRequest
    directory: Path
    now: datetime
    reporter: Reporter
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    damaged: list[tuple[str, Path]] = field(default_factory=list)

    def collect(self, custom: Sequence[Path]) -> ClamavCollection:
        found = self._listing()
        databases = self._databases(found)
        files = [*databases, *self._beside(found, databases), *self._custom(found, custom)]
        self._doubts(databases)
        missing = self._missing(databases)
        if self.errors:
            ours = self.request.source == CVDUPDATE
            raise VerificationError(
                f"ClamAV files in {self.directory} can't be used",
                hint="damaged downloads were removed: run the command again" if ours else "fetch these files again",
                findings=[*self.errors, *missing],
            )
        if missing:
            raise NotFound(
                f"ClamAV databases are missing in {self.directory}",
                hint="let freshclam or cvdupdate fetch them, or ask for others in `clamav.databases`",
                findings=missing,
            )
        return ClamavCollection(tuple(files), tuple(self.warnings))

    def forget_damaged(self) -> None:
        """Remove damaged downloads: cvdupdate trusts what is there, and would never fetch it again."""
        for name, path in self.damaged:
            _log.warning("removing the damaged download %s", name)
            path.unlink(missing_ok=True)

    def _listing(self) -> list[tuple[DatabaseName, Path]]:
        """Return the files that mean something, by name."""
        try:
            names = sorted(os.listdir(self.directory))
        except OSError as error:
            raise HostError(f"{self.directory} can't be read: {error.strerror}") from None
        top = Path(os.path.realpath(self.directory))
        found = []
        for name in filter(None, map(parse_name, names)):
            real = Path(os.path.realpath(top / name.name))
            # A link that leads elsewhere would carry away what nobody meant to give.
            if top in real.parents and _is_file(real):
                found.append((name, real))
            else:
                self._wrong(name, real, "is neither a file of this directory nor a link to one")
        return found

    def _wrong(self, name: DatabaseName, path: Path, message: str) -> None:
        where = f"{self.directory}/{name.name}"
        self.errors.append(Finding(message.removeprefix(f"{name.name}: "), where, "clamav-file"))
        self.damaged.append((name.name, path))

    def _warn(self, name: str, message: str, code: str, *, found: str = "", hint: str = "") -> None:
        self.warnings.append(Finding(message, name, code, found, hint=hint, severity="warning"))

    def _checked(self, name: DatabaseName, path: Path, check: Callable[[], ClamavFile]) -> list[ClamavFile]:
        try:
            return [check()]
        except VerificationError as error:
            self._wrong(name, path, error.problem)
            return []

    def _databases(self, found: Sequence[tuple[DatabaseName, Path]]) -> list[ClamavFile]:
        """Return the newest good database of each family that is asked for."""
        wanted = [
            (name, path) for name, path in found if name.kind == "database" and name.family in self.request.databases
        ]
        by_family: dict[str, list[ClamavFile]] = {}
        with self.reporter.phase("check ClamAV databases", total=sum(_size(path) for _, path in wanted)) as phase:
            for name, path in wanted:
                with phase.item(name.name, _size(path)) as item:
                    advance = item.advance
                    for file in self._checked(name, path, lambda: _database(path, name, advance)):  # noqa: B023 - called here
                        by_family.setdefault(file.family, []).append(file)
        return [self._newest(files) for files in by_family.values()]

    def _newest(self, files: Sequence[ClamavFile]) -> ClamavFile:
        best = max(files, key=lambda file: (file.header.version if file.header else 0, file.name.endswith(".cvd")))
        for file in files:
            if file is not best:
                self._warn(file.name, f"is left out: {best.name} is as new or newer", "clamav-left-out")
        return best

    def _beside(self, found: Sequence[tuple[DatabaseName, Path]], databases: Sequence[ClamavFile]) -> list[ClamavFile]:
        """Return patches, and signatures of what is carried."""
        versions = {file.family: file.header.version for file in databases if file.header}
        carried = {file.name: file for file in databases}
        patches: list[ClamavFile] = []
        for name, path in found:
            if name.kind == "patch" and name.version <= versions.get(name.family, -1):
                patches += self._checked(name, path, lambda: check_patch_file(path, name))  # noqa: B023 - called here
        carried.update({file.name: file for file in patches})
        signatures: list[ClamavFile] = []
        for name, path in found:
            signed = carried.get(name.signed_name) if name.kind == "signature" else None
            if signed is not None and (signed.header is None or signed.header.version == name.version):
                signatures += self._checked(name, path, lambda: check_signature_file(path, name, signed))  # noqa: B023
        return patches + signatures

    def _custom(self, found: Sequence[tuple[DatabaseName, Path]], custom: Sequence[Path]) -> list[ClamavFile]:
        """Return signatures of one's own: those of the directory, and those the inventory names."""
        named = [(name, path) for name, path in found if name.kind == "custom"]
        names = {name.name for name, _ in named}
        for path in custom:
            name = parse_name(path.name)
            if name is None or name.kind != "custom":
                where = self.request.where
                self.errors.append(
                    Finding("is no signature file", f"{where} {path.name}", expected="such as .ndb, .hdb, .yar")
                )
            elif name.name in names:
                self.errors.append(Finding("stands twice", f"{self.request.where} {path.name}"))
            else:
                named.append((name, path))
                names.add(name.name)
        files: list[ClamavFile] = []
        for name, path in named:
            files += self._checked(name, path, lambda: check_custom_file(path, name))  # noqa: B023 - called here
        return files

    def _doubts(self, databases: Sequence[ClamavFile]) -> None:
        for file in databases:
            header = file.header
            if header is None:
                continue
            # Only a .cvd has its signature in the header; that of a .cld is inside, a .cud has none by design.
            if file.name.endswith(".cvd") and not header.is_signed:
                self._warn(file.name, "is not signed by ClamAV: freshclam and clamd refuse it", "clamav-unsigned")
            if file.family == "daily" and header.is_stale(self.now):
                age = (self.now - header.time).days
                found = f"version {header.version} of {rfc3339(header.time)}, {age} days old"
                hint = "fetch a newer one, then `airbundle lock --update clamav`"
                self._warn(file.name, "the daily database is stale", "clamav-stale", found=found, hint=hint)

    def _missing(self, databases: Sequence[ClamavFile]) -> list[Finding]:
        there = {file.family for file in databases}
        damaged = {name.split(".", 1)[0] for name, _ in self.damaged}
        return [
            Finding(
                f"the database {name} is missing",
                self.request.where,
                "clamav-missing",
                expected=f"{name}.cvd or {name}.cld in {self.directory}",
            )
            for name in self.request.databases
            if name not in there | damaged
        ]


def _database(path: Path, name: DatabaseName, advance: Callable[[int], None]) -> ClamavFile:
    file = check_database(path, name, advance=advance)
    if file.header is not None and file.header.is_signed and not check_with_sigtool(file):
        _log.info("ClamAV's signature of %s was not checked: sigtool is not installed", name.name)
    return file


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _size(path: Path) -> int:
    return path.stat().st_size
