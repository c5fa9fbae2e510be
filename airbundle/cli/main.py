"""The command line: finds the command, runs it, prints its answer or its error, and returns the exit code.

A command is a module of this package with `HELP`, `EXAMPLE`, `configure(parser)` and `run(args, console)`. It is
imported only when it is used, so that `--help` and `inspect` start fast, also out of a zip.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from airbundle import __version__
from airbundle.cli.arguments import add_output
from airbundle.cli.console import Console
from airbundle.cli.logs import Told
from airbundle.errors import AirbundleError, HostError, Interrupted, NoPermission, NoSpace, UsageError

API_VERSION = "airbundle.dev/v1"

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (module, where it is used, one line of help)
    "init": ("init", "connected", "write a commented inventory to start from"),
    "lock": ("lock", "connected", "resolve the inventory: every tag becomes a digest, once"),
    "scan": ("scan", "connected", "find every image that will run, and what the inventory lacks"),
    "build": ("build", "connected", "build the bundle: one signed file"),
    "sign": ("sign", "connected", "add a signature to a bundle"),
    "split": ("split", "connected", "cut a bundle into volumes"),
    "compact": ("compact", "connected", "merge deltas and what they build on into one full bundle"),
    "installer": ("installer", "connected", "write the installer alone"),
    "publish": ("publish", "connected", "push a bundle to a registry as an artifact"),
    "pull": ("pull", "connected", "fetch a published bundle"),
    "diff": ("diff", "connected", "compare two bundles"),
    "schema": ("schema", "connected", "print the JSON Schema of a document"),
    "inspect": ("inspect", "anywhere", "show what a bundle holds"),
    "verify": ("verify", "anywhere", "prove origin and wholeness of a bundle"),
    "serve": ("serve", "anywhere", "serve bundles: registry, charts, files, ClamAV mirror"),
    "key": ("key", "anywhere", "make a release key, or show its public half"),
    "preflight": ("preflight", "disconnected", "list what stands in the way of an install"),
    "load": ("load", "disconnected", "load a bundle into a registry"),
    "render": ("render", "disconnected", "write what a bundle deploys at a site, as manifests"),
    "install": ("install", "disconnected", "verify, load, serve: the whole way"),
    "nodes": ("nodes", "disconnected", "write the script that makes nodes pull from the private registry"),
    "status": ("status", "disconnected", "show what is installed and whether it is well"),
    "rollback": ("rollback", "disconnected", "bring back what was deployed before"),
    "prune": ("prune", "disconnected", "let go of earlier versions"),
    "uninstall": ("uninstall", "disconnected", "take away what install made"),
    "ca": ("ca", "disconnected", "the internal CA: make, issue, renew, trust"),
    "trust": ("trust", "disconnected", "the release keys this site trusts"),
    "support": ("support", "disconnected", "write what somebody who helps from afar needs, without secrets"),
    "state": ("state", "disconnected", "back up what can't be made again, and restore it"),
}

INTERNAL = {"post-render": "post_render"}
"""Commands that programs start, and no list names: name → module."""

# Commands whose first argument is a bundle; run from a bundle, it defaults to the running file.
TAKES_BUNDLE = frozenset({"inspect", "verify", "serve", "preflight", "load", "render", "install"})


class _Parser(argparse.ArgumentParser):
    """argparse that raises: usage errors go the one way that all errors go."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; the process's own by default.

    Returns:
        The exit code of design §7.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    console = Console()
    console.take_passphrase()
    body: dict[str, Any] | None = None
    error: AirbundleError | None = None
    _tolerate_any_text()
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as the entries leave it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    told = Told(console)
    try:
        args = _parse(arguments, console)
        if args is None:
            return 0
        told.begin()
        body = importlib.import_module(f"airbundle.cli.{args.module}").run(args, console)
    except AirbundleError as raised:
        error = raised
    except KeyboardInterrupt:
        error = Interrupted()
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PermissionError as raised:
        error = NoPermission(f"{raised.filename or 'file'}: {raised.strerror}")
    except OSError as raised:
        error = _from_os(raised)
    except Exception as raised:  # noqa: BLE001 - the one place where a fault of ours becomes an exit code
        if "--verbose" in arguments or "-v" in arguments:
            traceback.print_exc()
        error = AirbundleError(
            f"a fault of airbundle itself: {type(raised).__name__}: {raised}",
            hint="run again with --verbose and report what it prints",
        )
    finally:
        told.end()
        console.close()
    return _finish(arguments, console, body, error)


def _tolerate_any_text() -> None:
    """Let names that the locale can't write be shown escaped, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted("terminated; what is done is kept, run the same command again", signal=number)


def _from_os(raised: OSError) -> AirbundleError:
    import errno

    if raised.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{raised.filename or 'file system'}: {raised.strerror}", hint="free space, then run again")
    kinds = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
    if isinstance(raised, kinds) or raised.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return UsageError(f"{raised.filename}: {raised.strerror}", hint="check the path")
    return HostError(f"{raised.filename or 'operating system'}: {raised.strerror or raised}")


def _parse(arguments: list[str], console: Console) -> argparse.Namespace | None:
    """Return the arguments of the command to run, or None when help or the version was printed."""
    # The form of the answer is known even when the rest does not parse.
    console.configure(json="--json" in arguments, quiet="--quiet" in arguments or "-q" in arguments)
    name = next((word for word in arguments if not word.startswith("-")), "")
    parser = _Parser(
        prog=_program(),
        usage="%(prog)s COMMAND …",
        description=_description(),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"airbundle {__version__}")
    module = COMMANDS[name][0] if name in COMMANDS else INTERNAL.get(name)
    if module is None:
        if not arguments or set(arguments) & {"-h", "--help", "--version"}:
            _printed(parser, arguments or ["--help"])
            return None
        raise UsageError(_unknown(name or arguments[0]), hint=f"`{_program()} --help` lists the commands")
    command = importlib.import_module(f"airbundle.cli.{module}")
    own = _Parser(
        prog=f"{_program()} {name}",
        description=command.HELP,
        epilog=f"example:\n{command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.configure(own)
    add_output(own)
    place = arguments.index(name)
    rest = arguments[:place] + arguments[place + 1 :]
    try:
        args = own.parse_args(rest)
    except SystemExit:
        return None
    args.module, args.command = module, name
    console.configure(json=args.json, quiet=args.quiet, verbose=args.verbose, yes=args.yes)
    return args


def _printed(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    try:
        parser.parse_args(arguments)
    except SystemExit:
        pass


def _program() -> str:
    running = running_bundle()
    if not running or (Path(running).name == "airbundle.pyz" and Path(running).with_name("airbundle").is_file()):
        return "airbundle"  # also where `install` has put it, with a command of that name beside it
    return f"python3 {Path(running).name}"


def running_bundle() -> str | None:
    """Return the path of the file that runs as a zip application, or None when airbundle is installed."""
    loader = getattr(sys.modules["airbundle"], "__loader__", None)
    return getattr(loader, "archive", None)


def _description() -> str:
    lines = ["One signed file that is the offline installer of container images and Helm charts.", ""]
    for place in ("connected", "anywhere", "disconnected"):
        lines.append(f"{place}:")
        lines += [f"  {name:<10} {text}" for name, (_, where, text) in COMMANDS.items() if where == place]
        lines.append("")
    return "\n".join(lines) + "`COMMAND --help` explains a command, with an example."


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f"there is no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _finish(arguments: list[str], console: Console, body: dict[str, Any] | None, error: AirbundleError | None) -> int:
    if error is not None:
        console.error(error)
    if console.json:
        name = next((word for word in arguments if word in COMMANDS), "airbundle")
        document: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": "".join(part.capitalize() for part in name.split("-")) + "Result",
            "errors": [error.to_json()] if error else [],
            **(body or getattr(error, "body", {})),
        }
        outcome = getattr(error, "outcome", None)
        if outcome:
            document.setdefault("outcome", outcome)
        # In another encoding a character that is escaped by the stream would be no JSON.
        escaped = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=escaped) + "\n")
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return error.exit_code if error else 0
