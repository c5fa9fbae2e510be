"""Tests for airbundle.installer.site.node_each: many nodes are looked at at once, and told in their order."""

from __future__ import annotations

import threading

import pytest

from airbundle.deploy.nodes import ClusterNode
from airbundle.errors import SiteError
from airbundle.installer.site.node_each import at_each


def nodes(count: int) -> list[ClusterNode]:
    return [ClusterNode(f"node{number}") for number in range(count)]


def test_they_are_looked_at_at_once_and_told_in_order() -> None:
    together = threading.Barrier(4)

    def look(each: ClusterNode) -> str:
        together.wait(30)  # breaks, unless four are under way
        return each.name

    assert at_each(nodes(8), look) == [f"node{number}" for number in range(8)]


def test_the_first_nodes_error_is_told() -> None:
    def look(each: ClusterNode) -> None:
        raise SiteError(each.name)

    with pytest.raises(SiteError, match="node0"):
        at_each(nodes(3), look)


def test_no_nodes_are_no_harm() -> None:
    assert at_each([], lambda each: each.name) == []
