"""What commands print with: answers go to stdout, progress and errors to stderr; `--json` leaves one document."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.errors import AirbundleError, Finding, UsageError
from airbundle.progress import SILENT, Reporter

if TYPE_CHECKING:
    from airbundle.cli.reporter import ClosingReporter

PASSPHRASE_VARIABLE = "AIRBUNDLE_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable, not a passphrase
_PASSPHRASE_LIMIT = 4096
_ALIKE = 20
"""Most findings of one message that are printed."""

_UNCHANGED = "nothing was changed"
"""What a person who reads of an error wants to know next, and some errors say themselves."""

# With marks that turn the direction of text round: a line that is shown backwards says something else.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str, *, line: bool = False) -> str:
    """Return text whose control characters are written out: what others wrote must not drive the terminal.

    Args:
        text: perhaps with names from registries, bundles and files inside.
        line: it is one line: a line break in it is no one's who may begin another.
    """
    shown = _CONTROLS.sub(lambda match: _written_out(ord(match[0])), text)
    return shown.replace("\n", "\\n") if line else shown


def _written_out(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each finding; of many that say the same, such as of each blob of a bundle, the first few."""
    count = Counter[str]()
    for finding in findings:
        count[finding.message] += 1
        if count[finding.message] <= _ALIKE:
            yield f"warning: {finding}" if finding.severity == "warning" else str(finding)
    for message, number in count.items():
        if number > _ALIKE:
            yield f"and {number - _ALIKE} more: {message} (--json lists all)"


class Console:
    """One command's door to the terminal."""

    def __init__(self) -> None:
        self.json = False
        self.quiet = False
        self.verbose = False
        self.yes = False
        self._reporter: ClosingReporter | None = None
        self._passphrase: str | None = None

    def take_passphrase(self) -> None:
        """Take the passphrase out of the environment until `close`: no program that we start needs to have it."""
        self._passphrase = os.environ.pop(PASSPHRASE_VARIABLE, None)

    def configure(self, *, json: bool = False, quiet: bool = False, verbose: bool = False, yes: bool = False) -> None:
        """Set the form of the answer."""
        self.json, self.quiet, self.verbose, self.yes = json, quiet, verbose, yes

    @property
    def reporter(self) -> Reporter:
        """Where progress goes: bars on a terminal, one line per event otherwise, nothing with `--quiet`."""
        if self.quiet:
            return SILENT
        if self._reporter is None:
            from airbundle.cli.reporter import make_reporter

            self._reporter = make_reporter(sys.stderr)
        return self._reporter

    def say(self, text: str = "") -> None:
        """Print a line of the answer."""
        if not (self.json or self.quiet):
            sys.stdout.write(plain(text) + "\n")

    def note(self, text: str) -> None:
        """Print a line that a person should see, beside the answer."""
        if not self.quiet:
            sys.stderr.write(plain(text) + "\n")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows with their columns aligned."""
        if not rows or self.json or self.quiet:
            return
        form = "  ".join(f"{{:<{max(map(len, column))}}}" for column in zip(*rows))
        self.say("\n".join([form.format(*row).rstrip() for row in rows]))

    def error(self, error: AirbundleError) -> None:
        """Print an error: what, its findings, and the next step."""
        lines = [f"airbundle: {error.problem}"]
        lines += [f"  {text}" for text in _told(error.findings)]
        if error.outcome == "unchanged" and _UNCHANGED not in error.problem:
            lines.append(f"  {_UNCHANGED}")
        if error.hint:
            lines.append(f"  next: {error.hint}")
        sys.stderr.write("\n".join(plain(text, line=True) for text in lines) + "\n")

    def confirm(self, question: str) -> bool:
        """Ask; without a terminal the answer is `--yes` or an error.

        Raises:
            UsageError: there is nobody to ask.
        """
        if self.yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(f"{question} There is no terminal to ask on", hint="add --yes")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def prompt(self) -> Callable[[str], str] | None:
        """Return what asks for a value without showing it; None without a terminal."""
        if not sys.stdin.isatty():
            return None
        from getpass import getpass

        return lambda what: getpass(f"{what}: ")

    def passphrase(self, what: str, *, file: str | None = None, new: bool = False) -> bytes:
        """Return a passphrase: from `file`, from AIRBUNDLE_KEY_PASSPHRASE, or from a prompt.

        Args:
            what: whose passphrase, for the prompt.
            file: a file whose first line it is.
            new: ask twice.

        Raises:
            UsageError: none of the three is there, or the two answers differ.
        """
        if file is not None:
            with Path(file).open("rb") as stream:
                return stream.read(_PASSPHRASE_LIMIT).split(b"\n", 1)[0].rstrip(b"\r")
        value = os.environ.get(PASSPHRASE_VARIABLE) if self._passphrase is None else self._passphrase
        if value is not None:
            return os.fsencode(value)
        if not sys.stdin.isatty():
            raise UsageError(
                f"the passphrase of {what} is needed, and there is no terminal to ask on",
                hint=f"set {PASSPHRASE_VARIABLE}, or name a file with --passphrase-file",
            )
        from getpass import getpass

        first = getpass(f"Passphrase of {what}: ")
        if new and getpass("Once more: ") != first:
            raise UsageError("the two passphrases differ")
        return first.encode()

    def close(self) -> None:
        """End the progress display, and give the environment back."""
        if self._reporter is not None:
            self._reporter.close()
        if self._passphrase is not None:
            os.environ[PASSPHRASE_VARIABLE] = self._passphrase
