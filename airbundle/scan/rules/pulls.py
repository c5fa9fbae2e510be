"""`imagePullPolicy: Always`: a pod that asks the registry at every start, and stays down with it."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.scene import Scene, tell

_NAMES = frozenset({"imagePullPolicy", "pullPolicy"})


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the places, in pod specs and in custom resources."""
    for text in scene.texts:
        if text.name in _NAMES and text.value == "Always" and text.source == "field":
            yield tell(scene, text, "", _FINDING)


_FINDING = Finding(
    "the image is asked for at every start of the pod",
    code="pull-always",
    found="imagePullPolicy: Always",
    expected="IfNotPresent",
    hint="a node starts nothing from its own copy while the registry is away",
    severity="warning",
)
