"""Looking at many nodes at once: by a pod on each it takes seconds, of which most are waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from airbundle.deploy.nodes import ClusterNode

T = TypeVar("T")
_AT_ONCE = 8


def at_each(nodes: Sequence[ClusterNode], look: Callable[[ClusterNode], T]) -> list[T]:
    """Return what a look at each node says, in the order of the nodes; a few are looked at at once.

    Args:
        nodes: to look at.
        look: changes nothing on a node, and may run in several threads.

    Raises:
        Whatever `look` raises; of several nodes, what it raised at the first.
    """
    if not nodes:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(nodes)), "nodes") as pool:
        return list(pool.map(look, nodes))
