"""Objects from YAML, for the tests of the rules."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from airbundle.errors import Finding
from airbundle.scan.model import Manifest, Origin, Phase, Rendering
from airbundle.scan.rules import run_rules

ORIGIN = Origin("chart app 1.0.0", release="app", namespace="apps", chart="app", version="1.0.0", app_version="2.5.0")


def objects(text: str, *, origin: Origin = ORIGIN, phase: Phase = "run", template: str = "") -> list[Manifest]:
    """Return the objects of a YAML text."""
    return [Manifest(origin, body, template, phase) for body in yaml.safe_load_all(textwrap.dedent(text)) if body]


def rendering(
    given: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None, *, origin: Origin = ORIGIN
) -> Rendering:
    """Return a render whose values were given by one file."""
    files = [("values/app.yaml", given)] if given else []
    return Rendering(origin, b"", defaults or {}, {**(defaults or {}), **(given or {})}, files)


def findings(text: str, given: Mapping[str, Any] | None = None, **site: Any) -> list[Finding]:
    """Run all rules over objects of one render."""
    return run_rules(objects(text), [rendering(given)], **site)


def codes(found: Iterable[Finding]) -> list[str]:
    """Return the codes of findings."""
    return [finding.code for finding in found]


def pod(spec: str, *, kind: str = "Deployment", name: str = "app") -> str:
    """Return a workload with a pod spec."""
    spec = textwrap.indent(textwrap.dedent(spec).strip(), "      ")
    head = f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    return f"{head}spec:\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n{spec}\n"


def thing(api: str, kind: str, rest: str, *, name: str = "main") -> str:
    """Return an object of any kind; `rest` is the YAML below its metadata."""
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}}}\n{rest}\n"
