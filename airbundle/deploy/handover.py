"""Which releases are an administrator's to deploy: those with objects that no right in a namespace covers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from airbundle.deploy.desired import Desired

INPUTS = "airbundle.dev/inputs"
"""Annotation of handed-over objects: the digest of what decides what their release is. So it is told which version the
administrator has applied."""
SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})


def why_administrators(objects: Sequence[Desired]) -> str:
    """Return why objects are an administrator's to make; empty where rights in namespaces are enough."""
    cluster = [each.key.title for each in objects if not each.key.namespace]
    system = [each.key.title for each in objects if each.key.namespace in SYSTEM]
    for what, titles in (("has objects of the whole cluster", cluster), ("has objects of Kubernetes' own", system)):
        if titles:
            return f"{what}: {titles[0]}" + (f" and {len(titles) - 1} more" if len(titles) > 1 else "")
    return ""


def handed_over(
    releases: Mapping[str, Sequence[Desired]], needs: Mapping[str, Sequence[str]], marked: Collection[str]
) -> dict[str, str]:
    """Return the releases that an administrator deploys, each with why, in the order given.

    What such a release needs has to be up before it, so that is the administrator's, too.

    Args:
        releases: name → its objects, in the order of needs.
        needs: name → names of releases that must be up before.
        marked: names that the site file hands over.
    """
    found = {
        name: "the site file says so" if name in marked else why_administrators(releases[name]) for name in releases
    }
    for name in reversed(list(releases)):
        for need in needs.get(name, ()) if found[name] else ():
            if need in found and not found[need]:
                found[need] = f"{name} needs it"
    return {name: why for name, why in found.items() if why}


def stamped(each: Desired, inputs: str) -> dict[str, object]:
    """Return an object's body with the digest of its release's inputs on it."""
    metadata = each.body["metadata"]
    annotations = {**(metadata.get("annotations") or {}), INPUTS: inputs}
    return {**each.body, "metadata": {**metadata, "annotations": annotations}}


def stamp_of(live: Mapping[str, object]) -> str:
    """Return the digest that `stamped` wrote on an object of the cluster; empty where there is none."""
    metadata = live.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    found = annotations.get(INPUTS) if isinstance(annotations, dict) else None
    return found if isinstance(found, str) else ""
