"""What a node's script would change there, for people."""

from __future__ import annotations

import difflib

from airbundle.deploy.node_answers import NodePlan
from airbundle.installer.site.node_scripts import Given
from airbundle.installer.site.step import Action, Change

_ACTIONS: dict[str, Action] = {"create": "create", "remove": "delete"}
_DIFF_LINES = 200


def changes_on(node: str, planned: NodePlan, given: Given, *, rolling: bool) -> list[Change]:
    """Return what would change on a node.

    Args:
        node: its name.
        planned: what the script said there.
        given: what nodes are given.
        rolling: whether airbundle restarts runtimes itself.
    """
    changes = []
    for doing, path in planned.files:
        diff = _hosts(given, path) if doing == "hosts" else _diff(given, doing, path)
        what = f"{node} {path}" + (" (has settings of others, and is not touched)" if doing == "refuse" else "")
        changes.append(Change(what, _ACTIONS.get(doing, "change"), diff))
    if rolling and planned.restart:
        changes.append(Change(f"{node}: cordon, {given.setup.restarting} its runtime, uncordon", "restart"))
    return changes


def _diff(given: Given, doing: str, path: str) -> str:
    shown = doing in ("create", "replace", "change") and not path.endswith(".crt")
    return _unified([], given.setup.files.get(path, "").splitlines()[:_DIFF_LINES], path) if shown else ""


def _hosts(given: Given, path: str) -> str:
    """Return what becomes of our one line; of what else stands there the script says nothing."""
    return (
        _unified([], [given.hosts], path)
        if given.hosts
        else _unified(["our line, which ends in # airbundle"], [], path)
    )


def _unified(old: list[str], new: list[str], path: str) -> str:
    return "\n".join(difflib.unified_diff(old, new, "", path, lineterm=""))
