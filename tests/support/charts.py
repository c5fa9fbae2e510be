"""A dozen charts that install the corpus's images, with dependencies, hooks and CRDs; in an HTTP repository and in OCI.

`make_charts` writes and packages them with stock helm; `chart_repository` serves the packages with helm's own
`index.yaml`; `push_charts` puts them into a registry with `helm push`.
"""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.helm import LOOPBACK, helm, write_chart
from tests.support.registries import PASSWORD, USER, Registry
from tests.support.storage import Storage
from tests.support.tls import Authority

DEPLOYMENT = """\
apiVersion: apps/v1
kind: {kind}
metadata:
  name: {{{{ .Release.Name }}}}-{name}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: {name}
          image: "{{{{ .Values.image.registry }}}}/{{{{ .Values.image.repository }}}}:{{{{ .Values.image.tag }}}}"
          args: [--greeting, "{{{{ .Values.greeting }}}}"]
"""

HOOK = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-migrate
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: "docker.io/library/debian:12-slim", command: [/bin/true]}]
"""

TEST_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}-test", annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers: [{name: test, image: "docker.io/library/debian:12-slim", command: [/bin/true]}]
"""

CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.airbundle.test}
spec:
  group: monitoring.airbundle.test
  names: {kind: PodMonitor, plural: podmonitors}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""

HELPERS = '{{- define "common.greeting" -}}hello from {{ .Chart.Name }}{{- end -}}\n'


@dataclass(frozen=True)
class Chart:
    """A packaged chart."""

    name: str
    version: str
    archive: Path

    @property
    def tag(self) -> str:
        """Its tag in a registry: helm writes `_` for `+`."""
        return self.version.replace("+", "_")


def _workload(image: str, name: str, *, kind: str = "Deployment", **more: str) -> dict[str, str]:
    reference, _, tag = image.rpartition(":")
    registry, _, repository = reference.partition("/")
    values = f"greeting: hello\nimage:\n  registry: {registry}\n  repository: {repository}\n  tag: {tag!r}\n"
    deployment = DEPLOYMENT.format(kind=kind, name=name)
    return {"values.yaml": values, "templates/workload.yaml": deployment, **more}


def _write_all(top: Path) -> list[Path]:
    def beside(name: str, version: str, **more: str) -> dict[str, str]:
        return {"name": name, "version": version, "repository": f"file://../{name}", **more}

    write = partial(write_chart, top, type="application", appVersion="1.0")
    parts = [
        write_chart(top, "common", "0.3.0", type="library", files={"templates/_helpers.tpl": HELPERS}),
        write("redis", "18.1.0", files=_workload("docker.io/library/redis:7.0", "redis", kind="StatefulSet")),
        write(
            *("postgres", "12.5.1"),
            files=_workload("docker.io/library/postgres:15", "postgres", **{"templates/hook.yaml": HOOK}),
        ),
        write("haproxy", "1.22.0", files=_workload("docker.io/library/haproxy:2.6", "haproxy")),
        write("clamav", "3.0.4", files=_workload("docker.io/clamav/clamav:1.4", "clamav")),
        write(
            *("nginx", "15.4.2"),
            files=_workload("docker.io/library/nginx:1.22", "nginx", **{"templates/tests/pod.yaml": TEST_POD}),
        ),
        write("alertmanager", "1.7.0", files=_workload("quay.io/prometheus/alertmanager:v0.25.0", "alertmanager")),
        write(
            *("node-exporter", "4.24.0"),
            files=_workload("quay.io/prometheus/node-exporter:v1.5.0", "node-exporter", kind="DaemonSet"),
        ),
        write(
            *("prometheus", "25.1.0"),
            files=_workload("quay.io/prometheus/prometheus:v2.42.0", "prometheus", **{"crds/podmonitors.yaml": CRD}),
        ),
    ]
    wholes = [
        write(
            *("coturn", "2.0.0"),
            files=_workload("docker.io/coturn/coturn:4.6", "coturn"),
            dependencies=[beside("common", "0.x.x")],
        ),
        write(
            *("monitoring", "0.9.0"),
            files={"crds/podmonitors.yaml": CRD},
            dependencies=[
                beside("prometheus", "^25.0.0"),
                beside("alertmanager", "1.7.0", alias="alerts"),
                beside("node-exporter", ">=4.0.0", condition="nodes.enabled"),
            ],
        ),
        write(
            *("platform", "1.2.0+build.5"),
            files=_workload("ghcr.io/pgbouncer/pgbouncer:1.18", "pgbouncer", **{"templates/hook.yaml": HOOK}),
            dependencies=[beside("redis", "~18.1"), beside("postgres", "12.x")],
        ),
    ]
    return [*parts, *wholes]


def make_charts(directory: Path) -> list[Chart]:
    """Write and package the charts below `directory`; the packages lie together in `directory/packages`."""
    home, packages = directory / "helm", directory / "packages"
    sources = _write_all(directory / "sources")
    for source in sources:
        helm("package", source, "--dependency-update", "-d", packages, home=home)
    # Older versions, so that ranges have something to choose from.
    for name, version in (("redis", "18.0.0"), ("redis", "17.9.9"), ("nginx", "15.5.0-rc.1")):
        helm("package", directory / "sources" / name, "--version", version, "-d", packages, home=home)
    return [_chart(archive) for archive in sorted(packages.glob("*.tgz"))]


def _chart(archive: Path) -> Chart:
    names = ("node-exporter",)
    stem = archive.name[: -len(".tgz")]
    name = next((known for known in names if stem.startswith(f"{known}-")), stem.partition("-")[0])
    return Chart(name, stem[len(name) + 1 :], archive)


class _Files(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests: list[str]
    credentials: str

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.credentials and self.headers.get("Authorization") != f"Basic {self.credentials}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="charts"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()


@dataclass(frozen=True)
class ChartRepository:
    """A chart repository that answers: its URL, the CA to trust (over TLS), and the paths asked for."""

    url: str
    directory: Path
    ca_file: Path | None
    username: str
    password: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def chart_repository(
    packages: Path, directory: Path, *, tls: Authority | None = None, auth: bool = False, path: str = "stable"
) -> Iterator[ChartRepository]:
    """Serve the packages of a directory as a chart repository below `/<path>` of a free loopback port.

    Args:
        packages: the archives; they are copied.
        directory: for the copy and the index that `helm repo index` writes.
        tls: serve HTTPS with a certificate of this CA.
        auth: want basic auth.
    """
    served = directory / "www" / path
    shutil.copytree(packages, served)
    helm("repo", "index", served, home=directory / "helm")
    requests: list[str] = []
    credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() if auth else ""
    handler = type("Files", (_Files,), {"requests": requests, "credentials": credentials})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(directory / "www")))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.issue().context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    scheme, ca_file = ("http", None) if tls is None else ("https", tls.ca_file)
    url = f"{scheme}://127.0.0.1:{server.server_address[1]}/{path}"
    username, password = (USER, PASSWORD) if auth else ("", "")
    try:
        yield ChartRepository(url, served, ca_file, username, password, requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def helm_host(registry: Registry) -> str:
    """Return the name by which helm reaches a registry (see `helm`)."""
    return registry.host if registry.ca_file is None else f"{LOOPBACK}:{registry.port}"


def registry_flags(registry: Registry) -> list[str]:
    """Return the flags with which helm talks to a registry."""
    return ["--plain-http"] if registry.ca_file is None else ["--ca-file", str(registry.ca_file)]


def push_charts(charts: list[Chart], registry: Registry, path: str, *, home: Path) -> Mapping[str, str]:
    """Push charts to `oci://<registry>/<path>` with helm; return the digest of each `name:tag`."""
    if registry.username:
        login = ["--username", registry.username, "--password", registry.password]
        flags = ["--insecure"] if registry.ca_file is None else ["--ca-file", str(registry.ca_file)]
        helm("registry", "login", helm_host(registry), *login, *flags, home=home)
    for chart in charts:
        helm("push", chart.archive, f"oci://{helm_host(registry)}/{path}", *registry_flags(registry), home=home)
    tags = Storage(registry.storage).tags()
    return {f"{chart.name}:{chart.tag}": tags[f"{path}/{chart.name}:{chart.tag}"] for chart in charts}
