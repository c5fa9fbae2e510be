"""What objects name and need: Secrets, ConfigMaps, accounts, claims, issuers, Services, classes, namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from airbundle.deploy.facts import KEYS, SiteFacts, known
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.templates import name_of, namespace_of, template_of
from airbundle.deploy.wanted import Wanted, home_of
from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules import absent, ports
from airbundle.scan.rules.issuers import asked_issuers
from airbundle.scan.rules.makers import Makers
from airbundle.scan.rules.needs import Need, is_made_by_itself, needs_of
from airbundle.scan.rules.scene import entries, mapping, place

_CODES = {
    "Secret": "missing-secret",
    "ConfigMap": "missing-configmap",
    "ServiceAccount": "missing-service-account",
    "PersistentVolumeClaim": "missing-claim",
}
ANY_KEY = "*"
"""Stands among the keys of what may not be looked at."""
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
_PRIORITIES = frozenset({"system-cluster-critical", "system-node-critical"})


def named(wanted: Wanted) -> list[tuple[str, str, str]]:
    """Return (kind, namespace, name) of what must be in the cluster already, because no release makes it."""
    makers = Makers(wanted.scene)
    return sorted({_what(need) for need in _needs(wanted) if not _is_made(wanted, makers, need)})


def asked(wanted: Wanted) -> list[tuple[str, str, str]]:
    """Return (kind, namespace, name) of the issuers of certificates that no release makes."""
    return sorted({what for what, _, _ in _asked(wanted)})


def _asked(wanted: Wanted) -> Iterator[tuple[tuple[str, str, str], Manifest, str]]:
    made = {_issuer(each.kind, each.namespace, each.name) for each in wanted.of_kind("Issuer", "ClusterIssuer")}
    for _, manifest in wanted.acting:
        for kind, name, path in asked_issuers(manifest):
            what = _issuer(kind, manifest.namespace, name)
            if what not in made and what not in wanted.made:
                yield what, manifest, path


def _issuer(kind: str, namespace: str, name: str) -> tuple[str, str, str]:
    return kind, "" if kind == "ClusterIssuer" else namespace, name


def _needs(wanted: Wanted) -> Iterator[Need]:
    for _, manifest in wanted.acting:
        yield from (need for need in needs_of(manifest) if not is_made_by_itself(need))


def _what(need: Need) -> tuple[str, str, str]:
    return need.kind, need.namespace, need.name


def _is_made(wanted: Wanted, makers: Makers, need: Need) -> bool:
    return _what(need) in wanted.made or makers.has(*_what(need))


def objects(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield what is needed, is not in the cluster, and is made by nobody; and keys that are not there."""
    makers = Makers(wanted.scene)
    told_of: set[tuple[str, str, str, str]] = set()
    for need in _needs(wanted):
        if _is_made(wanted, makers, need):
            continue
        there = known(facts.keys, KEYS).get(_what(need))
        if there is not None and (not need.key or there & {need.key, ANY_KEY}):
            continue
        same = (*_what(need), need.key if there is not None else "")
        if same not in told_of:
            told_of.add(same)
            yield _lacking(need, makers, _operated(wanted, need)) if there is None else _without_key(need, there)
    yield from (finding for finding in absent.find(wanted.scene) if finding.code == "missing-key")


def _operated(wanted: Wanted, need: Need) -> str:
    """Return the custom resource after which its operator may name the object; empty where there is none."""
    for _, manifest in wanted.acting:
        group = manifest.api_version.rpartition("/")[0]
        custom = "." in group and not group.endswith(".k8s.io")
        if custom and manifest.name and manifest.name in need.name and manifest.namespace == need.namespace:
            return str(manifest)
    return ""


def _lacking(need: Need, makers: Makers, operated: str) -> Finding:
    name = f"{need.namespace}/{need.name}" if need.namespace else need.name
    hint = "make it in the cluster, or"
    if need.kind == "Secret":
        hint += f" let the install make it: `secrets: [{{name: {need.name}, namespace: {need.namespace}, keys: …}}]`"
    else:
        hint += " add it to the bundle's manifests"
    maker = f"the operator of {operated}" if operated else ""
    maker = maker or ("a job of its release" if makers.has_job(need.manifest.origin, need.kind) else "")
    elsewhere = [each for each in makers.elsewhere(need.kind, need.name) if each]
    if elsewhere:
        hint = f"there is one in {listed(elsewhere)}, but none is seen from another namespace"
    return told(
        _CODES[need.kind],
        f"the {need.kind} {name} is needed; it is not in the cluster, and nobody makes it",
        where=str(place(need.manifest, need.path)),
        hint=f"{maker} may make it; if not, {hint}" if maker else hint,
        severity="error" if need.vital and not maker else "warning",
    )


def _without_key(need: Need, there: frozenset[str]) -> Finding:
    return told(
        "missing-key",
        f"the {need.kind} {need.namespace}/{need.name} of the cluster has no key {need.key!r}",
        where=str(place(need.manifest, need.path)),
        found=listed(sorted(there)) or "no keys",
        hint="name a key that it has, or add the key",
    )


def issuers(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the issuers of certificates that nobody makes; those of the cluster are read with what exists."""
    for what, manifest, path in _asked(wanted):
        if what not in known(facts.keys, KEYS):
            yield told(
                "missing-issuer",
                f"the {what[0]} {what[2]} is asked for a certificate; it is not in the cluster, and nobody makes it",
                where=str(place(manifest, path)),
                hint="name the ClusterIssuer of the site's own CA: {{ site.ca_issuer }}",
            )


def services(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the Services that Ingresses, routes and webhooks name, and nobody makes."""
    there = {f"{namespace_of(each)}/{name_of(each)}" for each in facts.all("Service")}
    for finding in ports.find(wanted.scene):
        if finding.code == "missing-service" and not any(f" {name} " in finding.message for name in there):
            yield replace(finding, severity="warning")  # an operator may make it


def classes(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the classes of ingresses, priorities and runtimes that are named and not there."""
    for code, kind, field in (
        ("priority-class", "PriorityClass", "priorityClassName"),
        ("runtime-class", "RuntimeClass", "runtimeClassName"),
    ):
        for _, manifest in wanted.acting:
            template = template_of(manifest)
            name = template.spec.get(field) if template else None
            if name and name not in _PRIORITIES and name not in _names(facts, wanted, kind):
                yield told(
                    code,
                    f"the {kind} {name!r} is not there: the cluster refuses the pods",
                    where=f"{manifest}: {template.path if template else ''}.{field}",
                    found=listed(sorted(_names(facts, wanted, kind))) or f"no {kind}",
                    hint="name one that is there in the site's values, or have it made",
                )
    for manifest in wanted.of_kind("Ingress"):
        yield from _ingress_class(facts, wanted, manifest)


def _names(facts: SiteFacts, wanted: Wanted, kind: str) -> set[str]:
    return {name_of(each) for each in facts.all(kind)} | {manifest.name for manifest in wanted.of_kind(kind)}


def _ingress_class(facts: SiteFacts, wanted: Wanted, manifest: Manifest) -> Iterator[Finding]:
    annotations = mapping(manifest.metadata.get("annotations"))
    name = mapping(manifest.body.get("spec")).get("ingressClassName")
    names = _names(facts, wanted, "IngressClass")
    if name and name not in names:
        yield told(
            "ingress-class",
            f"the IngressClass {name!r} is not there: nothing serves the Ingress",
            where=f"{manifest}: spec.ingressClassName",
            found=listed(sorted(names)) or "no IngressClass",
            hint="name one that is there in the site's values, or carry an ingress controller",
        )
    bodies = [*facts.all("IngressClass"), *(each.body for each in wanted.of_kind("IngressClass"))]
    default = any(
        mapping(mapping(each.get("metadata")).get("annotations")).get(_DEFAULT_INGRESS) in ("true", True)
        for each in bodies
    )
    if not name and _INGRESS_CLASS not in annotations and not default:
        yield told(
            "ingress-class",
            "the Ingress names no class, and the cluster has no default: perhaps nothing serves it",
            where=str(manifest),
            found=listed(sorted(names)) or "no IngressClass",
            hint="name a class in the site's values",
        )


def namespaces(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the namespaces that are not there and no release brings, and those that are going away."""
    there = {name_of(each): each for each in facts.all("Namespace")}
    for name in sorted(wanted.namespaces):
        if name not in there and name not in wanted.made_namespaces:
            users = [str(manifest) for _, manifest in wanted.acting if home_of(manifest) == name]
            yield told(
                "namespace-missing",
                f"the namespace {name} is not there, and no release brings it: it would be made",
                where=listed(users, 3),
                hint="correct the namespace in the values where it is not meant",
            )
        status, metadata = (mapping(there.get(name, {}).get(part)) for part in ("status", "metadata"))
        if status.get("phase") == "Terminating" or metadata.get("deletionTimestamp"):
            conditions = entries(status.get("conditions"))
            why = [str(each.get("message")) for each in conditions if each.get("status") == "True"]
            yield told(
                "namespace-terminating",
                "the namespace is being deleted: nothing can be made in it",
                where=f"namespace {name}",
                found=listed(why, 3)[:300],
                hint="wait until it is gone; what holds it are finalizers of objects in it",
            )
