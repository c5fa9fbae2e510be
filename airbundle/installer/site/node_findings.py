"""What stands between a cluster's nodes and the private registry, found out on each of them; changes nothing."""

from __future__ import annotations

from airbundle.deploy.node_answers import reached, read_plan
from airbundle.deploy.nodes import ClusterNode
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.site.errands import maker_at
from airbundle.installer.site.node_each import at_each
from airbundle.installer.site.node_facts import cluster_nodes, runtime_findings, ways_to
from airbundle.installer.site.node_scripts import Given, given_at
from airbundle.installer.site.step import SiteRun
from airbundle.transfer.node_access import NodeAccess


def node_findings(run: SiteRun, *, registry_runs: bool) -> list[Finding]:
    """Return what stands between the nodes and the registry, found out on each of them; changes nothing on them.

    Args:
        run: the site.
        registry_runs: whether the registry is up; else it is enough that its host can be reached.

    Raises:
        Unauthorized, RemoteError: the nodes can't be listed.
    """
    given, nodes = given_at(run), cluster_nodes(run.cluster)
    ways = ways_to(run, nodes, maker_at(run.site_state, run.journal))
    findings = [*ways.findings, *runtime_findings(run, nodes)]
    for found in at_each(nodes, lambda node: _at(node, ways.access.get(node.name), given, registry_runs)):
        findings += found
    return findings


def _at(node: ClusterNode, access: NodeAccess | None, given: Given, registry_runs: bool) -> list[Finding]:
    if access is None or access.way == "manual":
        return []
    findings: list[Finding] = []
    try:
        planned = read_plan(node.name, access.run(node.name, given.script, "plan").text)
        findings += [_others(node.name, path) for path in planned.refused]
        answer = access.run(node.name, given.script, "reach")
        findings += reached(node.name, answer.text, given.url, runs=registry_runs)
    except AirbundleError as error:
        findings.append(Finding(error.problem, where=node.name, code="node-access", hint=error.hint))
    return findings


def _others(node: str, path: str) -> Finding:
    return Finding(
        f"{path} has settings of others, and is not replaced",
        where=node,
        code="node-file",
        hint="`airbundle nodes` writes what to add to it by hand; or move it away",
    )
