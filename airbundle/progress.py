"""The Reporter protocol: how every part tells its progress. Silent by default; `cli` brings the one that prints.

Reporters are called from many threads at once; implementations lock for themselves.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


class Item(Protocol):
    """One thing under way, such as a blob. Leaving the context ends it."""

    def advance(self, count: int) -> None:
        """Report `count` more bytes of this item."""

    def __enter__(self) -> Item: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Phase(Protocol):
    """A part of the work with a known total. Leaving the context ends it."""

    def item(self, label: str, size: int) -> Item:
        """Begin an item of `size` bytes. Its bytes count towards the phase's total."""

    def skip(self, label: str, size: int, reason: str) -> None:
        """Count `size` bytes as done without work, because of `reason` ("exists", "cached")."""

    def __enter__(self) -> Phase: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Reporter(Protocol):
    """Where progress goes."""

    def phase(self, name: str, *, total: int = 0) -> Phase:
        """Begin a phase of `total` bytes (0: unknown or none)."""

    def event(self, message: str) -> None:
        """Tell one thing that happened, in one line."""

    def warn(self, message: str) -> None:
        """Tell one thing that a person should look at, in one line."""


class _Silent:
    def phase(self, name: str, *, total: int = 0) -> Phase:  # noqa: ARG002
        return self

    def item(self, label: str, size: int) -> Item:  # noqa: ARG002
        return self

    def skip(self, label: str, size: int, reason: str) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def event(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass

    def __enter__(self) -> _Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


SILENT: Reporter = _Silent()
