"""Releases of plain manifests at a real cluster: applied, changed, pruned, brought back; nobody else's fields taken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from airbundle.bundle.release import Release
from airbundle.errors import CheckFailed, Conflict, SiteError
from airbundle.installer.site.drift import drifts
from airbundle.installer.site.release_rollback import roll_back_release
from airbundle.installer.site.releases import release_steps
from airbundle.installer.site.runner import run_steps
from airbundle.progress import SILENT
from tests.site.test_releases import (
    DEFINITION,
    THING,
    chart,
    deploy,
    host,
    job,
    namespace,
    plan,
    record,
    rename_by_hand,
    shelf,
)
from tests.support.release_bundles import HERE, Host
from tests.support.sealed import LIMIT, Site

__all__ = ["host", "namespace"]

CONFIG = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {greeting: GREETING, domain: '{{ site.domain }}'}\n"
)
POD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: app, image: app:1}]}}
"""


def config(name: str, greeting: str = "hello") -> str:
    return CONFIG.replace("NAME", name).replace("GREETING", greeting)


def bundle(
    tmp_path: Path, host: Host, namespace: str, files: dict[str, str], version: int = 1, images: str = "pin"
) -> Path:
    made = shelf(tmp_path, str(version))
    release = Release("base", namespace, timeout="60s", images=images)
    made.manifests(release, {f"manifests/{name}": text for name, text in files.items()})
    return made.write(host.key, f"{version}.0.0", 1767225600 + version)


def test_manifests_are_applied_pinned_and_then_found_done(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    made = bundle(tmp_path, host, namespace, {"a.yaml": POD, "b.yaml": config("b"), "README.md": "not: applied"})
    assert {change.what: change.action for change in plan(host, made)["release/base"]} == {
        f"ConfigMap {namespace}/b": "create",
        f"Deployment {namespace}/app": "create",
    }
    assert deploy(host, made).changed == {"release/base": True}
    container = site.get("deployment", "app", "-n", namespace)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].startswith(f"{HERE}/docker.io/library/app:1@sha256:")
    assert site.get("configmap", "b", "-n", namespace)["data"]["domain"] == "shop.internal"
    found = record(host, made, "base")
    assert (found.kind, found.revision, found.images) == ("manifests", 0, (container["image"],))
    assert plan(host, made) == {"release/base": []}
    assert deploy(host, made).changed == {"release/base": False}


def test_what_changes_is_changed_what_goes_is_deleted_and_all_comes_back(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n"
    claim += "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n"
    old = bundle(tmp_path, host, namespace, {"a.yaml": config("a"), "b.yaml": config("b"), "c.yaml": claim})
    deploy(host, old)
    before = record(host, old, "base")
    new = bundle(tmp_path, host, namespace, {"a.yaml": config("a", "bye"), "n.yaml": config("new")}, 2)
    assert {(change.what, change.action) for change in plan(host, new)["release/base"]} == {
        (f"ConfigMap {namespace}/a", "change"),
        (f"ConfigMap {namespace}/new", "create"),
        (f"ConfigMap {namespace}/b", "delete"),
    }
    deploy(host, new)
    names = site.kubectl("get", "configmap,pvc", "-n", namespace, "-o", "name").split()
    assert set(names) - {"configmap/kube-root-ca.crt"} == {"configmap/a", "configmap/new", "persistentvolumeclaim/data"}
    with host.run(new) as run:
        assert roll_back_release(run, None, before) == before
    names = site.kubectl("get", "configmap,pvc", "-n", namespace, "-o", "name").split()
    wanted = {"configmap/a", "configmap/b", "persistentvolumeclaim/data"}
    assert set(names) - {"configmap/kube-root-ca.crt"} == wanted
    assert site.get("configmap", "a", "-n", namespace)["data"]["greeting"] == "hello"


def test_a_field_that_somebody_else_sets_is_taken_over_only_when_a_person_agrees(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    old = bundle(tmp_path, host, namespace, {"a.yaml": config("a")})
    deploy(host, old)
    site.kubectl("patch", "configmap", "a", "-n", namespace, "-p", '{"data": {"greeting": "by hand"}}')
    deploy(host, old)  # what was edited does not stop what goes on
    assert site.get("configmap", "a", "-n", namespace)["data"]["greeting"] == "by hand"
    new = bundle(tmp_path, host, namespace, {"a.yaml": config("a", "bye")}, 2)
    (change,) = plan(host, new)["release/base"]
    assert (change.set_by, change.then) == ((("kubectl-patch", ".data.greeting"),), "asks")
    assert "-  greeting: by hand\n+  greeting: bye" in change.diff
    with pytest.raises(Conflict, match="kubectl"):
        deploy(host, new)
    assert site.get("configmap", "a", "-n", namespace)["data"]["greeting"] == "by hand"
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return True

    with host.run(new, ask=ask) as run, release_steps(run, ()) as steps:
        assert run_steps(steps, run.journal, SILENT).failed == {}
    assert "kubectl-patch" in asked[0]
    assert site.get("configmap", "a", "-n", namespace)["data"]["greeting"] == "bye"


def test_objects_that_were_there_are_kept_as_they_were_and_new_ones_have_their_undo(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    site.kubectl("create", "namespace", namespace)
    site.kubectl("create", "configmap", "a", "-n", namespace, "--from-literal=other=thing")
    made = bundle(tmp_path, host, namespace, {"a.yaml": config("a"), "b.yaml": config("b")})
    deploy(host, made)
    with host.run(made) as run:
        undo = run.journal.undo()
        kept = next(action for action in undo if "restore" in action)
        before = (run.site_state.root / kept["file"]).read_text()
    assert {"object": f"v1/ConfigMap/{namespace}/b"} in undo
    assert kept["restore"] == f"v1/ConfigMap/{namespace}/a"
    assert '"other": "thing"' in before
    assert '"greeting"' not in before


def test_a_job_that_changed_is_run_again(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    for version, command in ((1, "lookup"), (2, "dial-nothing")):
        made = bundle(tmp_path, host, namespace, {"j.yaml": job("j", command, "a: b")}, version, "keep-names")
        if version == 1:
            deploy(host, made)
        else:
            with pytest.raises(SiteError):
                deploy(host, made)
    command = site.get("job", "j", "-n", namespace)["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[1] == "dial-nothing"


@pytest.mark.parametrize("kind", ["chart", "manifests"])
def test_a_job_that_takes_itself_away_is_run_once(
    site: Site, host: Host, namespace: str, tmp_path: Path, kind: str
) -> None:
    leaving = job("j", "lookup", "a: b").replace("backoffLimit: 0", "ttlSecondsAfterFinished: 0\n  backoffLimit: 0")
    if kind == "chart":
        made = chart(tmp_path, host, Release("", namespace, images="keep-names"), {"templates/j.yaml": leaving})
        name = "app"
    else:
        made, name = (
            bundle(tmp_path, host, namespace, {"j.yaml": leaving, "c.yaml": config("c")}, 1, "keep-names"),
            "base",
        )
    deploy(host, made)
    deadline = time.monotonic() + LIMIT
    while "job.batch/j" in site.kubectl("get", "jobs", "-n", namespace, "-o", "name"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert plan(host, made) == {f"release/{name}": []}
    assert deploy(host, made).changed == {f"release/{name}": False}
    with host.run(made) as run:
        latest = run.site_state.latest()
        found = latest.release(name) if latest else None
        assert found and f"batch/v1/Job/{namespace}/j" in found.objects
        assert list(drifts(run.cluster, run.site_state, found)) == []


def test_definitions_come_before_what_they_define(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    group = f"m{namespace[-12:]}".replace("-", "")
    files = {"a-thing.yaml": THING.replace("NAME", group)}
    files["z.yaml"] = DEFINITION.replace("NAME", group).replace("MORE", "size: {type: integer}")
    made = bundle(tmp_path, host, namespace, files)
    deploy(host, made)
    assert site.get(f"things.{group}.example.com", "one", "-n", namespace)["spec"] == {"size": 1}
    rename_by_hand(site, f"things.{group}.example.com")
    (change,) = plan(host, made)["release/base"]
    assert (change.set_by, change.then) == ((("kubectl-patch", ".spec.names.singular"),), "asks")
    deploy(host, made)  # as with any object: what was edited does not stop what goes on
    assert site.get("crd", f"things.{group}.example.com")["spec"]["names"]["singular"] == "hand"
    assert deploy(host, made, ask=lambda _question: True).changed == {"release/base": True}
    assert site.get("crd", f"things.{group}.example.com")["spec"]["names"]["singular"] == "thing"
    site.kubectl("delete", "crd", f"things.{group}.example.com")


def test_kustomizations_and_broken_manifests_stop_before_anything_changes(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    for version, files in enumerate(
        ({"kustomization.yaml": "resources: []\n"}, {"a.yaml": "a: [\n"}, {"a.yaml": "a: b\n"}), 1
    ):
        with pytest.raises(CheckFailed):
            deploy(host, bundle(tmp_path, host, namespace, files, version))
    assert "not found" in site.host("kubectl", "get", "namespace", namespace, check=False).stderr
