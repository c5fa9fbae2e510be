"""A little shop in three versions: 1.0.0 and 1.1.0 are well, 1.2.0 crashes. Real images, a chart of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from tests.site.desk import Desk
from tests.support.real_images import BUSYBOX

DOMAIN = "shop.internal"
NAMESPACE = "shop"
GOOD, BETTER, BROKEN = "1.0.0", "1.1.0", "1.2.0"

_SERVE = "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"


def build(
    desk: Desk, root: Path, version: str, *words: str | Path, more: Callable[[Path], None] = lambda _inventory: None
) -> Path:
    """Build the bundle of a version; `words` go to `build`, such as `--base OLD`; `more` adds to the inventory."""
    inventory = root / f"inventory-{version}"
    _write(inventory, version)
    more(inventory)
    return desk.build(inventory, *words)


def site_file(root: Path, *, address: str) -> Path:
    """Write the site file; `address` is that of the operator's host."""
    path = root / "site.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        apiVersion: airbundle.dev/v1
        kind: Site
        metadata: {{name: shop}}
        domain: {DOMAIN}
        nodes: {{runtime: containerd, access: daemonset}}
        dns:
          zone: {DOMAIN}
          records: {{web: {address}}}
        secrets:
          - {{name: password, namespace: {NAMESPACE}, keys: {{password: random}}}}
        """)
    )
    return path


def _write(root: Path, version: str) -> None:
    files = {
        "bundle.yaml": f"""\
            apiVersion: airbundle.dev/v1
            kind: Bundle
            metadata: {{name: shop, version: {version}}}
            images: ["{BUSYBOX}"]
            charts:
              - name: web
                path: charts/web
                release:
                  name: web
                  namespace: {NAMESPACE}
                  values: [values/web.yaml]
                  needs: [base]
                  rollback: auto
                  timeout: 90s
                  checks: [{{http: "http://web.{NAMESPACE}.svc:80/", status: 200}}]
            manifests:
              - path: manifests/
                release: {{name: base, namespace: {NAMESPACE}}}
            """,
        "charts/web/Chart.yaml": f"""\
            apiVersion: v2
            name: web
            version: {version}
            """,
        "charts/web/values.yaml": """\
            replicas: 1
            domain: ""
            """,
        "charts/web/templates/web.yaml": f"""\
            apiVersion: apps/v1
            kind: Deployment
            metadata: {{name: web}}
            spec:
              replicas: {{{{ .Values.replicas }}}}
              selector: {{matchLabels: {{app: web}}}}
              strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
              template:
                metadata: {{labels: {{app: web}}, annotations: {{version: "{version}"}}}}
                spec:
                  terminationGracePeriodSeconds: 10
                  containers:
                    - name: web
                      image: {BUSYBOX}
                      command: [busybox, sh, -c, "{"exit 1" if version == BROKEN else _SERVE}"]
                      lifecycle: {{preStop: {{exec: {{command: [busybox, sleep, "5"]}}}}}}
                      env: [{{name: DOMAIN, value: {{{{ .Values.domain | quote }}}}}}]
                      readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
            ---
            apiVersion: v1
            kind: Service
            metadata: {{name: web}}
            spec:
              type: NodePort
              selector: {{app: web}}
              ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]
            """,
        "charts/web/templates/hook.yaml": f"""\
            apiVersion: batch/v1
            kind: Job
            metadata:
              name: hook
              annotations:
                helm.sh/hook: post-install,post-upgrade
                helm.sh/hook-delete-policy: before-hook-creation
            spec:
              backoffLimit: 2
              template:
                spec:
                  restartPolicy: Never
                  containers: [{{name: hook, image: {BUSYBOX}, command: [busybox, "true"]}}]
            """,
        "values/web.yaml": """\
            replicas: 2
            domain: "{{ site.domain }}"
            """,
        "manifests/base.yaml": f"""\
            apiVersion: v1
            kind: ConfigMap
            metadata: {{name: base}}
            data: {{version: "{version}"}}
            ---
            apiVersion: v1
            kind: Pod
            metadata: {{name: lonely}}
            spec:
              terminationGracePeriodSeconds: 1
              containers: [{{name: it, image: {BUSYBOX}, command: [busybox, sleep, "100000"]}}]
            """,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
