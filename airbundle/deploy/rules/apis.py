"""Whether the cluster knows the kinds of all objects, and what stands between it and them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from airbundle.deploy.facts import DISCOVERY, Body, SiteFacts, known
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.rules.removed import REMOVED
from airbundle.deploy.templates import condition, name_of, namespace_of, selects
from airbundle.deploy.wanted import Wanted, WantedRelease, home_of
from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import entries, mapping

_WEBHOOKS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


def kinds(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the kinds that the cluster does not serve and no release brings in time."""
    served = known(facts.served, DISCOVERY)
    users: dict[tuple[str, str], list[tuple[WantedRelease, Manifest]]] = defaultdict(list)
    for release, manifest in wanted.acting:
        if manifest.kind and manifest.api_version:
            users[manifest.api_version, manifest.kind].append((release, manifest))
    for (api_version, kind), found in sorted(users.items(), key=lambda each: each[0]):
        if kind in served.get(api_version, {}):
            yield from _deprecated(api_version, kind, found)
        elif (api_version, kind) in wanted.crds:
            yield from _late(wanted, api_version, kind, found)
        else:
            yield _unknown(facts, api_version, kind, found)


def _places(found: list[tuple[WantedRelease, Manifest]]) -> str:
    return listed([f"release {release.name}: {manifest}" for release, manifest in found], 3)


def _deprecated(api_version: str, kind: str, found: list[tuple[WantedRelease, Manifest]]) -> Iterator[Finding]:
    gone, instead = REMOVED.get((api_version, kind), ("", ""))
    if gone:
        yield told(
            "api-deprecated",
            f"{api_version} {kind} is gone from Kubernetes {gone} on; this cluster still serves it",
            where=_places(found),
            expected=instead,
            hint="a newer version of the chart may use what took its place",
        )


def _late(
    wanted: Wanted, api_version: str, kind: str, found: list[tuple[WantedRelease, Manifest]]
) -> Iterator[Finding]:
    bringer = wanted.crds[api_version, kind][0]
    late = [(release, manifest) for release, manifest in found if bringer not in wanted.before(release)]
    if late:
        yield told(
            "api-order",
            f"{api_version} {kind} comes with the release {bringer}, which need not be up before",
            where=_places(late),
            hint=f"write `needs: [{bringer}]` into bundle.yaml",
        )


def _unknown(facts: SiteFacts, api_version: str, kind: str, found: list[tuple[WantedRelease, Manifest]]) -> Finding:
    where = _places(found)
    if (api_version, kind) in REMOVED:
        gone, instead = REMOVED[api_version, kind]
        return told(
            "api-removed",
            f"Kubernetes has no {api_version} {kind} any more, from {gone} on",
            where=where,
            expected=instead or "nothing: the feature is gone",
            hint="take a version of the chart that uses it" if instead else "switch it off in the values",
        )
    group = api_version.rpartition("/")[0]
    others = sorted(each for each in facts.api_versions if each.rpartition("/")[0] == group)
    return told(
        "api-missing",
        f"the cluster does not know {api_version} {kind}",
        where=where,
        found=f"of this group: {listed(others)}" if others else "nothing of this group",
        hint="add the release that brings its CustomResourceDefinition, or switch the part off in the values",
    )


def services(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the APIs that other programs serve and that are down, and autoscalers without metrics."""
    there = facts.all("APIService")
    used = {manifest.api_version for _, manifest in wanted.acting}
    for each in there:
        spec, available = mapping(each.get("spec")), condition(each, "Available")
        if not spec.get("service") or available.get("status") == "True":
            continue
        api_version = f"{spec.get('group')}/{spec.get('version')}"
        yield told(
            "api-service-down",
            f"the API {api_version} does not answer: deleting namespaces, and some of helm's requests, fail with it",
            where=f"APIService {name_of(each)}",
            found=str(available.get("message") or available.get("reason") or "no condition")[:200],
            hint="mend its Service's pods, or delete the APIService where its program is gone",
            severity="error" if api_version in used else "warning",
        )
    scalers = list(wanted.of_kind("HorizontalPodAutoscaler"))
    groups = {mapping(each.get("spec")).get("group") for each in there}
    if (
        scalers
        and "metrics.k8s.io" not in groups
        and not any(
            mapping(each.body.get("spec")).get("group") == "metrics.k8s.io" for each in wanted.of_kind("APIService")
        )
    ):
        hint = "carry metrics-server, or switch autoscaling off in the values"
        yield told(
            "metrics-missing", "autoscalers need metrics.k8s.io, which nobody serves", where=str(scalers[0]), hint=hint
        )


def webhooks(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the webhooks of others that fail closed and have nobody behind them."""
    alive = _alive(facts)
    namespaces = {
        name_of(each): mapping(mapping(each.get("metadata")).get("labels")) for each in facts.all("Namespace")
    }
    ours = {(manifest.kind, manifest.name) for manifest in wanted.of_kind(*_WEBHOOKS)}
    for kind in _WEBHOOKS:
        for each in facts.all(kind):
            for hook in entries(each.get("webhooks")):
                service = mapping(mapping(hook.get("clientConfig")).get("service"))
                target = (str(service.get("namespace")), str(service.get("name")))
                closed = hook.get("failurePolicy", "Fail") == "Fail"
                if not service or not closed or target in alive or (kind, name_of(each)) in ours:
                    continue
                met = next((one for _, one in wanted.acting if _is_asked(hook, one, facts, namespaces)), None)
                yield told(
                    "webhook-dead",
                    "the webhook refuses what it is asked about, because nothing runs behind it"
                    + (f": it would be asked about {met}" if met else ""),
                    where=f"{kind} {name_of(each)}: {hook.get('name')}",
                    found=f"Service {target[0]}/{target[1]} has no ready endpoint",
                    hint="mend its pods, or delete the configuration where its program is gone",
                    severity="error" if met else "warning",
                )


def _alive(facts: SiteFacts) -> set[tuple[str, str]]:
    """Return (namespace, name) of Services with a ready endpoint."""
    found = set()
    for each in facts.all("EndpointSlice"):
        name = mapping(mapping(each.get("metadata")).get("labels")).get("kubernetes.io/service-name")
        ready = (mapping(one.get("conditions")).get("ready") is not False for one in entries(each.get("endpoints")))
        if any(ready):
            found.add((namespace_of(each), str(name)))
    return found


def _is_asked(hook: Body, manifest: Manifest, facts: SiteFacts, namespaces: Mapping[str, Mapping[str, Any]]) -> bool:
    served = (facts.served or {}).get(manifest.api_version, {}).get(manifest.kind)
    if served is None:
        return False
    group, _, version = manifest.api_version.rpartition("/")
    home = home_of(manifest)
    labels = {"kubernetes.io/metadata.name": home, **namespaces.get(home, {})}
    if home and not selects(hook.get("namespaceSelector"), labels):
        return False
    if not selects(hook.get("objectSelector"), mapping(manifest.metadata.get("labels"))):
        return False
    asked = (("apiGroups", group), ("apiVersions", version), ("resources", served.plural))
    return any(
        all(_names(rule.get(field), value) for field, value in asked) and _names(rule.get("operations"), "CREATE")
        for rule in entries(hook.get("rules"))
    )


def _names(values: object, value: str) -> bool:
    return isinstance(values, list) and (value in values or "*" in values or "*/*" in values)
