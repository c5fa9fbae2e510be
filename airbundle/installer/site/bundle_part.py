"""What of a site is one bundle's alone: it goes with the bundle, where other bundles stay. Pure.

Releases, by who brought them last; and namespaces that no release of another bundle lies in, with what was put into
them for all. Nodes and DNS are one for all bundles of a site, and go with the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from airbundle.deploy.objects import CRD, NAMESPACE, parse_key
from airbundle.errors import Finding
from airbundle.installer.journal import Entry
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.undo_order import DNS, RELEASES, Action, part_of

_RELEASE, _ISSUER = "release/", "trust/issuer"
_FOR_ALL = ("trust", "secrets")


@dataclass(frozen=True)
class BundlePart:
    """What goes with a bundle.

    Attributes:
        releases: its own that are up.
        actions: those of the site's journal that take it back.
    """

    releases: tuple[DeployedRelease, ...]
    actions: tuple[Action, ...]


def bundle_part(deployments: Sequence[Deployment], entries: Sequence[Entry], bundle: str) -> BundlePart:
    """Return what goes with a bundle.

    Args:
        deployments: of the site, oldest first.
        entries: of its journal.
        bundle: its name.
    """
    up = deployments[-1].releases if deployments else ()
    others = [each for each in up if each.bundle != bundle]
    names = _names(deployments, entries, bundle)
    made = [(entry.step, action) for entry in entries for action in entry.undo]
    own = {
        each.namespace for past in deployments for each in past.releases if each.bundle == bundle and each.name in names
    }
    own.update(space for step, action in made if _release(step) in names for space in _spaces(action))
    alone = own - spaces_of(others)
    theirs = {text for each in others for text in each.objects}
    issuer = any(step == _ISSUER and _spaces(action) & alone for step, action in made)
    chosen = [
        action
        for step, action in made
        if _goes(step, action, names, alone, issuer=issuer) and action.get("object") not in theirs
    ]
    return BundlePart(tuple(each for each in up if each.bundle == bundle), tuple(chosen))


def _names(deployments: Sequence[Deployment], entries: Sequence[Entry], bundle: str) -> set[str]:
    """Return the names of a bundle's releases, also of those that never came up: by what was deployed at that time."""
    owners = {each.name: each.bundle for past in deployments for each in past.releases}
    for entry in entries:
        name = _release(entry.step)
        if name and name not in owners:
            begun = [each.name for each in deployments if each.time <= entry.time]
            owners.update({name: begun[-1]} if begun else {})
    return {name for name, owner in owners.items() if owner == bundle}


def _release(step: str) -> str:
    return step[len(_RELEASE) :] if step.startswith(_RELEASE) else ""


def _goes(step: str, action: Action, names: set[str], alone: set[str], *, issuer: bool) -> bool:
    if _is_namespace(action):
        return _spaces(action) <= alone
    if part_of(action) != RELEASES or part_of(action) == DNS:
        return False
    if step == _ISSUER:
        return issuer
    return _release(step) in names or (step in _FOR_ALL and bool(_spaces(action)) and _spaces(action) <= alone)


def _is_namespace(action: Action) -> bool:
    return action.get("object", "").startswith(f"v1/{NAMESPACE}/")


def _spaces(action: Mapping[str, str]) -> set[str]:
    """Return the namespace that an action changes something in, or makes."""
    if "helm" in action:
        return {action["helm"].partition("/")[0]}
    text = action.get("object") or action.get("restore")
    if not text:
        return set()
    key = parse_key(text)
    return {key.name if key.kind == NAMESPACE else key.namespace} - {""}


def spaces_of(releases: Iterable[DeployedRelease]) -> set[str]:
    """Return the namespaces that releases lie in."""
    keys = [parse_key(text) for each in releases for text in each.objects]
    found = {key.name if key.kind == NAMESPACE else key.namespace for key in keys}
    return (found | {each.namespace for each in releases}) - {""}


def needed_definitions(
    going: Iterable[DeployedRelease], staying: Iterable[tuple[str, DeployedRelease]]
) -> Iterator[Finding]:
    """Yield where releases that stay have objects of a kind whose definition would go, and those with it.

    Args:
        going: releases whose data goes, too.
        staying: others of the same cluster, each with what it is of, for people.
    """
    groups = {
        key.name.partition(".")[2]: (key.title, release.name)
        for release in going
        for key in map(parse_key, release.objects)
        if key.kind == CRD
    }
    for where, release in staying:
        for key in map(parse_key, release.objects):
            group = key.api_version.partition("/")[0]
            if group in groups:
                title, name = groups[group]
                what = f"{key.title} would go with {title}, which release {name} brought"
                yield Finding(what, where=f"release {release.name} of {where}", code="definition")
