"""Values files as helm reads them, and what in them a person should look at.

helm takes the first of several documents, the last of two equal keys, and merge keys; so does this, and tells the
first two. Sources: sigs.k8s.io/yaml, go-yaml v2 `decode.go`, helm `pkg/chartutil/values.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from airbundle.bundle.chart_yaml import compose_yaml, scalar_of, text_of
from airbundle.bundle.site import SiteValue
from airbundle.bundle.template_yaml import fill_yaml
from airbundle.errors import DocumentError, Finding, VerificationError

VALUES_LIMIT = 5 * 1024 * 1024
"""Largest values file in bytes."""
_NODES_LIMIT = 500_000
"""Most values once aliases are followed."""


@dataclass(frozen=True)
class ValuesFile:
    """A values file.

    Attributes:
        name: its path, as people know it.
        text: with the names of the site filled in; what helm is given.
        body: what that text holds.
        findings: warnings about its form.
    """

    name: str
    text: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    findings: tuple[Finding, ...] = ()


def read_values(raw: bytes, names: Mapping[str, SiteValue], where: str) -> ValuesFile:
    """Read a values file.

    Args:
        raw: the file's bytes.
        names: what `{{ site.NAME }}` stands for.
        where: the file's name.

    Raises:
        DocumentError: not UTF-8, not YAML, no mapping, or it asks for an unknown name of the site.
    """
    if len(raw) > VALUES_LIMIT:
        raise _wrong(where, f"{len(raw)} bytes are more than the {VALUES_LIMIT} that values may have")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x}"
        raise _wrong(f"{where}:{line}", "the values are not UTF-8", found=found, expected="UTF-8 text") from None
    filled = fill_yaml(text, names, where)
    body, findings = parse_values(filled, where)
    return ValuesFile(where, filled, body, tuple(findings))


def parse_values(text: str, where: str) -> tuple[dict[str, Any], list[Finding]]:
    """Parse the text of values.

    Raises:
        DocumentError: not YAML, or no mapping.
    """
    try:
        root, more = compose_yaml(text, what=where)
        reader = _Reader(where)
        body = {} if root is None else reader.value(root)
    except VerificationError as error:
        _refuse_tabs(text, where)
        raise _wrong(where, error.problem.removeprefix(f"{where}: ")) from None
    if body is not None and not isinstance(body, dict):
        raise _wrong(f"{where}:1", "the values are no mapping", found=type(body).__name__, expected="NAME: value")
    if more:
        message = "a second document begins in this file; helm reads only the first"
        reader.findings.append(Finding(message, where, "values-file", severity="warning"))
    return body or {}, reader.findings


def _wrong(where: str, message: str, *, found: str = "", expected: str = "") -> DocumentError:
    finding = Finding(message, where, "values-file", found, expected)
    return DocumentError(str(finding), findings=[finding])


def _refuse_tabs(text: str, where: str) -> None:
    """Name a tab that indents, in a text that isn't YAML: what YAML says of it leads nobody there."""
    for number, line in enumerate(text.split("\n"), 1):
        if "\t" in line[: len(line) - len(line.lstrip())] and line.strip():
            expected = "spaces: YAML knows no tabs there"
            raise _wrong(f"{where}:{number}", "a tab indents this line", expected=expected)


class _Reader:
    """Turns nodes into values; bounded, as aliases of aliases grow without end."""

    def __init__(self, where: str) -> None:
        self.findings: list[Finding] = []
        self._where = where
        self._left = _NODES_LIMIT

    def value(self, node: yaml.Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise VerificationError(f"{self._where}: unfolds to more than {_NODES_LIMIT} values")
        if isinstance(node, yaml.ScalarNode):
            return scalar_of(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        return self._mapping(node)

    def _mapping(self, node: Any) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<" and not key_node.style:
                for part in self._merged(value_node):
                    merged = {**part, **merged}
                continue
            key = text_of(self.value(key_node), what=f"{self._where}:{key_node.start_mark.line + 1}: a key")
            if key in own:
                where = f"{self._where}:{key_node.start_mark.line + 1}"
                message = f"the key {key[:80]!r} stands twice; helm takes the last"
                self.findings.append(Finding(message, where, "values-doubled", severity="warning"))
            own[key] = self.value(value_node)
        return {**merged, **own}

    def _merged(self, node: yaml.Node) -> list[dict[str, Any]]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        parts = [self.value(part) for part in nodes]
        if not all(isinstance(part, dict) for part in parts):
            raise VerificationError(f"{self._where}:{node.start_mark.line + 1}: only a mapping can be merged (<<)")
        return parts
