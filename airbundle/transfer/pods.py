"""Pods that do one thing and are deleted: made, waited for, read and taken away.

Their labels say whose they are and which process made them: what a process left that was killed is swept by the next
run of the same owner. What is made is also told before it is made, so that a journal knows of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from airbundle.bundle.oci import parse_json
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import AirbundleError, Conflict, SiteError, VerificationError
from airbundle.transfer.cluster import Resource
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.problems import clean

NAMESPACE = "kube-system"
"""Where short-lived pods run by default: Pod Security and policies seldom bind it, and it is always there."""
LABELS: Mapping[str, str] = {"app.kubernetes.io/managed-by": "airbundle", "airbundle.dev/part": "errand"}
OWNER, PROCESS = "airbundle.dev/owner", "airbundle.dev/process"
LOG_LIMIT = 1 << 20
IMAGE_REASONS = frozenset({"ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"})
_POLL = 0.3
_EVENTS_AFTER = 3.0
_GONE = 30.0
_SWEPT = (Resource("v1", "pods", "Pod"), Resource("v1", "configmaps", "ConfigMap"))
Noting = Callable[[ObjectKey], None]


@dataclass(frozen=True)
class Maker:
    """Who makes objects that are deleted soon.

    Attributes:
        noting: is told of each object before it is made.
        owner: whose they are, as the value of a label; equal for runs that may sweep what each other left.
        process: what names this process, as the value of a label.
    """

    noting: Noting
    owner: str = ""
    process: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of what it makes."""
        return {**LABELS, OWNER: self.owner, PROCESS: self.process}


@dataclass(frozen=True)
class PodEnd:
    """How a pod's one container ended.

    Attributes:
        code: exit code; None when it never ran.
        text: its log.
        reason: why it never ran, as the kubelet names it: one of `IMAGE_REASONS`, `FailedMount`, `StartError` …
        message: what the kubelet says of it.
        pulled: whether the node has the image.
    """

    code: int | None
    text: str = ""
    reason: str = ""
    message: str = ""
    pulled: bool = False


@contextmanager
def made(cluster: ClusterWriter, bodies: Sequence[Mapping[str, Any]], maker: Maker) -> Iterator[None]:
    """Make objects, and delete them at the end of the block, the last one first.

    Args:
        cluster: its API.
        bodies: the objects; their labels are the maker's.
        maker: makes them.

    Raises:
        Unauthorized, Refused, Unreachable, RemoteError: one can't be made.
    """
    keys: list[ObjectKey] = []
    try:
        for body in bodies:
            key = key_of(body)
            maker.noting(key)
            keys.append(key)
            # Their names are random: one that is there is ours, of a request whose answer was lost.
            with suppress(Conflict):
                cluster.create({**body, "metadata": {**body["metadata"], "labels": maker.labels}})
        yield
    finally:
        for key in reversed(keys):
            # What can't be deleted now is in the journal; what went wrong before is more worth telling.
            with suppress(AirbundleError):
                cluster.delete(key, wait=_GONE if key.kind == "Pod" else 0.0)


def sweep(
    cluster: ClusterWriter, owner: str, abandoned: Callable[[str, float], bool], namespace: str = NAMESPACE
) -> int:
    """Delete what runs of an owner left that were killed before they could delete it; return how many.

    Args:
        cluster: its API.
        owner: as the `Maker` had it; what others made in the same way stays.
        abandoned: is given an object's `PROCESS` and its age in seconds, and says whether nobody needs it any more.
        namespace: where it is.

    Raises:
        Unauthorized, RemoteError: what is there can't be listed, or not be deleted.
    """
    labels = ",".join(f"{name}={value}" for name, value in {**LABELS, OWNER: owner}.items())
    found = 0
    for resource in _SWEPT:
        for body in list(cluster.objects(resource, namespace, labels=labels)):
            metadata = _map(body, "metadata")
            process = str(_map(metadata, "labels").get(PROCESS, ""))
            if abandoned(process, _age(metadata)):
                found += cluster.delete(key_of(body))
    return found


def _age(metadata: Mapping[str, Any]) -> float:
    try:
        made_at = datetime.strptime(str(metadata.get("creationTimestamp")), "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return 0.0
    return (datetime.now(timezone.utc) - made_at.replace(tzinfo=timezone.utc)).total_seconds()


def random_name(prefix: str) -> str:
    """Return a name that nothing else has."""
    return f"{prefix}-{secrets.token_hex(5)}"


def wait_end(cluster: ClusterWriter, key: ObjectKey, timeout: float) -> PodEnd:
    """Wait until a pod's container has ended, or can't begin.

    Raises:
        SiteError: neither came in time, or the pod is gone.
        Unauthorized, Unreachable, RemoteError: the API gives no answer.
    """
    begin = time.monotonic()
    while True:
        body = cluster.get(key)
        if body is None:
            raise SiteError(f"{key.title}: somebody deleted it", hint="run this again")
        late = time.monotonic() - begin
        end = _end(cluster, key, body) or (_mount_problem(cluster, key) if late > _EVENTS_AFTER else None)
        if end is not None:
            return end
        if late > timeout:
            phase = _map(body, "status").get("phase")
            raise SiteError(
                f"{key.title}: did not end within {timeout:.0f} s; it is {phase!r:.30}",
                hint="see the node's kubelet: whether it is Ready, and what it says of the pod",
            )
        time.sleep(_POLL)


def _end(cluster: ClusterWriter, key: ObjectKey, body: Mapping[str, Any]) -> PodEnd | None:
    status = _map(body, "status")
    container = next(iter(_maps(status, "containerStatuses")), {})
    state = _map(container, "state")
    pulled = bool(container.get("imageID"))
    terminated, waiting = _map(state, "terminated"), _map(state, "waiting")
    if terminated:
        code, reason, message = terminated.get("exitCode"), str(terminated.get("reason")), _text(terminated, "message")
        if reason in ("StartError", "ContainerCannotRun"):
            return PodEnd(None, "", reason, message, pulled)
        return PodEnd(code if isinstance(code, int) else 1, _log(cluster, key), reason, message, pulled)
    if waiting.get("reason") in IMAGE_REASONS | {"CreateContainerError", "CreateContainerConfigError"}:
        return PodEnd(None, "", str(waiting["reason"]), _text(waiting, "message"), pulled)
    if status.get("phase") == "Failed":
        return PodEnd(None, "", str(status.get("reason") or "Failed"), _text(status, "message"), pulled)
    return None


def _mount_problem(cluster: ClusterWriter, key: ObjectKey) -> PodEnd | None:
    what = f"cluster {cluster.name}: events of {key.title}"
    query = [("fieldSelector", f"involvedObject.name={key.name},reason=FailedMount"), ("limit", "20")]
    path = f"/api/v1/namespaces/{quote(key.namespace)}/events"
    response = cluster.call("GET", path, what=what, query=query)
    if response.status != 200:
        return None
    try:
        events = _maps(parse_json(response.body, what=what), "items")
    except (VerificationError, AttributeError):
        return None
    messages = [_text(event, "message") for event in events]
    lasting = next((each for each in messages if "hostPath type check failed" in each), "")
    return PodEnd(None, "", "FailedMount", lasting) if lasting else None


def _log(cluster: ClusterWriter, key: ObjectKey) -> str:
    what = f"cluster {cluster.name}: log of {key.title}"
    path = f"/api/v1/namespaces/{quote(key.namespace)}/pods/{quote(key.name)}/log"
    query = [("limitBytes", str(LOG_LIMIT))]
    response = cluster.call("GET", path, what=what, query=query, accept="*/*", limit=LOG_LIMIT * 2)
    if response.status != 200:
        cluster.refuse(response, what)
    return response.body.decode("utf-8", "replace")


def _text(body: Mapping[str, Any], key: str) -> str:
    return clean(str(body.get(key) or ""), 500)


def _map(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = body.get(key)
    return found if isinstance(found, dict) else {}


def _maps(body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = body.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
