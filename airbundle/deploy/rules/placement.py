"""Whether some node takes each pod, and whether the nodes have room for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from airbundle.deploy.facts import Body, SiteFacts
from airbundle.deploy.quantity import shown
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.templates import (
    Amounts,
    PodTemplate,
    add,
    amounts,
    is_ready,
    name_of,
    namespace_of,
    refusals,
    requests_of,
    selects,
    template_of,
)
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules.scene import mapping

_ENDED = frozenset({"Succeeded", "Failed"})
_SUMMED = ("cpu", "memory")


@dataclass
class Room:
    """What nodes have for pods, and what is left of it."""

    nodes: Sequence[Body]
    whole: Mapping[str, Amounts]
    free: dict[str, Amounts] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: SiteFacts, templates: Sequence[PodTemplate]) -> Room:
        """Return the room of nodes that take pods; pods that the releases replace count as gone."""
        nodes = [
            node
            for node in facts.all("Node")
            if is_ready(node) and mapping(node.get("spec")).get("unschedulable") is not True
        ]
        whole = {name_of(node): amounts(mapping(node.get("status")).get("allocatable")) for node in nodes}
        room = cls(nodes, whole, {name: dict(found) for name, found in whole.items()})
        for pod in facts.all("Pod"):
            node = str(mapping(pod.get("spec")).get("nodeName") or "")
            if node in room.free and not is_gone(pod, templates):
                add(room.free[node], {**requests_of(mapping(pod.get("spec"))), "pods": Decimal(1)}, -1)
        return room


def is_gone(pod: Body, templates: Sequence[PodTemplate]) -> bool:
    """Tell whether a pod ended, or is one of those that the releases replace."""
    if mapping(pod.get("status")).get("phase") in _ENDED:
        return True
    labels, namespace = mapping(mapping(pod.get("metadata")).get("labels")), namespace_of(pod)
    for template in templates:
        selector = mapping(mapping(template.manifest.body.get("spec")).get("selector"))
        if namespace == template.manifest.namespace and selector.get("matchLabels") and selects(selector, labels):
            return True
    return False


def templates_of(wanted: Wanted) -> list[PodTemplate]:
    """Return the pods of all objects."""
    found = (template_of(manifest) for _, manifest in wanted.acting)
    return [each for each in found if each is not None]


def schedulable(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the pods that no node takes, whatever room it has."""
    nodes = facts.all("Node")
    for template in templates_of(wanted) if nodes else ():
        if template.is_daemon or template.is_idle:
            continue  # a DaemonSet that fits no node is complete with no pod
        reasons = {name_of(node): refusals(template, node) for node in nodes}
        if all(reasons.values()):
            yield told(
                "unschedulable",
                "no node takes its pods",
                where=f"{template.manifest}: {template.path}",
                found=listed([f"{name}: {', '.join(why[:3])}" for name, why in sorted(reasons.items())], 4)[:600],
                hint="label or untaint nodes, or set nodeSelector, affinity and tolerations in the site's values",
            )


def large(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the pods that ask for more than any node has, or has left."""
    templates = templates_of(wanted)
    room = Room.of(facts, templates)
    for template in templates:
        wants = {} if template.is_idle else requests_of(template.spec)
        fitting = [name_of(node) for node in room.nodes if not refusals(template, node)]
        for name, number in sorted(wants.items()):
            most = max((room.whole[node].get(name, Decimal(0)) for node in fitting), default=None)
            left = max((room.free[node].get(name, Decimal(0)) for node in fitting), default=None)
            if most is None or left is None or number <= left:
                continue
            yield told(
                "pod-too-large",
                f"a pod requests more {name} than any node has{'' if number > most else ' left'}",
                where=f"{template.manifest}: {template.path}",
                found=shown(name, number),
                expected=f"{shown(name, left)} at most; nodes have {shown(name, most)}",
                hint="request less in the site's values, free a node, or add a larger one",
            )


def together(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield what all pods together request and the nodes don't have left, and nodes too few for their number."""
    templates = templates_of(wanted)
    room = Room.of(facts, templates)
    total: Amounts = {}
    for template in templates:
        times = template.count
        if template.is_daemon:
            times = sum(not refusals(template, node) for node in room.nodes)
        add(total, {**requests_of(template.spec), "pods": Decimal(1)}, times)
    for name in (*_SUMMED, "pods"):
        left = sum((max(free.get(name, Decimal(0)), Decimal(0)) for free in room.free.values()), Decimal(0))
        if room.nodes and total.get(name, Decimal(0)) > left:
            yield told(
                "pods-full" if name == "pods" else "capacity",
                "the nodes can't take that many pods" if name == "pods" else f"the nodes have too little {name} left",
                where="cluster",
                found=f"{shown(name, left)} left on {len(room.nodes)} node{'' if len(room.nodes) == 1 else 's'}",
                expected=shown(name, total[name]),
                hint="add nodes, request less or fewer replicas in the site's values, or switch releases off",
            )
