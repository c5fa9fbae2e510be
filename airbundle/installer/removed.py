"""What an uninstall would take away, and what it took, left on purpose, and could not take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airbundle.errors import AirbundleError, Finding
from airbundle.progress import Phase, Reporter


@dataclass(frozen=True)
class Loss:
    """One thing that an uninstall would take away, or leave on purpose.

    Attributes:
        part: what it is of: `releases`, `data`, `dns`, `nodes`, `files`, `namespaces`, `server`, `registry`, `state`.
        what: it, for people.
        stays: why it is left; empty when it goes.
        site: where; empty for this host.
    """

    part: str
    what: str
    stays: str = ""
    site: str = ""

    @property
    def title(self) -> str:
        """What it is, and where."""
        return f"site {self.site}: {self.what}" if self.site else self.what

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.title} stays: {self.stays}" if self.stays else self.title

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        site = {"site": self.site} if self.site else {}
        return {"part": self.part, **site, "what": self.what, "goes": not self.stays, "why": self.stays}


@dataclass
class Removed:
    """What was taken away, what is left on purpose, and what could not be taken away; one line each."""

    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Finding] = field(default_factory=list)

    def attempt(self, what: str, action: Callable[[], bool]) -> None:
        """Take something away: `action` tells whether it was there. A failure is noted, and the rest goes on."""
        try:
            if action():
                self.removed.append(what)
        except AirbundleError as error:
            self.failed.append(Finding(error.problem, where=what, hint=error.hint))
        except OSError as error:
            self.failed.append(Finding(error.strerror or str(error), where=error.filename or what))

    def add(self, other: Removed) -> None:
        """Add what another part did."""
        self.removed += other.removed
        self.kept += other.kept
        self.failed += other.failed

    @contextmanager
    def told(self, reporter: Reporter, phase: Phase, name: str) -> Iterator[None]:
        """Tell a part of the work as it begins, and how it ended; what it did is noted here."""
        began, removed, failed = time.monotonic(), len(self.removed), len(self.failed)
        reporter.event(f"{name}: begins")
        with phase.item(name, 0):
            yield
        word = "done" if len(self.removed) > removed else "nothing to do"
        if len(self.failed) > failed:
            word = "failed"
        reporter.event(f"{name}: {word}, {time.monotonic() - began:.0f} s")
