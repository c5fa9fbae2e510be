"""Pods that bring no tools of their own: they run the node's shell, from an image that the node already has.

Nothing is pulled (`imagePullPolicy: Never`), because a node that is not set up yet can pull nothing. The node's /usr,
/bin, /lib and /lib64 lie at the same paths in the pod, so that its programs find their libraries there, whatever the
image has; most have the sandbox's image, which has nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.deploy.objects import key_of
from airbundle.errors import RemoteError, SiteError, Unauthorized
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.pods import IMAGE_REASONS, NAMESPACE, Maker, PodEnd, made, random_name, wait_end

_TOOLS = ("/usr", "/bin", "/lib", "/lib64")
_MISSING = re.compile(r"hostPath type check failed: (\S+) is not")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What an image's own environment may say must not get between the node's programs and their libraries.
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C", "LD_LIBRARY_PATH": "", "LD_PRELOAD": "", "ENV": ""}
_OTHER_WAYS = "use `nodes.access: ssh`, or `manual`"


@dataclass(frozen=True)
class Errand:
    """What a pod on a node is to do.

    Attributes:
        node: where.
        images: that the node has, the best first.
        command: for the node's shell.
        files: name → text, which lie in `/airbundle`.
        on_node: with the node's network, names and processes, all rights, and its files in `/host`; else as any pod.
        read_only: the node's files can't be changed.
    """

    node: str
    images: Sequence[str]
    command: str
    files: Mapping[str, str]
    on_node: bool = False
    read_only: bool = True


def run_errand(
    cluster: ClusterWriter, errand: Errand, maker: Maker, *, timeout: float, namespace: str = NAMESPACE
) -> PodEnd:
    """Run a command in a pod on a node, and take the pod away.

    Args:
        cluster: its API.
        errand: what, and where.
        maker: of the pod.
        timeout: seconds.
        namespace: the pod's.

    Returns:
        How it ended; its `code` is an exit code.

    Raises:
        SiteError: it can't run there, and why; nothing was changed.
    """
    if not errand.images:
        raise _refused(errand, "the node tells of no image that it has")
    tools, end = list(_TOOLS), PodEnd(None)
    for image in errand.images:
        while True:
            name = random_name("airbundle-errand")
            bodies = [_config_map(name, namespace, errand), _pod(name, namespace, errand, image, tools)]
            end = _attempt(cluster, errand, bodies, maker, timeout)
            missing = _MISSING.search(end.message) if end.reason == "FailedMount" else None
            if missing is None or missing[1] not in tools:
                break
            tools.remove(missing[1])  # not every node has a /lib64
        if end.code is not None:
            return end
        if end.reason not in IMAGE_REASONS:
            break
    raise _refused(errand, f"{end.reason}: {end.message}")


def _attempt(
    cluster: ClusterWriter, errand: Errand, bodies: Sequence[Mapping[str, Any]], maker: Maker, timeout: float
) -> PodEnd:
    try:
        with made(cluster, bodies, maker):
            return wait_end(cluster, key_of(bodies[-1]), timeout)
    except Unauthorized as error:
        raise _refused(errand, error.problem) from None
    except RemoteError as error:
        raise SiteError(error.problem, outcome="unchanged", hint=error.hint) from None


def _refused(errand: Errand, why: str) -> SiteError:
    return SiteError(f"node {errand.node}: no pod can run there: {why}", outcome="unchanged", hint=_OTHER_WAYS)


def _config_map(name: str, namespace: str, errand: Errand) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "immutable": True,
        "data": dict(errand.files),
    }


def _pod(name: str, namespace: str, errand: Errand, image: str, tools: Sequence[str]) -> dict[str, Any]:
    volumes = list(_volumes(name, errand, tools))
    rights: dict[str, Any] = {"privileged": True} if errand.on_node else {"allowPrivilegeEscalation": False}
    container = {
        "name": "errand",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", errand.command],
        "env": [{"name": key, "value": value} for key, value in _ENVIRONMENT.items()],
        "securityContext": {"runAsUser": 0, **rights},
        "volumeMounts": [mount for _, mount in volumes],
    }
    spec: dict[str, Any] = {
        "nodeName": errand.node,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [volume for volume, _ in volumes],
    }
    if errand.on_node:
        spec.update(hostNetwork=True, hostPID=True, dnsPolicy="Default")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def _volumes(name: str, errand: Errand, tools: Sequence[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each volume with its mount. Of type Directory: any other would be made on the node."""
    yield {"name": "files", "configMap": {"name": name}}, {"name": "files", "mountPath": "/airbundle", "readOnly": True}
    paths = [(path, path, True) for path in tools]
    if errand.on_node:
        paths.append(("/", "/host", errand.read_only))
    for number, (path, place, read_only) in enumerate(paths):
        volume = {"name": f"host-{number}", "hostPath": {"path": path, "type": "Directory"}}
        yield volume, {"name": f"host-{number}", "mountPath": place, "readOnly": read_only}
    if errand.on_node and errand.read_only:
        # The script's own scratch files; the node's /tmp is as read-only as the rest.
        yield {"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/host/tmp"}
