"""What would change in an object of a cluster, for people: a unified diff of its YAML, without noise and secrets.

What the cluster writes itself (status, versions, who manages what) is no change. An object as it lies in a bundle lacks
all that the cluster fills in: then only the fields that it has are compared. An answer of the cluster, such as that of
an apply that is a dry run, is compared as a whole: use that one where it can be had.

Values of Secrets, and of fields, variables and lines whose name says that they are secret, are shown as `…`; where one
changes, the new one is `… (changed)`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any, Optional

import yaml

from airbundle.bundle.digest import sha256
from airbundle.bundle.redaction import HIDDEN
from airbundle.deploy.dig import mapping, text
from airbundle.deploy.mask import hide_both

Body = Mapping[str, Any]

LINES = 400
"""Most lines of a diff that are shown."""
_COMPARED = 20_000
_CONTEXT = 3
_KEPT_BY_CLUSTER = frozenset({"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"})
_KEPT_BY_TOOLS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "deprecated.daemonset.template.generation",
    }
)
_DATA = ("data", "binaryData")
_IDENTITIES = ("name", "key", "mountPath", "containerPort", "port", "ip", "topologyKey")
"""What names an item of a list, in the API's own lists."""


def unified(live: Optional[Body], desired: Optional[Body]) -> str:
    """Return how an object would change; an empty text where it would not.

    Args:
        live: as the cluster has it; None where it has none.
        desired: as it is to be, an answer of the cluster or as written; None for a deletion.
    """
    old, new = without_noise(live or {}), without_noise(desired or {})
    if live and desired and not _is_answer(desired):
        # The cluster fills nothing into the data of ConfigMaps and Secrets: what is missing there, goes.
        old = {**_set_by(old, new), **{name: old[name] for name in _DATA if name in old}}
    old, new = hide_both(old, new)
    name = text(desired or live, "metadata", "name")
    return _diff(_lines(old), _lines(new), f"{text(desired or live, 'kind')} {name}")


def without_noise(body: Body) -> dict[str, Any]:
    """Return an object without what the cluster writes itself; a Secret's `stringData` stands in its `data`."""
    found = {name: value for name, value in body.items() if name != "status"}
    metadata = {name: value for name, value in mapping(body, "metadata").items() if name not in _KEPT_BY_CLUSTER}
    annotations = mapping(metadata, "annotations")
    kept = {name: value for name, value in annotations.items() if name not in _KEPT_BY_TOOLS}
    metadata.pop("annotations", None)
    if kept:
        metadata["annotations"] = kept
    if metadata:
        found["metadata"] = metadata
    if body.get("kind") == "Secret" and mapping(body, "stringData"):
        plain = {
            name: base64.b64encode(str(value).encode()).decode() for name, value in found.pop("stringData").items()
        }
        found["data"] = {**mapping(body, "data"), **plain}
    return found


def _is_answer(body: Body) -> bool:
    metadata = mapping(body, "metadata")
    return "uid" in metadata or "managedFields" in metadata


def _set_by(live: Any, desired: Any) -> Any:
    """Return the part of a live value that `desired` says something about."""
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        return {name: _set_by(live[name], value) for name, value in desired.items() if name in live}
    if isinstance(live, list) and isinstance(desired, list):
        return [_set_by(each, _counterpart(each, number, desired)) for number, each in enumerate(live)]
    return live


def _counterpart(item: Any, number: int, listed: Sequence[Any]) -> Any:
    """Return the item of a list that stands for the same thing: that has its name, or its place."""
    for identity in _IDENTITIES:
        if isinstance(item, Mapping) and identity in item:
            found = [each for each in listed if isinstance(each, Mapping) and each.get(identity) == item[identity]]
            return found[0] if found else item
    return listed[number] if number < len(listed) else item


def _lines(body: Body) -> list[str]:
    if not body:
        return []
    return yaml.dump(body, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=1 << 20).splitlines()


def _diff(old: list[str], new: list[str], name: str) -> str:
    if old == new:
        return ""
    whole = [*old, "", *new]
    if max(len(old), len(new)) > _COMPARED:
        old, new = _different(old, new)
    sides = (f"{name} (cluster)", f"{name} (bundle)")
    lines = list(unified_diff(old, new, *sides, n=_CONTEXT, lineterm=""))
    if len(lines) > LINES:
        # A reviewed plan holds for the lines that are not shown, too: their digest stands for them.
        rest = sha256("\n".join(whole).encode("utf-8", "surrogatepass"))
        lines = [*lines[:LINES], f"{HIDDEN} and {len(lines) - LINES} more lines ({rest})"]
    return "\n".join(lines) + "\n"


def _different(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Return what lies between equal beginnings and ends, cut: comparing takes the square of its length."""
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    end = 0
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    cut = [lines[max(start - _CONTEXT, 0) : len(lines) - max(end - _CONTEXT, 0)] for lines in (old, new)]
    return cut[0][:_COMPARED], cut[1][:_COMPARED]


_Fastest: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Fastest):  # type: ignore[misc]
    """YAML without anchors; texts of several lines stand as they are, so that they differ line by line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own
        return True


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
