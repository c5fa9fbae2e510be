"""An operator without rights at the cluster, and an administrator who runs what he was handed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from airbundle.bundle.release import Release
from airbundle.errors import SiteError
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.handoff import HANDED, owned_handoff
from airbundle.installer.site.handoff_content import Handoff
from airbundle.installer.site.release_remove import remove_release
from airbundle.installer.site.releases import release_steps
from airbundle.installer.site.runner import Ran, plan_steps, run_steps
from airbundle.installer.state import Installed, StateDirectory
from airbundle.progress import SILENT
from tests.support.release_bundles import DOMAIN, HERE, Host, Shelf
from tests.support.sealed import Site

APP = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {serviceAccountName: app, containers: [{name: app, image: "app:1"}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: app}
rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: app}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}
subjects: [{kind: ServiceAccount, name: app, namespace: "{{ .Release.Namespace }}"}]
"""
THING = "apiVersion: NAME.example.com/v1\nkind: Thing\nmetadata: {name: one}\nspec: {size: 1}\n"
BASE = """\
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
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME-base}
rules: [{apiGroups: [""], resources: [nodes], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: NAME-base, namespace: kube-system}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: base}
data: {version: "{{ .Values.version }}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: base}
spec:
  replicas: 0
  selector: {matchLabels: {app: base}}
  template:
    metadata: {labels: {app: base}}
    spec: {containers: [{name: base, image: "app:1"}]}
"""


@pytest.fixture
def name(site: Site) -> Iterator[str]:
    """A site's name, which is also that of the operator's ServiceAccount and of the beginnings of namespaces."""
    found = f"h{uuid4().hex[:7]}"
    yield found
    for namespace in (found, f"{found}-base", f"{found}-app"):
        site.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture
def host(site: Site, name: str, tmp_path: Path) -> Host:
    """The operator's host: a registry and a CA are there, and a kubeconfig without any rights."""
    site.kubectl("create", "namespace", name)
    site.kubectl("create", "serviceaccount", "operator", "-n", name)
    token = site.kubectl("create", "token", "operator", "-n", name, "--duration=2h").strip()
    kubeconfig = yaml.safe_load(site.kubeconfig.read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    path = tmp_path / "operator.conf"
    path.write_text(yaml.safe_dump(kubeconfig))
    made = Host(tmp_path / "host", path)
    state = StateDirectory(made.root / "state")
    state.write(Installed(mode="embedded", registry=f"https://{HERE}", domain=DOMAIN))
    ca = SiteCa.of(state)
    ca.create("site CA", [DOMAIN, "10.0.0.0/8"])
    state.ca_file.write_bytes(ca.trust_pem)
    return made


def describe(host: Host, name: str, **more: object) -> None:
    host.site(metadata={"name": name}, dns={"zone": DOMAIN, "records": {"app": "10.9.8.7"}}, **more)


def build(host: Host, name: str, tmp_path: Path, version: int = 1) -> Path:
    root = tmp_path / f"shelf-{version}"
    root.mkdir()
    shelf = Shelf(root)
    base = Release("base", f"{name}-base", values=("base.yaml",), timeout="30s")
    shelf.chart(base, {"templates/base.yaml": BASE.replace("NAME", name)}, {"base.yaml": f"version: v{version}\n"})
    app = Release("app", f"{name}-app", needs=("base",), timeout="60s")
    shelf.chart(app, {"templates/app.yaml": APP, "templates/thing.yaml": THING.replace("NAME", name)})
    return shelf.write(host.key, f"{version}.0.0", 1767225600 + version)


def hand_over(host: Host, bundle: Path, directory: Path) -> Handoff:
    with host.run(bundle) as run:
        return owned_handoff(run, HANDED, directory)[0]


def deploy(host: Host, bundle: Path) -> tuple[Ran, dict[str, int]]:
    with host.run(bundle) as run, release_steps(run, ()) as steps:
        ran = run_steps(steps, run.journal, SILENT)
        for error in ran.failed.values():
            raise error
        return ran, {step: len(changes) for step, changes in plan_steps(steps).items()}


def test_the_same_system_by_two_people(site: Site, host: Host, name: str, tmp_path: Path) -> None:
    directory = tmp_path / "handoff"
    describe(host, name, releases={"base": {"handedOver": True, "timeout": "5s"}})
    bundle = build(host, name, tmp_path)
    handoff = hand_over(host, bundle, directory)
    assert [each.name for each in handoff.releases] == ["base"]
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert hand_over(host, bundle, directory).files.keys() == handoff.files.keys()
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    assert site.kubectl("get", "namespaces", "-o", "name").count(name) == 1, "nothing was changed at the cluster"

    with pytest.raises(SiteError, match=r"nothing of it may be looked at|is not there as it is"):
        deploy(host, bundle)

    corefile = site.get("configmap", "coredns", "-n", "kube-system")["data"]["Corefile"]
    site.host("sh", directory / "apply.sh")
    again = site.host("sh", directory / "apply.sh").stdout
    assert "as it is ConfigMap kube-system/coredns" in again
    assert "app[.]shop[.]internal" in site.get("configmap", "coredns", "-n", "kube-system")["data"]["Corefile"]
    trusted = site.get("configmap", "airbundle-ca", "-n", f"{name}-app")["data"]["ca.crt"]
    assert trusted == SiteCa.of(StateDirectory(host.root / "state")).trust_pem.decode()

    ran, left = deploy(host, bundle)
    assert ran.changed == {"release/base": True, "release/app": True}
    assert left == {"release/base": 0, "release/app": 0}
    assert site.get(f"things.{name}.example.com", "one", "-n", f"{name}-app")["spec"] == {"size": 1}
    with host.run(bundle) as run:
        latest = run.site_state.latest()
        assert latest is not None
        assert [(each.name, each.kind) for each in latest.releases] == [("base", "handed-over"), ("app", "chart")]
        for kind in ("deployments.apps", "secrets", "nodes"):
            assert site.kubectl("auth", "can-i", "list", kind, "--as", f"system:serviceaccount:{name}:operator",
                                check=False).strip() == "no"  # fmt: skip
        _an_upgrade_waits_for_the_administrator(site, host, name, tmp_path, directory)
        removed = remove_release(run, latest.releases[0])
        assert "handed over" in removed.kept[0]
        remove_release(run, latest.releases[1])

    site.host("sh", directory / "undo.sh")
    assert site.get("configmap", "coredns", "-n", "kube-system")["data"]["Corefile"] == corefile
    assert site.kubectl("get", "deployments", "-n", f"{name}-base", "-o", "name") == ""
    assert f"things.{name}.example.com" in site.kubectl("get", "crds", "-o", "name")
    site.host("sh", directory / "undo.sh", "--delete-data")
    site.host("sh", directory / "undo.sh", "--delete-data")
    everything = site.kubectl("get", "namespaces,crds,clusterroles,clusterrolebindings", "-o", "name")
    assert [line for line in everything.split() if name in line] == [f"namespace/{name}"]


def _an_upgrade_waits_for_the_administrator(site: Site, host: Host, name: str, tmp_path: Path, directory: Path) -> None:
    newer = build(host, name, tmp_path, 2)
    with pytest.raises(SiteError) as caught:
        deploy(host, newer)
    assert "not of this version" in str(caught.value.findings)
    hand_over(host, newer, directory)
    site.host("sh", directory / "apply.sh", "releases")
    ran, _ = deploy(host, newer)
    assert ran.changed == {"release/base": True, "release/app": False}
    assert site.get("configmap", "base", "-n", f"{name}-base")["data"] == {"version": "v2"}


def test_keys_are_for_nobody_else(host: Host, name: str, tmp_path: Path) -> None:
    directory = tmp_path / "handoff"
    describe(host, name)
    hand_over(host, build(host, name, tmp_path), directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.rglob("*"):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
