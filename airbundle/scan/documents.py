"""Reading renders: YAML documents into Kubernetes objects, hooks and tests told apart.

A broken document is a finding, and the others are read all the same. Documents are split at `---` in the first column:
inside a block scalar of an object every line is indented, so none of its own lines can be taken for an end.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airbundle.errors import Finding
from airbundle.scan.loading import Problem, load_document
from airbundle.scan.model import Manifest, Phase, Rendering

SIZE_LIMIT = 64 << 20
"""Most bytes of one render that are read."""
OBJECT_LIMIT = 50_000
"""Most objects of one render."""
_FINDINGS_LIMIT = 20  # doubled keys of one document that are told

_SEPARATOR = re.compile(rb"^---(?=[ \t\r\n]|\Z)|^\.\.\.[ \t\r]*$", re.MULTILINE)
_SOURCE = re.compile(r"^# Source: (\S[^\n]*)$", re.MULTILINE)
_CONTENT = re.compile(rb"^[ \t]*[^ \t\r\n#%]", re.MULTILINE)
_HOOK = "helm.sh/hook"
_TESTS = frozenset({"test", "test-success", "test-failure"})


@dataclass(frozen=True)
class _Document:
    raw: bytes
    line: int
    template: str = ""


def read_manifests(rendering: Rendering) -> tuple[list[Manifest], list[Finding]]:
    """Read the objects of one render.

    Args:
        rendering: helm's output or a manifest file; read up to `SIZE_LIMIT` bytes.

    Returns:
        the objects in their order, lists taken apart; and what could not be read, or only by settling something.
    """
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    output = as_utf8(rendering.output)
    if len(output) > SIZE_LIMIT:
        message = f"the render has {len(output)} bytes; only the first {SIZE_LIMIT} are scanned"
        findings.append(Finding(message, where=rendering.origin.source, code="render-too-large"))
        output = output[: max(output.rfind(b"\n---", 0, SIZE_LIMIT), 0)]
    template = ""
    for document in _split(output):
        text, problems = _decoded(document.raw)
        named = _SOURCE.search(text)
        template = named.group(1).strip() if named else template
        document = _Document(document.raw, document.line, template)
        loaded = load_document(text)
        problems += loaded.oddities
        if loaded.failure is not None:
            problems.append(loaded.failure)
        findings += _findings(rendering, document, problems, failed=loaded.failure is not None)
        bodies = objects_in(loaded.value)
        manifests.extend(Manifest(rendering.origin, body, template, phase_of(body)) for _, body in bodies)
        if loaded.value is not None and not isinstance(loaded.value, dict):
            odd = Problem(1, f"holds {_described(loaded.value)}, no object")
            findings += _findings(rendering, document, [odd], failed=True)
        if len(manifests) > OBJECT_LIMIT:
            message = f"more than {OBJECT_LIMIT} objects; the rest is not scanned"
            findings.append(Finding(message, where=rendering.origin.source, code="render-too-large"))
            break
    return manifests, findings


def phase_of(body: dict[str, Any]) -> Phase:
    """Return when an object acts, from its `helm.sh/hook` annotation (https://helm.sh/docs/topics/charts_hooks/)."""
    metadata = body.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    events = annotations.get(_HOOK) if isinstance(annotations, dict) else None
    names = {name.strip() for name in str(events or "").split(",")} - {""}
    if not names:
        return "run"
    return "test" if names <= _TESTS else "hook"


def as_utf8(raw: bytes) -> bytes:
    """Return the text of a render without a mark of its byte order."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace").encode()
    return raw[3:] if raw.startswith(codecs.BOM_UTF8) else raw


def document_spans(output: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each document that holds something, without its separators."""
    start = 0
    ends = [match.span() for match in _SEPARATOR.finditer(output)]
    for end, following in [*ends, (len(output), len(output))]:
        if _CONTENT.search(output[start:end]):
            yield start, end
        start = following


def _split(output: bytes) -> Iterator[_Document]:
    line = position = 0
    for start, end in document_spans(output):
        line += output.count(b"\n", position, start)
        position = start
        yield _Document(output[start:end], line + 1)


def _decoded(raw: bytes) -> tuple[str, list[Problem]]:
    try:
        return raw.decode(), []
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8: found the byte 0x{raw[error.start]:02x}"
        return raw.decode("utf-8", "replace"), [Problem(line, message, "save the file as UTF-8")]


def _findings(rendering: Rendering, document: _Document, problems: list[Problem], *, failed: bool) -> list[Finding]:
    made = []
    for problem in problems[:_FINDINGS_LIMIT]:
        if document.template:
            where = f"{rendering.origin.source}: {document.template}, line {problem.line} of what it renders"
        else:
            where = f"{rendering.origin.source}:{document.line + problem.line - 1}"
        made.append(
            Finding(
                problem.message,
                where=where,
                code="document-unreadable" if failed else "document-odd",
                hint=problem.hint,
                severity="error" if failed else "warning",
            )
        )
    return made


def objects_in(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a document with their paths; `kind: List` and `kind: PodList` have theirs in `items`."""
    if not isinstance(value, dict) or not value:
        return
    kind = value.get("kind")
    items = value.get("items")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list) and "spec" not in value):
        yield path, value
        return
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        if kind != "List" and "kind" not in item:
            item = {"apiVersion": value.get("apiVersion"), "kind": kind[: -len("List")], **item}
        yield from objects_in(item, f"{path}.items[{number}]" if path else f"items[{number}]")


def _described(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "the text " + repr(value[:60]) if isinstance(value, str) else f"the value {value!r}"[:80]
