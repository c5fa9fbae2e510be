"""Secrets, ConfigMaps, ServiceAccounts and claims that something needs and nobody makes."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.makers import Makers
from airbundle.scan.rules.needs import Need, is_made_by_itself, needs_of
from airbundle.scan.rules.scene import Scene, mapping, place, tell
from airbundle.scan.rules.texts import Text, secret_data

_CODES = {
    "Secret": "missing-secret",
    "ConfigMap": "missing-configmap",
    "ServiceAccount": "missing-service-account",
    "PersistentVolumeClaim": "missing-claim",
}


def find(scene: Scene) -> Iterator[Finding]:
    """Yield what is missing, and keys that a rendered Secret or ConfigMap doesn't have."""
    makers = Makers(scene)
    asked: dict[tuple[str, str, str], bool] = {}
    keys = _keys(scene)
    for manifest in scene.manifests:
        for need in needs_of(manifest):
            what = (need.kind, need.namespace, need.name)
            if what not in asked:
                asked[what] = makers.has(*what)
            if is_made_by_itself(need):
                continue
            if not asked[what]:
                yield _missing(scene, need, makers)
            elif need.key and need.key not in keys.get(what, {need.key}):
                yield _missing_key(need)


def _keys(scene: Scene) -> dict[tuple[str, str, str], set[str]]:
    """Keys of rendered Secrets and ConfigMaps; not of empty ones, which somebody fills later."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for manifest in scene.by_kind.get("Secret", ()):
        found.setdefault(("Secret", manifest.namespace, manifest.name), set()).update(secret_data(manifest))
    for manifest in scene.by_kind.get("ConfigMap", ()):
        held = {*mapping(manifest.body.get("data")), *mapping(manifest.body.get("binaryData"))}
        found.setdefault(("ConfigMap", manifest.namespace, manifest.name), set()).update(held)
    return {what: keys for what, keys in found.items() if keys}


def _missing(scene: Scene, need: Need, makers: Makers) -> Finding:
    elsewhere = [namespace for namespace in makers.elsewhere(need.kind, need.name) if namespace]
    hint = "have the site make it (`secrets` of site.yaml), or add a manifest" if need.kind == "Secret" else "add it"
    vital = need.vital
    if makers.has_job(need.manifest.origin, need.kind):
        vital, hint = False, "a job of this chart may make it; if it doesn't, " + hint
    if elsewhere:
        hint = f"there is one in {', '.join(elsewhere)}, but none is seen from another namespace"
    name = f"{need.namespace}/{need.name}" if need.namespace else need.name
    finding = Finding(
        f"the {need.kind} {name} is needed, and nobody makes it",
        code=_CODES[need.kind],
        hint=hint,
        severity="error" if vital else "warning",
    )
    return tell(scene, Text(need.manifest, need.path, need.path.rpartition(".")[2], need.name, "field"), "", finding)


def _missing_key(need: Need) -> Finding:
    name = f"{need.namespace}/{need.name}" if need.namespace else need.name
    return Finding(
        f"the {need.kind} {name} has no key {need.key!r}",
        str(place(need.manifest, need.path)),
        "missing-key",
        hint="name a key that it has, or add the key",
    )
