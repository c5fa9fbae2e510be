"""What Helm keeps in a cluster of a release: which chart it is, and how its last run ended.

Helm's Secrets are looked at by their labels; only the newest one's content is read, for the chart's name. Nothing else
of it, which has values with passwords in them, leaves this module. Source: Helm 3 `pkg/storage/driver/secrets.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional
from urllib.parse import quote

from airbundle.deploy.facts import HelmFound
from airbundle.deploy.helm_record import parse_record
from airbundle.deploy.objects import ObjectKey
from airbundle.scan.rules.scene import entries, mapping
from airbundle.transfer.cluster_write import ClusterWriter

_HEADS = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_LIST_LIMIT = 16 << 20


def read_release(cluster: ClusterWriter, namespace: str, name: str) -> Optional[HelmFound]:
    """Return the newest revision of a release; None where Helm has none of this name.

    Raises:
        Unauthorized, Unreachable, RemoteError: no good answer, or the record is none of Helm's.
    """
    what = f"cluster {cluster.name}: look for Helm's release {namespace}/{name}"
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets"
    query = [("labelSelector", f"owner=helm,name={name}"), ("limit", "500")]
    response = cluster.call("GET", path, what=what, query=query, accept=_HEADS, limit=_LIST_LIMIT)
    heads = [mapping(each.get("metadata")) for each in entries(cluster.body(response, what, _LIST_LIMIT).get("items"))]
    newest = max(heads, key=_revision, default=None)
    if newest is None:
        return None
    status = str(mapping(newest.get("labels")).get("status") or "")
    secret = cluster.get(ObjectKey("v1", "Secret", namespace, str(newest.get("name"))))
    body = parse_record(secret or {}, what=what).body
    chart = mapping(mapping(body.get("chart")).get("metadata"))
    return HelmFound(str(chart.get("name")), str(chart.get("version")), status, _revision(newest))


def _revision(head: Mapping[str, Any]) -> int:
    text = str(mapping(head.get("labels")).get("version") or "")
    return int(text) if text.isdigit() and len(text) < 10 else 0
