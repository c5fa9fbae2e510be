"""What stands in the way of a deployment at a site: pure rules over what is known of it and what is wanted.

Each rule takes (`SiteFacts`, `Wanted`) and yields findings. A rule that asks for a fact that could not be read ends
there, and all others run; the fact is told once, graded by what depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airbundle.deploy.facts import SiteFacts, UnknownFact, Unread
from airbundle.deploy.rules import (
    access,
    apis,
    clock,
    cluster,
    images,
    names,
    network,
    nodes,
    owners,
    placement,
    quotas,
    references,
    security,
    storage,
    texts,
)
from airbundle.deploy.rules.catalogue import Severity, listed, told
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding

Find = Callable[[SiteFacts, Wanted], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule; `title` says what it sees to, and `grade` what it means when that can't be known."""

    title: str
    find: Find
    grade: Severity = "error"


RULES = (
    Rule("it is the right cluster", cluster.uid),
    Rule("its version", cluster.versions),
    Rule("what this user may do", access.find),
    Rule("clock of this host", clock.host, "warning"),
    Rule("clocks of nodes", clock.nodes, "warning"),
    Rule("nodes are ready", nodes.ready),
    Rule("kubelets and runtimes", nodes.kubelets),
    Rule("access to nodes", nodes.access, "warning"),
    Rule("architectures", nodes.architectures),
    Rule("nodes take the pods", placement.schedulable),
    Rule("room for each pod", placement.large, "warning"),
    Rule("room for all pods", placement.together, "warning"),
    Rule("quotas", quotas.find, "warning"),
    Rule("limit ranges", quotas.ranges, "warning"),
    Rule("StorageClasses", storage.classes),
    Rule("room for volumes", storage.room, "warning"),
    Rule("volumes that are stuck", storage.stuck, "warning"),
    Rule("kinds are served", apis.kinds),
    Rule("APIs of others", apis.services, "warning"),
    Rule("webhooks of others", apis.webhooks, "warning"),
    Rule("Secrets and ConfigMaps", references.objects),
    Rule("issuers", references.issuers),
    Rule("Services", references.services, "warning"),
    Rule("classes", references.classes, "warning"),
    Rule("namespaces", references.namespaces),
    Rule("releases of others", owners.helm),
    Rule("releases of other bundles", owners.bundles),
    Rule("data that went back", owners.data),
    Rule("objects of others", owners.objects),
    Rule("NodePorts", network.node_ports),
    Rule("load balancers", network.balancers, "warning"),
    Rule("ports of nodes", network.host_ports),
    Rule("hosts of Ingresses", network.ingresses, "warning"),
    Rule("network policies", network.policies, "warning"),
    Rule("ranges of addresses", network.ranges, "warning"),
    Rule("CoreDNS", names.coredns),
    Rule("the registry's name", names.registry),
    Rule("Pod Security", security.find),
    Rule("values and texts", texts.find),
    Rule("rendering", images.rendering),
    Rule("images of hooks", images.hooks),
)


def run_rules(facts: SiteFacts, wanted: Wanted) -> list[Finding]:
    """Return all that stands in the way, errors first, each thing once.

    Args:
        facts: what could be read.
        wanted: what would be deployed.
    """
    found: dict[Finding, None] = {}
    unknown: dict[str, list[Rule]] = {}
    if facts.unreachable:
        hint = "check the kubeconfig, its context, and the way to the API server"
        found[told("cluster-unreachable", facts.unreachable, where="cluster", hint=hint)] = None
    for rule in RULES:
        try:
            for finding in rule.find(facts, wanted):
                found.setdefault(finding)
        except UnknownFact as error:
            unknown.setdefault(str(error.args[0]), []).append(rule)
    if facts.unreachable:
        unknown = {}
    closed = [fact for fact in unknown if fact in facts.unread and facts.unread[fact].forbidden]
    if closed:
        found.setdefault(_closed(closed, [rule for fact in closed for rule in unknown[fact]]))
    for fact in (fact for fact in unknown if fact not in closed):
        found.setdefault(_unread(fact, unknown[fact], facts.unread.get(fact)))
    return sorted(found, key=lambda finding: finding.severity != "error")


def _unread(fact: str, rules: list[Rule], why: Unread | None) -> Finding:
    """Return what it means that a fact is not known."""
    return told(
        "fact-unread",
        f"{fact} could not be read",
        where="cluster",
        found=why.why[:300] if why else "nobody asked for it",
        expected=f"known, to check: {listed([rule.title for rule in rules], 9)}",
        hint="run it again once the cluster answers",
        severity="error" if any(rule.grade == "error" for rule in rules) else "warning",
    )


def _closed(facts: list[str], rules: list[Rule]) -> Finding:
    """Return what this user may not see, all at once: that is no fault of the site's."""
    return told(
        "fact-unread",
        f"this user may not read some of it: {listed(facts, 9)}",
        where="cluster",
        expected=f"known, to check: {listed(list(dict.fromkeys(rule.title for rule in rules)), 20)}",
        hint="let an administrator run the preflight, too",
        severity="warning",
    )
