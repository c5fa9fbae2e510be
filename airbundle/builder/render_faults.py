"""What helm says when a chart can't be rendered, as findings that name the value; and what a chart does meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airbundle.bundle.chart_values import ChartTree
from airbundle.errors import Finding
from airbundle.transfer.problems import clean

FAILED = "render-failed"
LIBRARY = "library charts are not installable"
_SHOWN = 600

_ACCOUNT = re.compile(r"^Error: (.*?)(?=\n+Use --debug|\nhelm\.go:|\Z)", re.DOTALL | re.MULTILINE)
_KUBERNETES = re.compile(r"chart requires kubeVersion: (.+) which is incompatible with Kubernetes (\S+)")
_SCHEMA = "values don't meet the specifications of the schema(s)"
_FAR = re.compile(r'Get "https?://')
_REFUSED = re.compile(r"execution error at \(([^()\s]+?):(\d+)(?::\d+)?\): (.*)", re.DOTALL)
_EXECUTING = re.compile(r"([^\s:]+):(\d+):\d+:\s+executing \"[^\"]*\" at <([^<>]*)>: ((?:(?! at <).)*)\Z", re.DOTALL)
_YAML = re.compile(r"YAML parse error on (\S+): (?:error converting YAML to JSON: )?(.*)", re.DOTALL)
_VALUES = re.compile(r"\.Values((?:\.[A-Za-z0-9_-]+)+)")
_COMMENT = re.compile(rb"\{\{-?\s*/\*")
_COMMENT_END = re.compile(rb"\*/\s*-?\}\}")
_LOOKUP = re.compile(rb"\{\{[^{}]*\blookup\s+[(\"$.`]")
_CALL_OUT = re.compile(rb"\{\{[^{}]*\bgetHostByName\s")
_REMOTE_SCHEMA = re.compile(rb'"\$ref"\s*:\s*"(https?://[^"#]+)')
_NAMED = 3
_NEAR = 6
"""Lines of a template among which the value is looked for."""


def render_faults(complaint: str, tree: ChartTree) -> list[Finding]:
    """Return what helm complained of; nothing for a library chart, which is there for others.

    Args:
        complaint: helm's standard error.
        tree: the chart; the value that a template line asks for is looked up in it.
    """
    found = _ACCOUNT.search(complaint)
    words = found[1].strip() if found else complaint.strip()
    if words == LIBRARY:
        return []
    if _SCHEMA in words:
        return list(_schema(words, tree.metadata.name)) or [_plain(words)]
    kubernetes = _KUBERNETES.search(words)
    if kubernetes:
        return [
            Finding(
                "the chart refuses the Kubernetes version",
                code="render-kubernetes",
                found=kubernetes[2],
                expected=clean(kubernetes[1]),
                hint="write the cluster's own into bundle.yaml (kubernetes.version), or take a chart that knows it",
            )
        ]
    return [_refused(words, tree) or _executing(words, tree) or _not_yaml(words) or _plain(words)]


def is_bad_yaml(complaint: str) -> bool:
    """Tell whether templates were rendered, and one of them is not YAML: helm prints them when it is asked to."""
    return bool(_YAML.search(complaint))


def is_far_schema(complaint: str) -> bool:
    """Tell whether a schema could not be had from its URL; what it would say of the values is not known then."""
    return _SCHEMA in complaint and bool(_FAR.search(complaint))


def _plain(words: str) -> Finding:
    return Finding(f"helm can't render the chart: {clean(words, _SHOWN)}", code=FAILED)


def _schema(words: str, chart: str) -> Iterator[Finding]:
    below = ""
    for line in words.splitlines()[1:]:
        if line.endswith(":") and not line.startswith("- "):
            below = line[:-1]
        elif line.startswith("- "):
            place, _, said = line[2:].partition(": ")
            required = re.fullmatch(r"(.+) is required", said)
            names = [
                below if below != chart else "",
                "" if place == "(root)" else place,
                required[1] if required else "",
            ]
            value = ".".join(name for name in names if name)
            about = f"the value {clean(value)!r}" if value else "the values"
            message = f"{about} does not fit the chart's schema: {clean(said)}"
            yield Finding(message, code="render-schema", hint="set it in the release's values")


def _refused(words: str, tree: ChartTree) -> Finding | None:
    match = _REFUSED.search(words)
    if match is None:
        return None
    values = _values_at(tree, match[1], int(match[2]))
    about = f" for want of the value {' or '.join(map(repr, values))}" if values else ""
    return Finding(
        f"the chart refuses to be rendered{about}: {clean(match[3], _SHOWN)}",
        code="render-refused",
        found=clean(f"{match[1]} line {match[2]}"),
        hint="set it in the release's values" if values else "set what it asks for in the release's values",
    )


def _executing(words: str, tree: ChartTree) -> Finding | None:
    match = _EXECUTING.search(words)
    if match is None:
        return None
    values = _values_in(match[3], _value_prefix(tree, match[1])) or _values_at(tree, match[1], int(match[2]))
    about = f" at the value {' or '.join(map(repr, values))}" if values else ""
    return Finding(
        f"a template of the chart fails{about}: {clean(match[4], _SHOWN)}",
        code=FAILED,
        found=clean(f"{match[1]} line {match[2]}"),
        hint="compare its form with the chart's own values.yaml" if values else "",
    )


def _not_yaml(words: str) -> Finding | None:
    match = _YAML.search(words)
    if match is None:
        return None
    return Finding(
        f"the chart renders {clean(match[1])} to what isn't YAML: {clean(match[2], _SHOWN)}",
        code="render-yaml",
        hint="a value of a wrong form, or one that needs quotes, does this",
    )


def _values_at(tree: ChartTree, path: str, line: int) -> list[str]:
    """Return the values that a template's line names, or the next one above it that names some: `fail` stands in `if`.

    They are named as the chart that is rendered knows them.
    """
    for top, part in tree.walk():
        data = part.files.get(path[len(top) + 1 :]) if path.startswith(f"{top}/") else None
        if data is not None:
            lines = data.decode("utf-8", "replace").splitlines()
            near = reversed(lines[max(0, line - _NEAR) : line])
            return next((values for text in near if (values := _values_in(text, _prefix(top)))), [])
    return []


def _value_prefix(tree: ChartTree, path: str) -> str:
    tops = [top for top, _ in tree.walk() if path.startswith(f"{top}/")]
    return _prefix(max(tops, key=len)) if tops else ""


def _prefix(top: str) -> str:
    return "".join(f"{name}." for name in top.split("/charts/")[1:])


def _values_in(text: str, prefix: str) -> list[str]:
    found = dict.fromkeys(prefix + name[1:] for name in _VALUES.findall(text))
    return list(found)[:_NAMED]


def render_habits(tree: ChartTree) -> list[Finding]:
    """Return warnings about a chart whose render depends on more than its values."""
    lookups, calls, schemas = [], [], []
    for top, part in tree.walk():
        for path, data in sorted(part.files.items()):
            if path == "values.schema.json":
                schemas += [f"{top}/{path}: {url.decode('utf-8', 'replace')}" for url in _REMOTE_SCHEMA.findall(data)]
            if not path.startswith("templates/") or (b"lookup" not in data and b"getHostByName" not in data):
                continue
            code = _without_comments(data)
            lookups += [f"{top}/{path}"] if _LOOKUP.search(code) else []
            calls += [f"{top}/{path}"] if _CALL_OUT.search(code) else []
    return [
        *_habit(
            "reads-cluster",
            "the chart reads the cluster while it is rendered (lookup), which is empty here: what it would find there "
            "may change what runs",
            lookups,
        ),
        *_habit(
            "calls-out",
            "the chart asks DNS while it is rendered (getHostByName), and is answered with nothing",
            calls,
        ),
        *_habit(
            "calls-out",
            "the chart's schema refers to a URL, which helm would fetch whenever it is rendered, at the site as well: "
            "it is kept from that here, and can't there",
            schemas,
        ),
    ]


def _without_comments(template: bytes) -> bytes:
    kept, position = [], 0
    while (begin := _COMMENT.search(template, position)) and (end := _COMMENT_END.search(template, begin.end())):
        kept.append(template[position : begin.start()])
        position = end.end()
    return b"".join([*kept, template[position:]])


def _habit(code: str, message: str, places: list[str]) -> Iterator[Finding]:
    if places:
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        yield Finding(message, code=code, found=clean(", ".join(places[:_NAMED]), _SHOWN) + more, severity="warning")
