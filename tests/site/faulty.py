"""The shop with three small releases more, each of which the site's own values can spoil in a way of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import yaml

from tests.site import shop
from tests.site.desk import Desk
from tests.support.real_images import BUSYBOX

PARTS = ("crash", "hook", "never")
"""Releases; also what the value `fault` may be: it ends at once, its hook fails, it never gets ready."""


def build(desk: Desk, root: Path, version: str) -> Path:
    """Build the bundle of a version."""
    return shop.build(desk, root, version, more=partial(_add_parts, version))


def site_file(root: Path, *, address: str, values: Mapping[str, Mapping[str, str]], **fields: object) -> Path:
    """Write the site file.

    Args:
        root: gets it, with the values beside it.
        address: of the operator's host.
        values: release → its values, `fault` and `note`; another note has its pods made anew.
        fields: of the site file, in place of those it has.
    """
    path = shop.site_file(root, address=address)
    body = yaml.safe_load(path.read_text())
    (root / "values").mkdir(exist_ok=True)
    for name in PARTS:
        (root / "values" / f"{name}.yaml").write_text(yaml.safe_dump(dict(values.get(name, {}))))
    body["values"] = {name: f"values/{name}.yaml" for name in PARTS}
    path.write_text(yaml.safe_dump({**body, **fields}, sort_keys=False))
    return path


def _add_parts(version: str, inventory: Path) -> None:
    path = inventory / "bundle.yaml"
    body = yaml.safe_load(path.read_text())
    for name in PARTS:
        release = {"name": name, "namespace": shop.NAMESPACE, "rollback": "auto", "timeout": "90s"}
        body["charts"].append({"name": name, "path": f"charts/{name}", "release": release})
        _write_chart(inventory / "charts" / name, name, version)
    path.write_text(yaml.safe_dump(body, sort_keys=False))


def _write_chart(directory: Path, name: str, version: str) -> None:
    for file, text in _FILES.items():
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("VERSION", version).replace("NAME", name))


_FILES = {
    "Chart.yaml": """\
        apiVersion: v2
        name: NAME
        version: VERSION
        """,
    "values.yaml": """\
        fault: ""
        note: ""
        """,
    "templates/part.yaml": f"""\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: "{{{{ .Release.Name }}}}"}}
        spec:
          selector: {{matchLabels: {{app: "{{{{ .Release.Name }}}}"}}}}
          strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
          template:
            metadata:
              labels: {{app: "{{{{ .Release.Name }}}}"}}
              annotations: {{version: "VERSION", note: {{{{ .Values.note | quote }}}}}}
            spec:
              terminationGracePeriodSeconds: 0
              containers:
                - name: it
                  image: {BUSYBOX}
                  imagePullPolicy: Always
                  command: [busybox, sh, -c]
                  args:
                    - >-
                      {{{{ if eq .Values.fault "crash" }}}}echo no route to db.internal; exit 1; {{{{ end }}}}
                      touch /tmp/well; exec busybox sleep 100000
                  readinessProbe:
                    exec: {{command: [busybox, ls, /tmp/{{{{ eq .Values.fault "never" | ternary "never" "well" }}}}]}}
                    periodSeconds: 1
        """,
    "templates/hook.yaml": f"""\
        {{{{- if eq .Release.Name "hook" }}}}
        apiVersion: batch/v1
        kind: Job
        metadata:
          name: migrate
          annotations:
            helm.sh/hook: post-install,post-upgrade
            helm.sh/hook-delete-policy: before-hook-creation
        spec:
          backoffLimit: 0
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 0
              containers:
                - name: migrate
                  image: {BUSYBOX}
                  command: [busybox, sh, -c]
                  args: ['{{{{ if .Values.fault }}}}echo table orders is locked; exit 3{{{{ end }}}}']
        {{{{- end }}}}
        """,
}
