"""Pods that objects ask for: their templates, what they request, and which nodes take them.

Sources: Kubernetes "Resource Management for Pods and Containers", "Sidecar Containers", "Taints and Tolerations",
"Assigning Pods to Nodes".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from airbundle.deploy.facts import Body
from airbundle.deploy.quantity import parse_quantity
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import entries, mapping

_TEMPLATED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"})
_GROUPS = frozenset({"", "apps", "batch"})
_DAEMONS_TOLERATE = frozenset(
    f"node.kubernetes.io/{name}"
    for name in ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
)
Amounts = dict[str, Decimal]


@dataclass(frozen=True)
class PodTemplate:
    """Pods that an object has made.

    Attributes:
        path: of the pod's spec in the object.
        labels: that the pods get.
        count: how many run at the same time; of a DaemonSet those of one node, of a hook or CronJob none lasts.
    """

    manifest: Manifest
    path: str
    spec: Body = field(repr=False)
    labels: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, Any] = field(repr=False)
    count: int

    @property
    def is_idle(self) -> bool:
        """Whether no pod is asked for: it is scaled to nothing."""
        return mapping(self.manifest.body.get("spec")).get("replicas") == 0

    @property
    def is_daemon(self) -> bool:
        """Whether each node gets one."""
        return self.manifest.kind == "DaemonSet"


def template_of(manifest: Manifest) -> PodTemplate | None:
    """Return the pods of an object; None for what has none."""
    body, kind = manifest.body, manifest.kind
    if manifest.api_version.rpartition("/")[0] not in _GROUPS:
        return None
    if kind == "Pod":
        return _template(manifest, body, "spec", 1)
    spec = mapping(body.get("spec"))
    if kind == "CronJob":
        inner = mapping(mapping(mapping(spec.get("jobTemplate")).get("spec")).get("template"))
        return _template(manifest, inner, "spec.jobTemplate.spec.template.spec", 0)
    if kind not in _TEMPLATED:
        return None
    count = 1 if kind == "DaemonSet" else spec.get("parallelism" if kind == "Job" else "replicas", 1)
    lasting = count if isinstance(count, int) and 0 <= count <= 100_000 else 1
    inner = mapping(spec.get("template"))
    return _template(manifest, inner, "spec.template.spec", lasting if manifest.phase == "run" else 0)


def _template(manifest: Manifest, holder: Body, path: str, count: int) -> PodTemplate | None:
    spec, metadata = mapping(holder.get("spec")), mapping(holder.get("metadata"))
    labels, annotations = mapping(metadata.get("labels")), mapping(metadata.get("annotations"))
    return PodTemplate(manifest, path, spec, labels, annotations, count) if spec else None


def containers_of(spec: Body) -> Iterator[tuple[str, Body]]:
    """Yield the containers of a pod's spec with their places: `containers[0]`, `initContainers[1]`."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for number, container in enumerate(entries(spec.get(key))):
            yield f"{key}[{number}]", container


def amounts(value: object) -> Amounts:
    """Return the quantities of a mapping such as `requests` or `allocatable`; what is none is left out."""
    found = {str(name): parse_quantity(each) for name, each in mapping(value).items()}
    return {name: number for name, number in found.items() if number is not None}


def requests_of(spec: Body) -> Amounts:
    """Return what a pod requests of its node; a limit without a request counts as one."""
    return _of_pod(spec, lambda resources: {**amounts(resources.get("limits")), **amounts(resources.get("requests"))})


def limits_of(spec: Body) -> Amounts:
    """Return the sum of a pod's limits, as quotas count them."""
    return _of_pod(spec, lambda resources: amounts(resources.get("limits")))


def _of_pod(spec: Body, of: Any) -> Amounts:
    own: Amounts = {}
    for container in entries(spec.get("containers")):
        add(own, of(mapping(container.get("resources"))))
    most: Amounts = {}
    sidecars: Amounts = {}
    for container in entries(spec.get("initContainers")):
        wants = of(mapping(container.get("resources")))
        if container.get("restartPolicy") == "Always":
            add(sidecars, wants)
            continue
        together = dict(sidecars)
        add(together, wants)
        most = larger(most, together)
    add(own, sidecars)
    total = larger(own, most)
    add(total, amounts(spec.get("overhead")))
    return total


def add(total: Amounts, more: Mapping[str, Decimal], times: int = 1) -> None:
    """Add amounts to a total."""
    for name, number in more.items():
        total[name] = total.get(name, Decimal(0)) + number * times


def larger(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> Amounts:
    """Return the larger of each amount."""
    names = one.keys() | other.keys()
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in names}


def name_of(body: Body) -> str:
    """Return the name of an object of the cluster."""
    return str(mapping(body.get("metadata")).get("name") or "")


def namespace_of(body: Body) -> str:
    """Return the namespace of an object of the cluster."""
    return str(mapping(body.get("metadata")).get("namespace") or "")


def condition(body: Body, kind: str) -> Body:
    """Return a condition of an object's status; empty where it has none."""
    listed = entries(mapping(body.get("status")).get("conditions"))
    return next((each for each in listed if each.get("type") == kind), {})


def is_ready(node: Body) -> bool:
    """Tell whether a node, or a pod, says that it is ready."""
    return condition(node, "Ready").get("status") == "True"


def refusals(template: PodTemplate, node: Body) -> list[str]:
    """Return why a node doesn't take a pod, whatever room it has; nothing when it does."""
    spec, metadata, labels = mapping(node.get("spec")), mapping(node.get("metadata")), _labels(node)
    found = []
    if not is_ready(node) and not template.is_daemon:
        found.append("it is not ready")
    if spec.get("unschedulable") is True and not template.is_daemon:
        found.append("it is cordoned")
    for taint in entries(spec.get("taints")):
        if taint.get("effect") in {"NoSchedule", "NoExecute"} and not _tolerates(template, taint):
            value = f"={taint['value']}" if taint.get("value") else ""
            found.append(f"taint {taint.get('key')}{value}:{taint.get('effect')}")
    for key, value in mapping(template.spec.get("nodeSelector")).items():
        if labels.get(key) != value:
            found.append(f"no label {key}={value}")
    if template.spec.get("nodeName") not in (None, "", metadata.get("name")):
        found.append(f"the pod names the node {template.spec['nodeName']}")
    affinity = mapping(mapping(mapping(template.spec.get("affinity")).get("nodeAffinity")))
    required = mapping(affinity.get("requiredDuringSchedulingIgnoredDuringExecution")).get("nodeSelectorTerms")
    terms = entries(required)
    if terms and not any(_matches(term, labels, str(metadata.get("name"))) for term in terms):
        found.append("the pod's nodeAffinity")
    return found


def _labels(node: Body) -> Mapping[str, Any]:
    return mapping(mapping(node.get("metadata")).get("labels"))


def _tolerates(template: PodTemplate, taint: Body) -> bool:
    key = taint.get("key")
    if key in {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/unschedulable"}:
        return True  # told as what they stand for
    if template.is_daemon and key in _DAEMONS_TOLERATE:
        return True
    for each in entries(template.spec.get("tolerations")):
        effect, own = each.get("effect"), each.get("key")
        if effect not in (None, "", taint.get("effect")):
            continue
        exists = each.get("operator") == "Exists"
        if (own in (None, "") and exists) or (
            own == key and (exists or each.get("value", "") == taint.get("value", ""))
        ):
            return True
    return False


def _matches(term: Body, labels: Mapping[str, Any], name: str) -> bool:
    expressions = [(each, labels) for each in entries(term.get("matchExpressions"))]
    expressions += [(each, {"metadata.name": name}) for each in entries(term.get("matchFields"))]
    return bool(expressions) and all(matches_expression(each, values) for each, values in expressions)


def matches_expression(expression: Body, labels: Mapping[str, Any]) -> bool:
    """Tell whether labels meet an expression of a selector."""
    value, operator = labels.get(str(expression.get("key"))), expression.get("operator")
    listed = expression.get("values")
    values: Sequence[Any] = listed if isinstance(listed, list) else ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator in {"Exists", "DoesNotExist"}:
        return (operator == "Exists") is (value is not None)
    own, bound = parse_quantity(value), parse_quantity(values[0] if values else None)
    if own is None or bound is None:
        return False
    return bool(own > bound if operator == "Gt" else own < bound)


def selects(selector: object, labels: Mapping[str, Any]) -> bool:
    """Tell whether a label selector meets labels; an empty one meets all."""
    found = mapping(selector)
    wanted = mapping(found.get("matchLabels"))
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        matches_expression(each, labels) for each in entries(found.get("matchExpressions"))
    )
