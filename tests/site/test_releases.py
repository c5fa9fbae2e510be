"""Releases at a real cluster: deployed, found done, upgraded, gone on from after kills, and brought back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.bundle.release import Release
from airbundle.installer.site.release_step import ReleaseStep
from airbundle.installer.site.releases import release_steps
from airbundle.installer.site.runner import Ran, plan_steps, run_steps
from airbundle.installer.site.site_state import DeployedRelease
from airbundle.installer.site.step import Change, SiteRun
from airbundle.progress import SILENT
from tests.support.release_bundles import HERE, Host, Shelf
from tests.support.sealed import Site

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
        - {name: app, image: "app:1", env: [{name: GREETING, value: "{{ .Values.greeting }}"}]}
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-config"}
data: {greeting: "{{ .Values.greeting }}", domain: "{{ .Values.domain }}"}
"""
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}, storageClassName: none-such}
"""
DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.NAME.example.com}
spec:
  group: NAME.example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {MORE}}}}}
"""
THING = "apiVersion: NAME.example.com/v1\nkind: Thing\nmetadata: {name: one}\nspec: {size: 1}\n"
VALUES = "greeting: hello\ndomain: '{{ site.domain }}'\npassword: not-to-be-seen\n"


@pytest.fixture
def host(site: Site, tmp_path: Path) -> Host:
    return Host(tmp_path / "host", site.kubeconfig)


@pytest.fixture
def namespace(site: Site, request: pytest.FixtureRequest) -> Iterator[str]:
    name = "rel-" + re.sub("[^a-z0-9]+", "-", request.node.name.lower())[5:55].strip("-")
    yield name
    site.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def shelf(tmp_path: Path, version: str = "1") -> Shelf:
    path = tmp_path / f"shelf-{version}"
    path.mkdir()
    return Shelf(path)


@contextmanager
def steps(host: Host, bundle: Path) -> Iterator[tuple[SiteRun, Sequence[ReleaseStep]]]:
    with host.run(bundle) as run, release_steps(run, ()) as found:
        yield run, found


def deploy(host: Host, bundle: Path) -> Ran:
    """Run the release steps; the first failure is raised."""
    with steps(host, bundle) as (run, found):
        ran = run_steps(found, run.journal, SILENT)
    for error in ran.failed.values():
        raise error
    return ran


def plan(host: Host, bundle: Path) -> dict[str, Sequence[Change]]:
    with steps(host, bundle) as (_, found):
        return plan_steps(found)


def record(host: Host, bundle: Path, name: str = "app") -> DeployedRelease:
    with host.run(bundle) as run:
        latest = run.site_state.latest()
        found = latest.release(name) if latest else None
    assert found is not None
    return found


def chart(
    tmp_path: Path,
    host: Host,
    release: Release,
    files: Mapping[str, str],
    version: int = 1,
    given: Mapping[str, str] | None = None,
) -> Path:
    """Write a bundle with one chart."""
    made = shelf(tmp_path, str(version))
    release = replace(release, name="app", values=("values.yaml",), timeout="60s")
    made.chart(release, files, {"values.yaml": VALUES, **(given or {})})
    return made.write(host.key, f"{version}.0.0", 1767225600 + version)


def test_a_chart_is_deployed_pinned_and_then_found_done(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    bundle = chart(
        tmp_path, host, Release("", namespace), {"templates/app.yaml": DEPLOYMENT, "templates/config.yaml": CONFIG}
    )
    planned = plan(host, bundle)["release/app"]
    assert {(change.what.split("/")[0], change.action) for change in planned} == {
        (f"Deployment {namespace}", "create"),
        (f"ConfigMap {namespace}", "create"),
    }
    assert deploy(host, bundle).changed == {"release/app": True}
    image = site.get("deployment", "app", "-n", namespace)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert re.fullmatch(rf"{re.escape(HERE)}/docker\.io/library/app:1@sha256:[0-9a-f]{{64}}", image)
    assert site.get("configmap", "app-config", "-n", namespace)["data"] == {
        "greeting": "hello",
        "domain": "shop.internal",
    }
    found = record(host, bundle)
    assert (found.kind, found.revision, found.images) == ("chart", 1, (image,))
    assert len(found.objects) == 3
    assert plan(host, bundle) == {"release/app": []}
    assert deploy(host, bundle).changed == {"release/app": False}
    assert record(host, bundle) == found
