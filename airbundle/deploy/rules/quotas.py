"""ResourceQuotas and LimitRanges of the namespaces that something goes into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from airbundle.deploy.facts import EXISTING, Body, SiteFacts, known
from airbundle.deploy.quantity import parse_quantity, shown
from airbundle.deploy.rules.catalogue import told
from airbundle.deploy.templates import (
    Amounts,
    PodTemplate,
    add,
    amounts,
    containers_of,
    limits_of,
    name_of,
    namespace_of,
    requests_of,
    template_of,
)
from airbundle.deploy.wanted import Wanted, key_for
from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import entries, mapping

_COUNTED = {
    "Service": "services", "Secret": "secrets", "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "persistentvolumeclaims", "ReplicationController": "replicationcontrollers",
}  # fmt: skip
_SHORT = {"cpu": "requests.cpu", "memory": "requests.memory"}
_OF_CONTAINERS = ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


def find(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield quotas that would not let all in, and what they want each container to say."""
    quotas = [each for each in facts.all("ResourceQuota") if namespace_of(each) in wanted.namespaces]
    if not quotas:
        return
    asked = _asked(facts, wanted)
    defaults = _defaults(facts)
    for quota in quotas:
        if mapping(quota.get("spec")).get("scopes") or mapping(quota.get("spec")).get("scopeSelector"):
            continue  # counts some pods only
        yield from _of_quota(quota, asked[namespace_of(quota)])
        yield from _unset(quota, wanted, defaults[namespace_of(quota)])


def _of_quota(quota: Body, asked: Amounts) -> Iterator[Finding]:
    used = amounts(mapping(quota.get("status")).get("used"))
    for name, hard in sorted(amounts(mapping(quota.get("spec")).get("hard")).items()):
        left = hard - used.get(name, Decimal(0))
        wants = asked.get(_SHORT.get(name, name), Decimal(0))
        if wants > left:
            yield told(
                "quota",
                f"the quota has too little {name} left",
                where=f"ResourceQuota {namespace_of(quota)}/{name_of(quota)}",
                found=f"{shown(name, left)} of {shown(name, hard)}",
                expected=shown(name, wants),
                hint="have the quota raised, or request less in the site's values",
            )


def _asked(facts: SiteFacts, wanted: Wanted) -> dict[str, Amounts]:
    """Return what is asked for beyond what is there, by namespace."""
    existing = known(facts.existing, EXISTING)
    asked: dict[str, Amounts] = defaultdict(dict)
    for _, manifest in wanted.acting:
        key = key_for(manifest, wanted, facts)
        if key is None or key in existing:
            continue  # what is there is counted as used already
        total = asked[manifest.namespace]
        counted = _COUNTED.get(manifest.kind)
        if counted:
            add(total, {counted: Decimal(1)})
        for claim, times in claims_of(manifest):
            size = parse_quantity(mapping(mapping(claim.get("resources")).get("requests")).get("storage"))
            more = {"requests.storage": size or Decimal(0)}
            if manifest.kind != "PersistentVolumeClaim":
                more["persistentvolumeclaims"] = Decimal(1)
            add(total, more, times)
        template = template_of(manifest)
        if template is not None:
            add(total, _of_template(template), template.count)
    return asked


def claims_of(manifest: Manifest) -> Iterator[tuple[Body, int]]:
    """Yield the specs of the volume claims that an object makes, and how many of each."""
    spec = mapping(manifest.body.get("spec"))
    if manifest.kind == "PersistentVolumeClaim":
        yield spec, 1
    elif manifest.kind == "StatefulSet":
        replicas = spec.get("replicas", 1)
        for claim in entries(spec.get("volumeClaimTemplates")):
            yield mapping(claim.get("spec")), replicas if isinstance(replicas, int) else 1


def _of_template(template: PodTemplate) -> Amounts:
    found: Amounts = {"pods": Decimal(1)}
    add(found, {f"requests.{name}": number for name, number in requests_of(template.spec).items()})
    add(found, {f"limits.{name}": number for name, number in limits_of(template.spec).items()})
    return found


def _defaults(facts: SiteFacts) -> dict[str, set[str]]:
    """Return what LimitRanges fill in for containers that don't say it, by namespace."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in facts.all("LimitRange"):
        for limit in entries(mapping(each.get("spec")).get("limits")):
            if limit.get("type") == "Container":
                filled = found[namespace_of(each)]
                filled.update(f"limits.{name}" for name in mapping(limit.get("default")))
                filled.update(f"requests.{name}" for name in mapping(limit.get("default")))
                filled.update(f"requests.{name}" for name in mapping(limit.get("defaultRequest")))
    return found


def _unset(quota: Body, wanted: Wanted, filled: set[str]) -> Iterator[Finding]:
    """Yield the containers that don't say what a quota of their namespace counts: the cluster refuses their pods."""
    hard = {_SHORT.get(name, name) for name in mapping(mapping(quota.get("spec")).get("hard"))}
    for name in _OF_CONTAINERS:
        part, _, resource = name.partition(".")
        if name not in hard or name in filled:
            continue
        for _, manifest in wanted.acting:
            template = template_of(manifest) if manifest.namespace == namespace_of(quota) else None
            for place, container in containers_of(template.spec) if template else ():
                resources = mapping(container.get("resources"))
                said = mapping(resources.get(part)).get(resource)
                if said is None and (part == "limits" or mapping(resources.get("limits")).get(resource) is None):
                    yield told(
                        "quota-unset",
                        f"the container says no {name}, which a quota of its namespace counts: its pods are refused",
                        where=f"{manifest}: {template.path if template else ''}.{place}.resources",
                        found=f"ResourceQuota {namespace_of(quota)}/{name_of(quota)}",
                        hint=f"set {name} in the site's values, or have a LimitRange fill it in",
                    )


def ranges(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the containers and claims outside of what a LimitRange of their namespace allows."""
    for each in facts.all("LimitRange"):
        home = namespace_of(each)
        for limit in entries(mapping(each.get("spec")).get("limits")):
            for _, manifest in wanted.acting:
                if manifest.namespace == home:
                    for where, number, bound, text in _outside(manifest, limit):
                        yield told(
                            "limit-range",
                            f"it is outside of what the namespace allows ({text})",
                            where=where,
                            found=number,
                            expected=bound,
                            hint=f"change it in the site's values, or LimitRange {home}/{name_of(each)}",
                        )


def _outside(manifest: Manifest, limit: Body) -> Iterator[tuple[str, str, str, str]]:
    lowest, highest = amounts(limit.get("min")), amounts(limit.get("max"))
    for where, asked, most in _sized(manifest, str(limit.get("type"))):
        for name, bound in sorted(highest.items()):
            number = max(asked.get(name, Decimal(0)), most.get(name, Decimal(0)))
            if number > bound:
                yield where, shown(name, number), f"{shown(name, bound)} at most", name
        for name, bound in sorted(lowest.items()):
            if name in asked and asked[name] < bound:
                yield where, shown(name, asked[name]), f"{shown(name, bound)} at least", name


def _sized(manifest: Manifest, kind: str) -> Iterator[tuple[str, Amounts, Amounts]]:
    """Yield place, requests and limits of what a LimitRange of a kind looks at."""
    template = template_of(manifest)
    if kind == "PersistentVolumeClaim":
        for claim, _ in claims_of(manifest):
            yield f"{manifest}: storage", amounts(mapping(claim.get("resources")).get("requests")), {}
    elif template is not None and kind == "Pod":
        yield f"{manifest}: {template.path}", requests_of(template.spec), limits_of(template.spec)
    elif template is not None and kind == "Container":
        for place, container in containers_of(template.spec):
            resources = mapping(container.get("resources"))
            where = f"{manifest}: {template.path}.{place}.resources"
            yield where, amounts(resources.get("requests")), amounts(resources.get("limits"))
