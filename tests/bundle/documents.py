"""A complete inventory and site file, and helpers to change them."""

from __future__ import annotations

import copy
from typing import Any

import yaml

DIGEST = "sha256:" + "3b1c2d4e" * 8

BUNDLE = f"""\
apiVersion: airbundle.dev/v1
kind: Bundle
metadata: {{name: messenger, version: 1.4.0}}
expires: 90d
platforms: [linux/amd64]
kubernetes: {{version: "1.33", apiVersions: [monitoring.coreos.com/v1]}}
images:
  - docker.io/library/redis:7.2
  - {{ref: "quay.io/prometheus/prometheus:v2.53.0", platforms: [linux/amd64, linux/arm64], sparse: true}}
  - {{ref: "docker-daemon:myapp:dev", as: internal/myapp:dev}}
charts:
  - name: cert-manager
    repo: https://charts.jetstack.io
    version: v1.21.1
    release: {{name: cert-manager, namespace: cert-manager, values: [values/cert-manager.yaml], needs: [], timeout: 10m,
              rollback: ask, before: [jobs/backup.yaml], restore: [jobs/restore.yaml], test: true, images: keep-names,
              checks: [{{http: "https://x.test/", status: 200, body: ok}}, {{tcp: "db.svc:5432", timeout: 1m}},
                       {{tls: "x.{{{{ site.domain }}}}:443", days: 3}}, {{redis: {{pod: app=redis}}}},
                       {{exec: {{pod: Deployment/web, container: web, command: [id, -u]}}}},
                       {{sql: {{pod: StatefulSet/db, database: app, user: app, query: select 1}}}}],
              enabled: true}}
    variants: {{large: [values/large.yaml], small: values/small.yaml}}
  - name: myapp
    path: charts/myapp
operators: [operators.yaml]
manifests: [{{path: manifests/, release: {{name: base, needs: [cert-manager]}}}}]
clamav: {{source: cvdupdate, databases: [main, daily, bytecode], custom: [own.ndb]}}
files: [{{url: "https://example.com/tool.tar.gz", sha256: "{DIGEST}"}}, {{path: docs/handbook.pdf, name: h.pdf}}]
site: {{replicas: {{default: 2, description: pods}}, turn: {{example: 192.0.2.7}}, ratio: {{default: 0.5}}}}
ca: {{mode: bundled, cert: ca/ca.crt, key: ca/ca.key, permitted: [messenger.internal, 10.0.0.0/8]}}
"""

SITE = """\
apiVersion: airbundle.dev/v1
kind: Site
metadata: {name: berlin-1}
cluster: {context: berlin, uid: "0af0ae0d-3b1c-4e2d-9b1c-2d4e3b1c2d4e"}
domain: messenger.internal
registry: {mode: external, url: "https://harbor.test", prefix: "", ca: ca.pem,
           auth: {username: installer, password: hush-hush}}
nodes: {runtime: containerd, access: ssh, hosts: [root@node-1], restart: manual}
ca: {mode: site, permitted: [messenger.internal, 10.0.0.0/8], issuer: berlin-ca}
dns: {zone: messenger.internal, records: {registry: 10.0.0.10, "*.apps": [10.0.0.11, 10.0.0.12]}, forward: [10.0.0.2]}
storageClass: standard
releases: {label-studio: {enabled: false}}
values: {synapse: values/synapse.yaml, redis: [a.yaml, b.yaml]}
secrets: [{name: synapse-signing, namespace: matrix, keys: {signing.key: random}}]
names: {replicas: 3, turn: "192.0.2.9", tls: true, ratio: 0.25}
"""


def bundle_body() -> dict[str, Any]:
    """Return the complete inventory as data."""
    return _loaded(BUNDLE)


def site_body() -> dict[str, Any]:
    """Return the complete site file as data."""
    return _loaded(SITE)


def _loaded(text: str) -> dict[str, Any]:
    body = yaml.safe_load(text)
    assert isinstance(body, dict)
    return copy.deepcopy(body)


def minimal(**fields: Any) -> bytes:
    """Return an inventory that has only what it must have, and `fields`."""
    body = {"apiVersion": "airbundle.dev/v1", "kind": "Bundle", "metadata": {"name": "m", "version": "1"}, **fields}
    return to_yaml(body)


def to_yaml(body: object) -> bytes:
    """Return data as YAML in block style, so that every field has a line of its own."""
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True, default_flow_style=False).encode()
