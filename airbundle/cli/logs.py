"""What the libraries log becomes lines of progress: warnings always, all else with `--verbose`."""

from __future__ import annotations

import logging

from airbundle.cli.console import Console


class Told(logging.Handler):
    """Hands records of airbundle's own loggers to the console. Others' go nowhere: they may hold whole URLs."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._logger = logging.getLogger("airbundle")
        self._before = self._logger.level

    def begin(self) -> None:
        """Listen; call it once the form of the answer is known."""
        if not logging.getLogger().handlers:
            logging.getLogger().addHandler(logging.NullHandler())
        self._before = self._logger.level
        self._logger.setLevel(logging.INFO if self._console.verbose else logging.WARNING)
        self._logger.addHandler(self)

    def end(self) -> None:
        """Listen no more."""
        if self in self._logger.handlers:
            self._logger.removeHandler(self)
            self._logger.setLevel(self._before)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        tell = self._console.reporter.warn if record.levelno >= logging.WARNING else self._console.reporter.event
        tell(record.getMessage())
