"""Reads what is known of operators: airbundle's own file, and those of the inventory laid over it."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from airbundle.builder.scan_options import OWN_KNOWLEDGE
from airbundle.bundle.yamldoc import SIZE_LIMIT
from airbundle.scan.knowledge import Knowledge, parse_knowledge
from airbundle.store.host import read_bounded
from airbundle.store.inventory_dir import InventoryDir


@lru_cache(maxsize=1)
def own_knowledge() -> Knowledge:
    """Return what airbundle knows by itself."""
    return parse_knowledge((files("airbundle.builder") / OWN_KNOWLEDGE).read_bytes(), f"airbundle's {OWN_KNOWLEDGE}")


def knowledge_for(opened: InventoryDir) -> Knowledge:
    """Return what is known of operators for an inventory: its files of `operators` win, later ones over earlier.

    Raises:
        DocumentError: one of them does not parse, is not there, or leads out of the inventory.
    """
    knowledge = own_knowledge()
    for path in opened.inventory.operators:
        raw = read_bounded(opened.resolve(path, where=opened.inventory.where), SIZE_LIMIT)
        knowledge = parse_knowledge(raw, path).over(knowledge)
    return knowledge
