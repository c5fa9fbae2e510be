"""Ways to a node's shell: this host itself, ssh, a pod of the cluster, or a person. One protocol for all.

A script is run as root, whole or not at all: it comes by standard input into a file of the node, and runs when it has
all its bytes. What is said before it begins (the greeting of a login shell) is left out of the answer.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from airbundle.errors import AirbundleError, NoPermission, SiteError
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import TooLong, run_program

TIMEOUT = 300.0
"""Seconds that a script may take; a restart of a runtime takes the longest."""
OUTPUT_LIMIT = 1 << 20
BY_HAND = -1
"""Exit code of a script that a person is to run."""
READING = frozenset({"plan", "check", "reach"})
"""Arguments with which a script changes nothing."""
_NOT_WHOLE = 120
_BEGUN = "airbundle-script-begins"
_ARGUMENT = re.compile(r"[a-z][a-z-]{0,30}")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Mapping[str, str] = {"PATH": _PATH, "LC_ALL": "C", "HOME": "/root"}


@dataclass(frozen=True)
class NodeAnswer:
    """What a script said, standard error included, and its exit code.

    With `BY_HAND` it was not run, and `text` says what to do.
    """

    code: int
    text: str


class NodeAccess(Protocol):
    """A way to nodes."""

    @property
    def way(self) -> str:
        """Its name in the site file."""
        ...

    def run(self, node: str, script: bytes, argument: str) -> NodeAnswer:
        """Run a script of the POSIX shell on a node as root.

        Args:
            node: its name in the cluster.
            script: the text.
            argument: the script's one argument.

        Raises:
            SiteError, NoPermission: it could not be run there; says why. The node is as it was.
        """
        ...


class LocalNode:
    """This host, which is a node."""

    way = "local"

    def run(self, node: str, script: bytes, argument: str) -> NodeAnswer:
        """Run a script here. Raises as `NodeAccess.run`."""
        if os.geteuid() != 0:
            raise NoPermission(
                f"node {node} is this host, and only root may set it up", hint="run as root, or see `nodes.access`"
            )
        command = ["/bin/sh", "-c", runner(script, argument)]
        return run_command(node, command, script, ENVIRONMENT, why="sh could not be run")


def runner(script: bytes, argument: str) -> str:
    """Return the command that takes a script from standard input, whole, and runs it.

    Raises:
        ValueError: the argument is none.
    """
    if not _ARGUMENT.fullmatch(argument):
        raise ValueError(f"argument {argument!r}")
    return (
        'd=$(mktemp -d) || exit 121; trap \'rm -rf "$d"\' EXIT; cat >"$d/script"; '
        f'[ "$(wc -c <"$d/script")" -eq {len(script)} ] || exit {_NOT_WHOLE}; echo {_BEGUN}; '
        f'sh "$d/script" {shlex.quote(argument)} </dev/null 2>&1'
    )


def run_command(
    node: str, command: list[str], script: bytes, env: Mapping[str, str], *, why: str, hint: str = ""
) -> NodeAnswer:
    """Run the program that leads to a node, give it the script, and return what the script said.

    Raises:
        SiteError: the script did not begin; `why` begins the reason.
    """
    try:
        done = run_program(
            command, what=f"node {node}", env=env, timeout=TIMEOUT, output_limit=OUTPUT_LIMIT, stdin=script
        )
    except TooLong as error:
        raise SiteError(error.problem, hint="look on the node what the script waits for, then run this again") from None
    except AirbundleError as error:
        raise SiteError(error.problem, outcome="unchanged", hint=error.hint or hint) from None
    text = done.output.decode("utf-8", "replace")
    reason = (done.complaint.strip().splitlines() or text.strip().splitlines() or [done.ending])[-1]
    return answer_of(node, done.code, text, why=f"{why}: {clean(reason, 300)}", hint=hint)


def answer_of(node: str, code: int, text: str, *, why: str, hint: str = "") -> NodeAnswer:
    """Return a script's answer out of all that came from a node.

    Raises:
        SiteError: the script did not begin.
    """
    _, begun, said = text.partition(f"{_BEGUN}\n")
    if begun:
        return NodeAnswer(code, said)
    if code == _NOT_WHOLE:
        why = "the script did not arrive whole"
    raise SiteError(f"node {node}: {why}", outcome="unchanged", hint=hint)
