"""`airbundle install --handoff DIR`: files for an administrator, for what the operator may not do himself.

Nothing is changed at the cluster, nor in this host's state. Equal input gives equal bytes, so that a directory in a
repository shows what a new version changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airbundle.bundle.release import RELEASE_NAME
from airbundle.bundle.sizes import counted
from airbundle.errors import UsageError
from airbundle.installer.files import read_file
from airbundle.installer.journal import Journal
from airbundle.installer.owned_directory import OwnedDirectory, OwnedFile, Written
from airbundle.installer.site.handoff_content import README, Handoff, HandoffMaker, statement_of
from airbundle.installer.site.handoff_readme import readme
from airbundle.installer.site.handoff_scripts import ORDER
from airbundle.installer.site.look import Asked
from airbundle.installer.site.order import PHASES
from airbundle.installer.site.reach import reach_cluster
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.steps import outcome
from airbundle.installer.verify import open_trusted
from airbundle.progress import Reporter

INDEX = "handoff.json"
HANDED = ("nodes", "dns", "trust", "releases")
"""Phases that can be handed over; all of them unless `--phases` says otherwise."""

_LIMIT = 64 * 1024 * 1024
_MODE = 0o700
_OURS = re.compile(
    rf"README\.txt|(?:nodes|apply|undo)\.sh|cluster/[0-9]{{2}}-[a-z-]+\.(?:yaml|sh)"
    rf"|releases/(?:{RELEASE_NAME.pattern})/(?:{'|'.join(map(re.escape, ORDER))})"
)


@dataclass(frozen=True)
class HandoffReport:
    """What was handed over.

    Attributes:
        title: of the bundle.
        directory: where it lies.
        written: files that changed, and that were taken away.
    """

    title: str
    site: str
    directory: Path
    handoff: Handoff
    written: Written

    def lines(self) -> Iterator[str]:
        """Yield the report's text."""
        changed = f"{counted(len(self.written.written), 'file')} written, {len(self.written.removed)} taken away"
        yield f"{self.title} at {self.site}: handed over in {self.directory}: " + (
            changed if self.changed else "as it was"
        )
        for release in self.handoff.releases:
            yield f"  release {release.name}: {release.why}"
        if self.handoff.unmarked:
            marks = ", ".join(f"{name}: {{handedOver: true}}" for name in self.handoff.unmarked)
            yield f"  to be written into the site file: releases: {{{marks}}}"
        yield f"  what to run, and as whom: {self.directory / README}"

    @property
    def changed(self) -> bool:
        """Whether a file changed."""
        return bool(self.written.written or self.written.removed)

    def to_json(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {
            "title": self.title,
            "site": self.site,
            "output": str(self.directory),
            "changed": self.changed,
            "written": list(self.written.written),
            "removed": list(self.written.removed),
            "files": sorted(self.handoff.files),
            "releases": [{"name": each.name, "why": each.why} for each in self.handoff.releases],
            "unmarked": list(self.handoff.unmarked),
            "findings": [finding.to_json() for finding in self.handoff.warnings],
        }


def hand_off(asked: Asked, directory: Path, reporter: Reporter) -> HandoffReport:
    """Write a handoff.

    Args:
        asked: the bundle, the site, and the phases that are handed over.
        directory: a new one, or an earlier handoff.
        reporter: gets progress and warnings.

    Raises:
        UsageError: `directory` holds other things; a phase can't be handed over; no registry is installed yet.
        VerificationError, CheckFailed, HostError, RemoteError: bundle, releases or cluster can't be read.
    """
    order, phases = asked.order, handed_phases(asked.order.phases)
    with outcome("unchanged"):
        opened = open_trusted(asked.paths, asked.state, asked.gate, asked.bases)
        with opened as trusted, reach_cluster(order, reporter) as cluster:
            site_state = SiteState(asked.state, order.name)
            run = SiteRun(
                trusted=trusted,
                site=order.site,
                options=asked.options,
                state=asked.state,
                site_state=site_state,
                journal=Journal(site_state.journal),
                cluster=cluster,
                reporter=reporter,
                patience=order.patience,
            )
            with reporter.phase("hand over"):
                handoff, written = owned_handoff(run, phases, directory)
            for finding in handoff.warnings:
                reporter.warn(str(finding))
            return HandoffReport(trusted.title, order.name, directory, handoff, written)


def owned_handoff(run: SiteRun, phases: Sequence[str], directory: Path) -> tuple[Handoff, Written]:
    """Make a handoff and write it; return it and what changed. Changes nothing at the cluster.

    Args:
        run: bundle, site file, state and cluster.
        phases: those of `HANDED` that are handed over.
        directory: a new one, or an earlier handoff.

    Raises:
        UsageError: `directory` holds other things; no registry is installed yet.
        CheckFailed, HostError, RemoteError: releases or cluster can't be read.
    """
    owned = OwnedDirectory(directory, INDEX, "Handoff", _OURS, "install --handoff")
    owned.check()
    handoff = HandoffMaker(run, phases, lambda path: read_file(directory / path, limit=_LIMIT)).make()
    text = readme(run.trusted.title, run.site_state.name, handoff)
    files = {**handoff.files, README: OwnedFile(text.encode(), 0o644)}
    return handoff, owned.write(files, _index(run), _MODE)


def handed_phases(asked: Sequence[str]) -> tuple[str, ...]:
    """Return the phases that are handed over: all that can be where all are asked for, else those asked for.

    Raises:
        UsageError: one can't be handed over.
    """
    if tuple(asked) == PHASES:
        return HANDED
    wrong = [phase for phase in asked if phase not in HANDED]
    if wrong:
        raise UsageError(
            f"--phases {','.join(asked)} --handoff: {', '.join(wrong)} is the operator's own",
            hint=f"hand over some of {', '.join(HANDED)}",
        )
    return tuple(asked)


def _index(run: SiteRun) -> dict[str, Any]:
    statement = run.trusted.statement
    return {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Handoff",
        "bundle": {
            "name": statement.name,
            "version": statement.version,
            "serial": statement.serial,
            "statement": statement_of(run),
        },
        "site": run.site_state.name,
    }
