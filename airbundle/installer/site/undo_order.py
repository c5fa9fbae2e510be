"""In which order what a site's journal names is taken back. Pure.

Releases first, while nodes still pull what their hooks need and DNS still answers them; then the site's settings, one
part after the other. Within a part the newest goes first. Namespaces are last, whenever they were made: what lies in
them may have been noted before them, or not at all; and the way to a node may have needed one just now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from airbundle.deploy.dns_parts import CONFIGS
from airbundle.deploy.objects import NAMESPACE

Action = Mapping[str, str]
"""How to take one thing back, as the journal has it."""

RELEASES, DNS, NODES, FILES, NAMESPACES = "releases", "dns", "nodes", "files", "namespaces"
ORDER = (RELEASES, DNS, NODES, FILES, NAMESPACES)
"""Parts; `releases` has also all other objects of the cluster, since both may need each other."""


def part_of(action: Action) -> str:
    """Return the part that an action belongs to."""
    key = action.get("object") or action.get("restore") or ""
    if key in _CONFIGS:
        return DNS
    if action.get("object", "").startswith(f"v1/{NAMESPACE}/"):
        return NAMESPACES
    if "node" in action:
        return NODES
    if "file" in action and not key:
        return FILES
    return RELEASES


def in_order(actions: Iterable[Action]) -> Iterator[tuple[str, list[Action]]]:
    """Yield each part with its actions, also those that have none.

    Args:
        actions: newest first.
    """
    listed = list(actions)
    for part in ORDER:
        yield part, [each for each in listed if part_of(each) == part]


def name_of(action: Action) -> str:
    """Return what an action is of, for people: a step of its own in what is told."""
    if "helm" in action:
        return f"release {action['helm']}"
    return f"node {action['node']}" if "node" in action else ""


_CONFIGS = frozenset(map(str, CONFIGS))
