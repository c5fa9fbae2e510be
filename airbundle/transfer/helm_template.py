"""A chart and its values laid out for `helm template`, alike on both sides; and its complaints, fit to be shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airbundle.bundle.inventory import KubernetesTarget
from airbundle.bundle.values_file import ValuesFile

OUTPUT_LIMIT = 32 * 1024 * 1024
"""Most bytes that one chart may render to; real ones of 5 MB exist."""
TIMEOUT = 120.0
"""Seconds that one render may take."""
DEFAULT_NAMESPACE = "default"
_ARCHIVE, _VALUES = "chart.tgz", "values-{}.yaml"
_SECRET = re.compile(r"pass|secret|token|key|credential|auth|private|salt|dsn", re.IGNORECASE)
_NO_SECRET = re.compile(r"existing|(?:name|ref|file|path|dir|enabled)$", re.IGNORECASE)
_SECRET_LENGTH = 4  # shorter ones are words of helm's own


@dataclass(frozen=True)
class HelmTemplate:
    """A render that helm is asked for.

    Attributes:
        archive: the chart, packed.
        values: in order, later ones win.
        kubernetes: the cluster to render for.
    """

    release: str
    namespace: str
    archive: bytes = field(repr=False)
    values: Sequence[ValuesFile] = field(repr=False)
    kubernetes: KubernetesTarget

    def arguments(self, directory: Path) -> list[str | Path]:
        """Write chart and values into a private directory and return the arguments after `template`."""
        chart = directory / _ARCHIVE
        chart.write_bytes(self.archive)
        arguments: list[str | Path] = ["--include-crds", "--namespace", self.namespace or DEFAULT_NAMESPACE]
        arguments += ["--kube-version", self.kubernetes.version] if self.kubernetes.version else []
        arguments += [word for version in self.kubernetes.api_versions for word in ("--api-versions", version)]
        for number, file in enumerate(self.values):
            path = directory / _VALUES.format(number)
            path.write_text(file.text, encoding="utf-8")
            arguments += ["--values", path]
        return [*arguments, "--", self.release, chart]

    def told(self, complaint: str, directory: Path, chart: str) -> str:
        """Return what helm complains of with people's names for its files, and without values that may be secret."""
        complaint = complaint.replace(str(directory / _ARCHIVE), chart)
        for number, file in enumerate(self.values):
            complaint = complaint.replace(str(directory / _VALUES.format(number)), file.name)
        return without_secrets(complaint, self.values)


def without_secrets(text: str, values: Sequence[ValuesFile]) -> str:
    """Return a text without what stands in values below keys that sound like a secret's."""
    for secret in sorted({found for file in values for found in _secrets(file.body)}, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _secrets(value: Any, secret: bool = False) -> Iterator[str]:
    """Yield the texts of values below keys that sound like a secret's."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            told = _NO_SECRET.search(key) is not None
            yield from _secrets(inner, not told and (secret or _SECRET.search(key) is not None))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, secret)
    elif secret and value is not None and not isinstance(value, bool) and len(str(value)) >= _SECRET_LENGTH:
        yield str(value)
