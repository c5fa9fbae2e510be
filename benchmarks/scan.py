"""Fifty charts of realistic size, rendered and scanned with nothing cached, and again (bars: 30 s and 3 s on 2 cores).

    benchmarks/run --only scan
    python -m benchmarks.scan

The charts are made here: thirty small ones, eighteen with a library and a subchart as large collections have them, and
two with megabytes of CRDs. Each step runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from airbundle.bundle.chart_pack import pack_chart
from benchmarks.cost import Cost, median, run

SMALL, MEDIUM, LARGE = 30, 18, 2
MB = 1_000_000
ROUNDS = 3
_HELPERS = """\
{{- define "NAME.part0.text" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
"""
_HELPER = """\
{{/*
Return the NUMBER. piece of the chart's naming, labels and image, as the library charts of large collections do.
Usage: {{ include "NAME.partNUMBER.text" $ }}
*/}}
{{- define "NAME.partNUMBER.text" -}}
{{- $image := .Values.part0.image -}}
{{- if .Values.global -}}{{- if .Values.global.imageRegistry -}}
{{- $image = merge (dict "registry" .Values.global.imageRegistry) $image -}}
{{- end -}}{{- end -}}
{{- printf "%s/%s:%s" $image.registry $image.repository (toString $image.tag) | quote -}}
{{- end -}}
"""
_VALUES = """\
## @section Part NUMBER
## @param partNUMBER.enabled Whether this part is deployed; see the handbook for what it is good for
partNUMBER:
  enabled: true
  replicas: 2
  ## @param partNUMBER.image.registry Where the image comes from
  ## @param partNUMBER.image.repository Its name
  image: {registry: registry.test, repository: team/NAME-NUMBER, tag: "1.NUMBER.0", pullPolicy: IfNotPresent}
  ## @param partNUMBER.resources.limits What it may take at most
  resources:
    limits: {cpu: 500m, memory: 256Mi}
    requests: {cpu: 100m, memory: 64Mi}
  podAnnotations: {}
  extraEnv:
    - {name: LEVEL, value: info}
    - {name: OTHER_IMAGE, value: "registry.test/team/other-NUMBER:2.0"}
  nodeSelector: {}
  tolerations: []
  password: ""
"""
_TEMPLATE = """\
{{- if .Values.partNUMBER.enabled }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "NAME.part0.text" . }}-NUMBER
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ include "NAME.part0.text" . | quote }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
spec:
  replicas: {{ .Values.partNUMBER.replicas }}
  selector: {matchLabels: {app: NAME-NUMBER}}
  template:
    metadata:
      labels: {app: NAME-NUMBER}
      annotations:
        checksum/config: {{ toYaml .Values.partNUMBER | sha256sum }}
        {{- with .Values.partNUMBER.podAnnotations }}{{ toYaml . | nindent 8 }}{{- end }}
    spec:
      {{- with .Values.partNUMBER.nodeSelector }}
      nodeSelector: {{ toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: main
          {{- with .Values.partNUMBER.image }}
          image: "{{ .registry }}/{{ .repository }}:{{ .tag }}"
          imagePullPolicy: {{ .pullPolicy }}
          {{- end }}
          env: {{ toYaml .Values.partNUMBER.extraEnv | nindent 12 }}
          resources: {{ toYaml .Values.partNUMBER.resources | nindent 12 }}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ include "NAME.part0.text" . }}-NUMBER}
data: {password: {{ default (randAlphaNum 24) .Values.partNUMBER.password | b64enc | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ include "NAME.part0.text" . }}-NUMBER}
data:
  settings.yaml: |
    sidecar: {image: "registry.test/team/tool-NUMBER:1.0"}
    {{- range $index := until 30 }}
    setting{{ $index }}: {level: info, text: "some setting of no interest"}
    {{- end }}
{{- end }}
"""


def main() -> None:
    """Print the table, or do one step."""
    if len(sys.argv) > 2:
        _render(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(prefix="airbundle-bench-") as directory:
        print("\n".join(report(Path(directory))))


def report(root: Path) -> list[str]:
    """Measure, and return the lines of a Markdown table."""
    make_inventory(root / "inventory")
    costs: dict[str, list[Cost]] = {}
    for number in range(ROUNDS + 1):
        for work, command in _commands(root / "inventory").items():
            environment = {**os.environ, "XDG_CACHE_HOME": str(root / f"{work}-{number}")}
            for how in ("nothing cached", "again"):
                cost, _ = run(command, environment)
                if number:  # the first round warms up
                    costs.setdefault(f"{work}, {how}", []).append(cost)
    lines = ["| 50 charts | seconds | CPU s | peak MB |", "|---|---:|---:|---:|"]
    for name, each in costs.items():
        cost = median(each)
        lines.append(f"| {name} | {cost.seconds:.2f} | {cost.cpu:.2f} | {cost.memory / MB:.0f} |")
    return lines


def _commands(inventory: Path) -> dict[str, list[str | Path]]:
    render: list[str | Path] = [sys.executable, "-m", "benchmarks.scan", "render", inventory]
    scan: list[str | Path] = [sys.executable, "-m", "airbundle", "scan", inventory, "--offline", "--quiet"]
    return {"render": render, "scan": [*scan, "--allow-missing", "registry.test/*"]}


def _render(inventory: Path) -> None:
    """Render an inventory."""
    from airbundle.builder.render import render_inventory
    from airbundle.store.cache import Cache
    from airbundle.store.inventory_dir import open_inventory
    from airbundle.transfer.registry import RegistryClient

    with RegistryClient() as client:
        renderings, findings = render_inventory(open_inventory(inventory), client, Cache())
    if findings or len(renderings) != SMALL + MEDIUM + LARGE:
        raise SystemExit(f"{len(renderings)} renders, {list(map(str, findings))}")


def make_inventory(directory: Path) -> None:
    """Write an inventory of fifty charts, packed as repositories have them, each with values of its own."""
    (directory / "charts").mkdir(parents=True)
    (directory / "values").mkdir()
    charts = []
    for number, (parts, crds) in enumerate([(3, 0)] * SMALL + [(9, 0)] * MEDIUM + [(12, 10)] * LARGE):
        name = f"app{number:02}"
        files = _chart(name, parts)
        if parts > 3:
            files.update(_below("sub", _chart("sub", 3)) | _below("library", _library()))
        files.update({f"crds/crd{each}.yaml": _crd(each) for each in range(crds)})
        (directory / "charts" / f"{name}.tgz").write_bytes(pack_chart(files, what=name)[1])
        (directory / "values" / f"{name}.yaml").write_text("part0: {replicas: 3, podAnnotations: {a: b}}\n")
        release = {"name": name, "namespace": name, "values": [f"values/{name}.yaml"]}
        charts.append({"name": name, "path": f"charts/{name}.tgz", "release": release})
    body = {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Bundle",
        "metadata": {"name": "bench", "version": "1"},
        "kubernetes": {"version": "1.33"},
        "charts": charts,
    }
    (directory / "bundle.yaml").write_text(json.dumps(body, indent=1))


def _chart(name: str, parts: int) -> dict[str, bytes]:
    def filled(text: str, number: int = 0) -> str:
        return text.replace("NUMBER", str(number)).replace("NAME", name)

    helpers = [filled(_HELPERS), *(filled(_HELPER, number) for number in range(1, 4 * parts))]
    values = "".join(filled(_VALUES, number) for number in range(parts))
    templates = {f"templates/part{number}.yaml": filled(_TEMPLATE, number).encode() for number in range(parts)}
    return {
        "Chart.yaml": _metadata(name, "application"),
        "values.yaml": values.encode(),
        "templates/_helpers.tpl": "\n".join(helpers).encode(),
        "README.md": filled(_VALUES).encode() * 20,
        **templates,
    }


def _library() -> dict[str, bytes]:
    texts = [_HELPER.replace("NAME", "library").replace("NUMBER", str(number)) for number in range(60)]
    return {"Chart.yaml": _metadata("library", "library"), "templates/_all.tpl": "\n".join(texts).encode()}


def _metadata(name: str, kind: str) -> bytes:
    body = {"apiVersion": "v2", "name": name, "version": "1.0.0", "appVersion": "1.0", "type": kind}
    return json.dumps(body).encode()


def _below(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"charts/{name}/{path}": data for path, data in files.items()}


def _crd(number: int) -> bytes:
    """Return a definition of some 250 kB, as operators have them."""
    field = "                  field{0}:\n                    description: {1}\n                    type: string\n"
    text = "What this field is for, when it may be left out, and what happens then. " * 3
    head = (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        f"metadata: {{name: things{number}.bench.test}}\nspec:\n  group: bench.test\n  scope: Namespaced\n"
        f"  names: {{kind: Thing{number}, plural: things{number}}}\n  versions:\n    - name: v1\n      served: true\n"
        "      storage: true\n      schema:\n        openAPIV3Schema:\n          type: object\n          properties:\n"
        "            spec:\n                type: object\n                properties:\n"
    )
    return (head + "".join(field.format(each, text) for each in range(800))).encode()


if __name__ == "__main__":
    main()
