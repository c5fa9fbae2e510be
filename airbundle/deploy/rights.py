"""The rights that an operator needs who is no administrator of the cluster: just those, as objects for RBAC. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.deploy.desired import Desired
from airbundle.deploy.dig import items, text
from airbundle.deploy.trust import MANAGED, MANAGER

Body = dict[str, Any]
Plural = Callable[[str, str], str]
"""Names the resource of an apiVersion and kind, such as `deployments`; empty for a kind that nobody knows."""

RBAC = "rbac.authorization.k8s.io"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_READ = ("get", "list", "watch")
_ALL = ("create", "delete", "get", "list", "patch", "update", "watch")
_RUNS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet"})
_WATCHED = (("", ("events", "pods", "services", "endpoints", "persistentvolumeclaims")), ("apps", ("replicasets",)))
_CHECKING = ("pods/exec", "pods/portforward", "services/proxy")
_CHECKS: Body = {"apiGroups": [""], "resources": list(_CHECKING), "verbs": ["create", "get"]}
_IDENTITY = "kube-system"
_DEPLOYING: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]] = (
    # Helm keeps its records in Secrets; checks and backups run in pods.
    ("", ("configmaps", "secrets", "pods"), _ALL),
    ("", ("pods/log",), ("get",)),
    ("", _CHECKING, ("create", "get")),
    ("apps", ("daemonsets", "deployments", "statefulsets"), _READ),
    ("batch", ("jobs",), _READ),
    # What preflight and status look at, to tell what stands in the way and what is not as it was.
    ("", ("limitranges", "resourcequotas"), _READ),
    ("autoscaling", ("horizontalpodautoscalers",), _READ),
    ("discovery.k8s.io", ("endpointslices",), _READ),
    ("networking.k8s.io", ("ingresses", "networkpolicies"), _READ),
)


def subject_of(username: str) -> Body:
    """Return a user of the API, as it names itself, as the subject of a binding."""
    if username.startswith(_SERVICE_ACCOUNT):
        namespace, _, name = username[len(_SERVICE_ACCOUNT) :].partition(":")
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"apiGroup": RBAC, "kind": "User", "name": username}


@dataclass(frozen=True)
class Duties:
    """What an operator does.

    Attributes:
        deploys: objects that the operator deploys, all in namespaces.
        awaits: handed-over objects, which the operator only looks at; Secrets among them stay closed.
        spaces: further namespaces that the operator deploys into, such as those of Secrets.
        checked: namespaces with handed-over releases that have checks, which run in pods and ask Services.
    """

    deploys: Sequence[Desired]
    awaits: Sequence[Desired] = ()
    spaces: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()


def operator_rights(name: str, subject: Mapping[str, Any], duties: Duties, plural: Plural) -> list[Body]:
    """Return roles and bindings.

    Args:
        name: of all of them.
        subject: who gets them.
        duties: what they are for.
        plural: names resources.
    """
    own = {each.key.namespace for each in duties.deploys} | duties.spaces
    found: list[Body] = []
    for namespace in sorted(own | {each.key.namespace for each in duties.awaits if each.key.namespace} | {_IDENTITY}):
        rules = list(_watching([each for each in duties.awaits if each.key.namespace == namespace], plural))
        if namespace in own:
            rules += _deploying([each for each in duties.deploys if each.key.namespace == namespace], plural)
        if namespace in duties.checked:
            rules.append(_CHECKS)
        # The uid of kube-system tells one cluster from another.
        rules.append(_rule("", ("namespaces",), ("get",), (namespace,)))
        found += _granted("Role", name, namespace, subject, rules)
    cluster = list(_looking([each for each in duties.awaits if not each.key.namespace], plural))
    return [*found, *(_granted("ClusterRole", name, "", subject, cluster) if cluster else ())]


def _deploying(objects: Sequence[Desired], plural: Plural) -> Iterator[Body]:
    for group, resources, verbs in _DEPLOYING:
        yield _rule(group, resources, verbs)
    yield from _watching([], plural, pods=True)
    kinds: dict[str, set[str]] = {}
    for each in objects:
        resource = plural(each.key.api_version, each.key.kind)
        if resource:
            kinds.setdefault(_group(each), set()).add(resource)
    for group, named in sorted(kinds.items()):
        yield _rule(group, sorted(named), _ALL)
    for each in objects:
        yield from _to_give(each)


def _to_give(each: Desired) -> Iterator[Body]:
    """Yield what somebody must have who makes a role or binding: nobody gives away more than he has."""
    if _group(each) != RBAC:
        return
    if each.key.kind == "Role":
        yield from (dict(rule) for rule in items(each.body, "rules"))
    elif text(each.body, "roleRef", "kind") == "ClusterRole":
        yield _rule(RBAC, ("clusterroles",), ("bind",), (text(each.body, "roleRef", "name"),))


def _watching(objects: Sequence[Desired], plural: Plural, *, pods: bool = False) -> Iterator[Body]:
    """Yield the right to see whether objects come up, and why not."""
    yield from _looking(objects, plural)
    if pods or any(each.key.kind in _RUNS for each in objects):
        yield from (_rule(group, resources, _READ) for group, resources in _WATCHED)
        yield _rule("", ("pods/log",), ("get",))


def _looking(objects: Sequence[Desired], plural: Plural) -> Iterator[Body]:
    """Yield the right to get objects by their names; not Secrets."""
    names: dict[tuple[str, str], set[str]] = {}
    for each in objects:
        resource = plural(each.key.api_version, each.key.kind)
        if resource and each.key.kind != "Secret":
            names.setdefault((_group(each), resource), set()).add(each.key.name)
    for (group, resource), found in sorted(names.items()):
        yield _rule(group, (resource,), ("get",), sorted(found))


def _group(each: Desired) -> str:
    return each.key.api_version.rpartition("/")[0]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Body:
    rule: Body = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


def _granted(kind: str, name: str, namespace: str, subject: Mapping[str, Any], rules: Sequence[Body]) -> Iterator[Body]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "labels": {MANAGED: MANAGER}}
    unique = [rule for number, rule in enumerate(rules) if rule not in rules[:number]]
    top = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata}
    yield {**top, "rules": unique}
    reference = {"apiGroup": RBAC, "kind": kind, "name": name}
    yield {**top, "kind": f"{kind}Binding", "roleRef": reference, "subjects": [dict(subject)]}
