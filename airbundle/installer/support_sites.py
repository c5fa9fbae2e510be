"""What of each site goes into a support archive: journal, deployments, and what its cluster says of the releases.

The cluster is only read. Where it does not answer, that is told, and the rest is there all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from airbundle.deploy.dig import items, text
from airbundle.deploy.pods import pod_trouble
from airbundle.errors import RemoteError
from airbundle.installer.site.reach_kept import Reach, reach_kept
from airbundle.installer.site.site_state import SiteState, sites_of
from airbundle.installer.state import StateDirectory
from airbundle.installer.support_archive import Archive
from airbundle.installer.support_state import add_journal
from airbundle.progress import Reporter
from airbundle.transfer.cluster_api import Resource
from airbundle.transfer.cluster_write import ClusterWriter

_EVENTS, _PODS, _NODES = (
    Resource("v1", "events", "Event"),
    Resource("v1", "pods", "Pod"),
    Resource("v1", "nodes", "Node"),
)
_PATIENCE = 10.0
"""Seconds for which an API may keep failing: who asks for help has waited long enough."""
_DEPLOYMENTS = 20
_MOST = 500
"""Objects of a kind and namespace that are told."""
_READ = 10_000
"""Events that are read to find the newest: an API has them in another order."""
_LOGS, _LINES = 10, 100


def add_sites(archive: Archive, state: StateDirectory, reporter: Reporter) -> None:
    """Add what is known of all sites of this host.

    Args:
        archive: gets it.
        state: of this host.
        reporter: gets progress.
    """
    with archive.part("sites"):
        for site in sites_of(state):
            with reporter.phase(f"site {site.name}"):
                _add_site(archive, site)


def _add_site(archive: Archive, site: SiteState) -> None:
    base = f"sites/{site.name}"
    add_journal(archive, f"{base}/journal.jsonl", "steps begun and done at this site", site.journal)
    namespaces: set[str] = set()
    with archive.part(f"{base}/deployments.json"):
        deployments = site.deployments()[-_DEPLOYMENTS:]
        archive.add_json(f"{base}/deployments.json", "the newest deployments", [asdict(each) for each in deployments])
        namespaces |= {release.namespace for each in deployments[-1:] for release in each.releases}
    if site.cluster() is None:
        archive.leave_out(f"{base}/cluster.json", "no install has reached its cluster yet")
        return
    with archive.part(f"{base}/cluster.json"), reach_kept(site, Reach(patience=_PATIENCE), tidy=False) as cluster:
        body = {"version": cluster.version(), "nodes": [_node(each) for each in cluster.objects(_NODES)]}
        archive.add_json(f"{base}/cluster.json", "version and nodes of the cluster", body)
        for namespace in sorted(namespaces - {""}):
            with archive.part(f"{base}/{namespace}"):
                _add_namespace(archive, cluster, f"{base}/{namespace}", namespace)


def _add_namespace(archive: Archive, cluster: ClusterWriter, base: str, namespace: str) -> None:
    events = sorted(islice(cluster.objects(_EVENTS, namespace), _READ), key=_when)[-_MOST:]
    archive.add_json(f"{base}/events.json", "what happened there of late", list(map(_event, events)))
    pods = list(islice(cluster.objects(_PODS, namespace), _MOST))
    archive.add_json(f"{base}/pods.json", "pods, and what they wait for", list(map(_pod, pods)))
    for pod in islice((each for each in pods if pod_trouble(each).text), _LOGS):
        for name, written in _logs(cluster, pod):
            archive.add_text(f"{base}/log/{name}.log", "the last lines of a container that is not well", written)


def _logs(cluster: ClusterWriter, pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the last lines of each container, of the one before where it was restarted."""
    namespace, name = text(pod, "metadata", "namespace"), text(pod, "metadata", "name")
    restarted = {text(each, "name") for each in _statuses(pod) if each.get("restartCount")}
    containers = [*items(pod, "spec", "initContainers"), *items(pod, "spec", "containers")]
    for container in (text(each, "name") for each in containers):
        # Of an init container the kubelet keeps the newest run alone.
        runs = (True, False) if container in restarted else (False,)
        yield f"{name}-{container}", _last_lines(cluster, (namespace, name, container), runs)


def _last_lines(cluster: ClusterWriter, where: tuple[str, str, str], runs: Sequence[bool]) -> str:
    """Return the last lines of the first run that can be read, of the one before (True) or of the newest."""
    why = ""
    for previous in runs:
        try:
            return cluster.logs(*where, lines=_LINES, previous=previous)
        except RemoteError as error:
            why = f"it can't be read: {error}\n"
    return why


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    told = {text(each, "type"): text(each, "status") for each in items(node, "status", "conditions")}
    status = node.get("status")
    info = status.get("nodeInfo") if isinstance(status, dict) else None
    return {"name": text(node, "metadata", "name"), "conditions": told, "is": info}


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    involved = event.get("involvedObject")
    what = f"{text(involved, 'kind')}/{text(involved, 'name')}" if isinstance(involved, dict) else ""
    told = {name: text(event, name) for name in ("type", "reason", "message")}
    return {"time": _when(event), "object": what, "count": event.get("count"), **told}


def _when(event: Mapping[str, Any]) -> str:
    return text(event, "lastTimestamp") or text(event, "eventTime")


def _pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": text(pod, "metadata", "name"),
        "node": text(pod, "spec", "nodeName"),
        "phase": text(pod, "status", "phase"),
        "trouble": pod_trouble(pod).text,
        "containers": [
            {
                name: each.get(name)
                for name in ("name", "image", "imageID", "ready", "restartCount", "state", "lastState")
            }
            for each in _statuses(pod)
        ],
    }


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]
