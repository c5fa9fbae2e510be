"""What this user may do in the cluster, against what the plan needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from airbundle.deploy.facts import DENIED, Access, SiteFacts, known
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.rules.names import registry_name
from airbundle.deploy.wanted import Wanted, key_for
from airbundle.errors import Finding

_APPLY = ("create", "delete", "get", "patch")
_OF_HELM = ("create", "delete", "get", "list", "update")
_RBAC = "rbac.authorization.k8s.io"
_ROLES = frozenset({"roles", "clusterroles"})


def needed(facts: SiteFacts, wanted: Wanted) -> list[Access]:
    """Return what the plan needs, sorted: to apply each object, keep Helm's records, and see whether pods are up.

    Kinds that come with the releases themselves count by their definitions.
    """
    found: set[Access] = set()
    for _, manifest in wanted.acting:
        key = key_for(manifest, wanted, facts)
        if key is None:
            continue
        served = (facts.served or {}).get(key.api_version, {}).get(key.kind)
        brought = wanted.crds.get((key.api_version, key.kind))
        plural = served.plural if served else brought[2] if brought else ""
        if plural:
            group = key.api_version.rpartition("/")[0]
            found.update(Access(key.namespace, group, plural, verb) for verb in _APPLY)
            if group == _RBAC and plural in _ROLES:
                found.add(Access(key.namespace, group, plural, "escalate"))
    for release in wanted.releases:
        if release.chart:
            found.update(Access(release.namespace, "", "secrets", verb) for verb in _OF_HELM)
    for namespace in wanted.namespaces:
        found.update(Access(namespace, "", resource, "list") for resource in ("pods", "events"))
        found.add(Access(namespace, "", "pods/log", "get"))
    for secret in wanted.site.secrets:
        found.update(Access(secret.namespace, "", "secrets", verb) for verb in _APPLY)
    if wanted.serves and (wanted.site.dns.zone or registry_name(wanted)):
        found.update(Access("kube-system", "", "configmaps", verb) for verb in ("get", "patch"))
    if not wanted.made_namespaces <= wanted.there:
        found.update(Access("", "", "namespaces", verb) for verb in ("get", "create") if wanted.releases)
    return sorted(found)


def find(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield what is denied: one finding for each resource of each namespace."""
    del wanted
    by_target: dict[tuple[str, str], list[str]] = defaultdict(list)
    for access in known(facts.denied, DENIED):
        by_target[access.namespace, access.target].append(access.verb)
    for (namespace, target), verbs in sorted(by_target.items()):
        where = f"namespace {namespace}" if namespace else "cluster"
        if "escalate" in verbs:
            verbs.remove("escalate")
            yield told(
                "rbac-escalate",
                f"this user may make {target} only with rights that it has itself",
                where=where,
                hint="where a role has more, the cluster refuses it: let an administrator install that release",
            )
        if verbs:
            yield told(
                "rbac",
                f"this user may not {listed(verbs, 9)} {target}",
                where=where,
                expected="a role that lets it",
                hint="ask an administrator for the role, or let one install what needs it",
            )
