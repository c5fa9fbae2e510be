"""Why an object is not up: what its controller, its pods, its events and its last log lines say, fit to be shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from airbundle.bundle.redaction import redact_text
from airbundle.deploy.dig import items, text
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.pods import Trouble
from airbundle.deploy.rollout import Rollout
from airbundle.errors import Finding, RemoteError
from airbundle.transfer.cluster_api import Resource
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.problems import clean

_log = logging.getLogger(__name__)

_EVENTS = Resource("v1", "events", "Event")
_MOST_PODS = 3
_MOST_EVENTS = 3
_LINES = 8
_NO_LOG = "unable to retrieve container logs"
"""What a kubelet answers in place of a log that it has no more, with status 200."""
_SHOWN = 400
_LINE = 200
_READ = 8192


def findings_of(
    cluster: ClusterWriter,
    key: ObjectKey,
    body: Mapping[str, Any] | None,
    rollout: Rollout,
    pods: Sequence[tuple[Mapping[str, Any], Trouble]] = (),
) -> list[Finding]:
    """Return why an object is not up: one finding for it, and one for each of its first pods that has trouble.

    What can't be asked (events, logs) is left out: it is an error that is being told.

    Args:
        cluster: where it is.
        key, body: the object; None where it isn't there.
        rollout: what its controller says.
        pods: with what keeps them from being ready.
    """
    why = shown(rollout.why) or "it is not up"
    events = "; ".join(_events(cluster, body, why)) if body is not None else ""
    found = [Finding(why, where=key.title, code="not-up", found=events)]
    for pod, trouble in sorted(pods, key=lambda each: not each[1].certain)[:_MOST_PODS]:
        name, why = text(pod, "metadata", "name"), shown(trouble.text)
        parts = list(_events(cluster, pod, why)) if body is not pod else []
        lines = _lines(cluster, pod, trouble)
        parts += [f"last lines of its log: {lines}"] if lines else []
        where = f"Pod {text(pod, 'metadata', 'namespace')}/{name}"
        found.append(Finding(why, where=where, code="pod", found="; ".join(parts)))
    return found


def shown(words: str, limit: int = _SHOWN) -> str:
    """Return a foreign text fit to be shown: without secrets, one line, bounded.

    Of a long one the end is shown, too: chains of errors have their cause there.
    """
    text = clean(redact_text(words), _READ)
    head = limit // 3
    return text if len(text) <= limit else f"{text[:head]} … {text[head + 3 - limit :]}"


def _events(cluster: ClusterWriter, body: Mapping[str, Any], known: str) -> Iterator[str]:
    """Yield the newest warnings that were told of an object, but for what is `known`."""
    namespace, uid = text(body, "metadata", "namespace") or "default", text(body, "metadata", "uid")
    try:
        events = list(islice(cluster.objects(_EVENTS, namespace, fields=f"involvedObject.uid={uid}"), 200))
    except RemoteError as error:
        _log.info("events: %s", error)
        return
    warnings = [event for event in events if event.get("type") == "Warning"]
    warnings.sort(key=lambda event: text(event, "lastTimestamp") or text(event, "eventTime"), reverse=True)
    told = 0
    for event in warnings:
        words = shown(text(event, "message"))
        if told < _MOST_EVENTS and words.replace("Error: ", "").rstrip("…") not in known:
            known, told = known + words, told + 1
            yield f"{shown(text(event, 'reason'))}: {words}"


def _lines(cluster: ClusterWriter, pod: Mapping[str, Any], trouble: Trouble) -> str:
    """Return the last lines that a container wrote, of the one before when it was restarted since."""
    namespace, name = text(pod, "metadata", "namespace"), text(pod, "metadata", "name")
    container = trouble.container or next((text(each, "name") for each in items(pod, "spec", "containers")), "")
    for previous in (True, False) if trouble.ended else (False, True):
        try:
            written = cluster.logs(namespace, name, container, lines=_LINES, previous=previous)
        except RemoteError as error:
            _log.info("log: %s", error)
            continue
        lines = [clean(line, _LINE) for line in redact_text(written).splitlines() if line.strip()]
        if lines and not lines[0].startswith(_NO_LOG):
            return " / ".join(lines[-_LINES:])
    return ""
