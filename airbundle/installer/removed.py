"""What an uninstall took away, what it left on purpose, and what it could not take away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from airbundle.errors import AirbundleError, Finding


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
