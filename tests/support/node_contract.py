"""What every way to a node must do; tests bring the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from airbundle.transfer.node_access import BY_HAND, NodeAccess

LONG = "x" * 200


@dataclass
class Way:
    """A way to a node, for the contract.

    Attributes:
        access: the way itself.
        node: a node that it reaches.
        home: a directory of that node, which the test may write to.
        read: returns a file of that node; None when it isn't there.
        by_hand: does as a person whom a text asks to run a script; returns exit code and what it said.
    """

    access: NodeAccess
    node: str
    home: str
    read: Callable[[str], str | None]
    by_hand: Callable[[str], tuple[int, str]] | None = None

    def run(self, script: str, argument: str = "apply") -> tuple[int, str]:
        """Run a script, by a person where it must be."""
        answer = self.access.run(self.node, script.encode(), argument)
        if answer.code == BY_HAND:
            assert self.by_hand is not None
            return self.by_hand(answer.text)
        return answer.code, answer.text


def check_contract(way: Way) -> None:
    """Try all that a way must do."""
    file = f"{way.home}/made"
    code, text = way.run(f'id -u; echo "argument $1"; echo "wörter $((1+1))" >&2; printf made >{file}; exit 7')
    assert (code, text.splitlines()) == (7, ["0", "argument apply", "wörter 2"])
    assert way.read(file) == "made"
    # A program that reads its input doesn't eat the script.
    code, text = way.run(f"cat\necho after\nrm {file}\n", "undo")
    assert (code, text) == (0, "after\n")
    assert way.read(file) is None
    # Large scripts and large answers arrive whole.
    lines = "".join(f"echo {number} {LONG}\n" for number in range(1000))
    code, text = way.run(lines)
    assert (code, text.splitlines()) == (0, [f"{number} {LONG}" for number in range(1000)])
    assert way.run("for word in $1; do echo $word; done", "plan") == (0, "plan\n")
    with pytest.raises(ValueError, match="argument"):
        way.access.run(way.node, b"true", "a b; reboot")


def reader(path: str) -> str | None:
    """Read a file of this machine."""
    return Path(path).read_text() if Path(path).exists() else None
