"""Releases at a real cluster: deployed, found done, upgraded, gone on from after kills, and brought back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.release import Release
from airbundle.errors import AirbundleError, CheckFailed, Conflict, SiteError
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_rollback import roll_back_release
from airbundle.installer.site.releases import release_steps
from airbundle.installer.site.runner import Ran, plan_steps, run_steps
from airbundle.installer.site.step import Change, SiteRun, Step
from airbundle.progress import SILENT
from tests.support.helm import helm, write_chart
from tests.support.images import tiny_image
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
CLAIM_MADE = CLAIM.replace("storageClassName: none-such", "storageClassName: standard")
VALUES = "greeting: hello\ndomain: '{{ site.domain }}'\npassword: not-to-be-seen\n"


def job(name: str, command: str, annotation: str) -> str:
    """Return a job that runs the probe; `lookup` ends well, a command that it lacks does not."""
    return f"""\
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, annotations: {{{annotation}}}}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - {{name: a, image: "localhost/probe:1", imagePullPolicy: Never, command: [/probe, "{command}", localhost]}}
"""


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
    path.mkdir(parents=True)
    return Shelf(path)


@contextmanager
def steps(host: Host, bundle: Path, **changes: Any) -> Iterator[tuple[SiteRun, Sequence[Step]]]:
    with host.run(bundle, **changes) as run, release_steps(run, ()) as found:
        yield run, found


def deploy(host: Host, bundle: Path, **changes: Any) -> Ran:
    """Run the release steps; the first failure is raised. `changes` are made to the run."""
    with steps(host, bundle, **changes) as (run, found):
        ran = run_steps(found, run.journal, SILENT)
    for error in ran.failed.values():
        raise error
    return ran


def plan(host: Host, bundle: Path) -> dict[str, Sequence[Change]]:
    with steps(host, bundle) as (_, found):
        return plan_steps(found)


def rename_by_hand(site: Site, definition: str) -> None:
    """Edit a definition of a custom resource as a person would."""
    site.kubectl("patch", "crd", definition, "--type=merge", "-p", '{"spec": {"names": {"singular": "hand"}}}')


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
    assert len(found.objects) == 2
    assert plan(host, bundle) == {"release/app": []}
    assert deploy(host, bundle).changed == {"release/app": False}
    assert record(host, bundle) == found


def test_secrets_are_in_no_plan_and_no_command_line(host: Host, namespace: str, tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
    secret += "stringData: {p: '{{ .Values.password }}{{ .Values.more }}'}\n"
    for version, more in ((1, "x"), (2, "y")):
        given = {"values.yaml": f"{VALUES}more: {more}\n"}
        bundle = chart(tmp_path, host, Release("", namespace), {"templates/s.yaml": secret}, version, given)
        assert "not-to-be-seen" not in str(plan(host, bundle))
        deploy(host, bundle)
    broken = {"templates/s.yaml": secret.replace("kind: Secret", "kind: Secret\nimmutable: '{{ .Values.password }}'")}
    with pytest.raises(AirbundleError) as caught:
        deploy(host, chart(tmp_path, host, Release("", namespace), broken, 3))
    assert "not-to-be-seen" not in str(caught.value)


def test_an_upgrade_changes_what_changed_and_a_rollback_takes_it_back(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    files = {"templates/app.yaml": DEPLOYMENT, "templates/config.yaml": CONFIG, "templates/claim.yaml": CLAIM_MADE}
    old = chart(tmp_path, host, Release("", namespace), files)
    deploy(host, old)
    before = record(host, old)
    del files["templates/claim.yaml"]
    files["templates/new.yaml"] = CONFIG.replace("-config", "-new")
    new = chart(tmp_path, host, Release("", namespace), files, 2, {"values.yaml": VALUES.replace("hello", "goodbye")})
    planned = {change.what: change for change in plan(host, new)["release/app"]}
    assert {(what, change.action) for what, change in planned.items()} == {
        (f"Deployment {namespace}/app", "change"),
        (f"ConfigMap {namespace}/app-config", "change"),
        (f"ConfigMap {namespace}/app-new", "create"),
    }
    assert "-  greeting: hello\n+  greeting: goodbye" in planned[f"ConfigMap {namespace}/app-config"].diff
    assert deploy(host, new).changed == {"release/app": True}
    assert record(host, new).revision == 2
    assert site.get("configmap", "app-new", "-n", namespace)["data"]["greeting"] == "goodbye"
    # The volume is no part of the chart any more, and holds data.
    assert site.get("pvc", "data", "-n", namespace)["metadata"]["name"] == "data"
    with host.run(new) as run:
        after = roll_back_release(run, None, before)
        assert roll_back_release(run, None, after) == after
    assert after == replace(before, revision=3)
    assert record(host, new) == after
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "hello"
    assert "app-new" not in site.kubectl("get", "configmap", "-n", namespace)
    assert deploy(host, old).changed == {"release/app": False}


def test_what_owns_a_volume_outlives_a_version_without_it(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    """As a database operator's `Cluster`: deleting it deletes the claims that it made."""
    files = {"templates/config.yaml": CONFIG, "templates/owner.yaml": CONFIG.replace("-config", "-owner")}
    deploy(host, chart(tmp_path, host, Release("", namespace), files))
    uid = site.get("configmap", "app-owner", "-n", namespace)["metadata"]["uid"]
    owner = f"{{apiVersion: v1, kind: ConfigMap, name: app-owner, uid: {uid}}}"
    metadata = f"metadata: {{name: made, namespace: {namespace}, ownerReferences: [{owner}]}}"
    site.apply(CLAIM_MADE.replace("metadata: {name: data}", metadata))
    del files["templates/owner.yaml"]
    new = chart(tmp_path, host, Release("", namespace), files, 2, {"values.yaml": VALUES.replace("hello", "bye")})
    deploy(host, new)
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "bye"
    assert site.get("configmap", "app-owner", "-n", namespace)["metadata"]["uid"] == uid
    assert deploy(host, new).changed == {"release/app": False}


def test_another_image_elsewhere_is_no_reason_to_deploy_again(host: Host, namespace: str, tmp_path: Path) -> None:
    deploy(host, chart(tmp_path, host, Release("", namespace), {"templates/app.yaml": DEPLOYMENT}))
    made = shelf(tmp_path, "2")
    made.images = {**made.images, "docker.io/library/other:1": tiny_image("other")}
    made.chart(
        Release("app", namespace, values=("values.yaml",)), {"templates/app.yaml": DEPLOYMENT}, {"values.yaml": VALUES}
    )
    assert deploy(host, made.write(host.key, "2.0.0", 1767225602)).changed == {"release/app": False}


def test_what_was_edited_by_hand_is_put_back(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    bundle = chart(tmp_path, host, Release("", namespace), {"templates/config.yaml": CONFIG})
    deploy(host, bundle)
    site.kubectl(
        "patch", "configmap", "app-config", "-n", namespace, "-p", '{"data": {"greeting": "by hand", "x": "y"}}'
    )
    (change,) = plan(host, bundle)["release/app"]
    assert "-  greeting: by hand\n+  greeting: hello" in change.diff
    assert deploy(host, bundle).changed == {"release/app": True}
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "hello"
    assert record(host, bundle).revision == 2
    assert deploy(host, bundle).changed == {"release/app": False}


def test_what_was_deleted_by_hand_is_made_again(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    bundle = chart(tmp_path, host, Release("", namespace), {"templates/config.yaml": CONFIG})
    deploy(host, bundle)
    site.kubectl("delete", "configmap", "app-config", "-n", namespace)
    assert [change.action for change in plan(host, bundle)["release/app"]] == ["create"]
    assert deploy(host, bundle).changed == {"release/app": True}
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "hello"


@pytest.mark.parametrize("place", ["crds", "templates"])
def test_definitions_come_first_and_are_upgraded(
    site: Site, host: Host, namespace: str, tmp_path: Path, place: str
) -> None:
    group = f"t{namespace[-12:]}".replace("-", "")
    files = {f"{place}/definition.yaml": DEFINITION.replace("NAME", group).replace("MORE", "size: {type: integer}")}
    files["templates/thing.yaml"] = THING.replace("NAME", group)
    deploy(host, chart(tmp_path, host, Release("", namespace), files))
    assert site.get(f"things.{group}.example.com", "one", "-n", namespace)["spec"] == {"size": 1}
    files[f"{place}/definition.yaml"] = files[f"{place}/definition.yaml"].replace(
        "size:", "colour: {type: string}, size:"
    )
    files["templates/thing.yaml"] = files["templates/thing.yaml"].replace("{size: 1}", "{size: 1, colour: red}")
    bundle = chart(tmp_path, host, Release("", namespace), files, 2)
    deploy(host, bundle)
    assert site.get(f"things.{group}.example.com", "one", "-n", namespace)["spec"] == {"size": 1, "colour": "red"}
    assert plan(host, bundle) == {"release/app": []}
    assert deploy(host, bundle).changed == {"release/app": False}
    things = f"things.{group}.example.com"
    site.kubectl("patch", things, "one", "-n", namespace, "--type=merge", "-p", '{"spec": {"size": 5}}')
    assert deploy(host, bundle).changed == {"release/app": True}  # helm itself leaves it as it was edited
    assert site.get(things, "one", "-n", namespace)["spec"] == {"size": 1, "colour": "red"}
    assert deploy(host, bundle).changed == {"release/app": False}
    if place == "templates":  # helm puts it back itself, and asks nobody; what lies in crds/ it never looks at
        rename_by_hand(site, things)
        assert [(each.action, each.then) for each in plan(host, bundle)["release/app"]] == [("change", "")]
        deploy(host, bundle)
        assert site.get("crd", things)["spec"]["names"]["singular"] == "thing"
    deploy(host, chart(tmp_path, host, Release("", namespace), {"templates/config.yaml": CONFIG}, 3))
    assert site.get("crd", f"things.{group}.example.com")["metadata"]["name"]  # all things would go with it
    site.kubectl("delete", "crd", f"things.{group}.example.com")


def test_an_image_that_the_bundle_lacks_stops_before_anything_changes(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    bundle = chart(tmp_path, host, Release("", namespace), {"templates/app.yaml": DEPLOYMENT.replace("app:1", "app:2")})
    with pytest.raises(CheckFailed) as caught:
        deploy(host, bundle)
    assert "app:2 is not in the bundle" in str(caught.value.findings[0])
    assert "not found" in site.host("kubectl", "get", "namespace", namespace, check=False).stderr


def test_names_are_kept_where_the_release_says_so(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    files = {
        "templates/app.yaml": DEPLOYMENT.replace("app:1", "localhost/probe:1").replace("replicas: 0", "replicas: 1")
    }
    files["templates/app.yaml"] = files["templates/app.yaml"].replace("env:", "command: [/probe, serve], env:")
    bundle = chart(tmp_path, host, Release("", namespace, images="keep-names"), files)
    deploy(host, bundle)
    status = site.get("deployment", "app", "-n", namespace)["status"]
    assert status["readyReplicas"] == 1
    assert record(host, bundle).images == ("localhost/probe:1",)


def test_a_release_of_somebody_elses_chart_is_refused(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    other = write_chart(tmp_path, "other")
    home = tmp_path / "helm"
    helm("install", "app", other, "-n", namespace, "--create-namespace", "--kubeconfig", site.kubeconfig, home=home)
    with pytest.raises(Conflict, match=r"is of the chart other-1\.0\.0, not of app"):
        deploy(host, chart(tmp_path, host, Release("", namespace), {"templates/config.yaml": CONFIG}))


def test_a_hook_that_fails_stops_the_release_and_the_next_run_goes_on(
    site: Site, host: Host, namespace: str, tmp_path: Path
) -> None:
    release = Release("", namespace, images="keep-names")
    hook = job("hook", "{{ .Values.command }}", 'helm.sh/hook: "pre-install,pre-upgrade"')
    files = {"templates/hook.yaml": hook, "templates/config.yaml": CONFIG}
    bad = chart(
        tmp_path,
        host,
        release,
        files,
        1,
        {"values.yaml": f"{VALUES}command: no-such-command\n"},
    )
    with pytest.raises(SiteError, match="hook"):
        deploy(host, bad)
    with host.run(bad) as run:
        latest = run.site_state.latest()
        assert latest is not None
        assert latest.releases == ()
    good = chart(
        tmp_path,
        host,
        release,
        files,
        2,
        {"values.yaml": f"{VALUES}command: lookup\n"},
    )
    deploy(host, good)
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "hello"


def test_helms_tests_are_run_and_count(host: Host, namespace: str, tmp_path: Path) -> None:
    release = Release("", namespace, test=True, images="keep-names")
    files = {
        "templates/config.yaml": CONFIG,
        "templates/test.yaml": job("check", "{{ .Values.command }}", "helm.sh/hook: test"),
    }
    bad = chart(
        tmp_path,
        host,
        release,
        files,
        1,
        {"values.yaml": f"{VALUES}command: none\n"},
    )
    with pytest.raises(SiteError, match="test the release app"):
        deploy(host, bad)
    good = chart(
        tmp_path,
        host,
        release,
        files,
        2,
        {"values.yaml": f"{VALUES}command: lookup\n"},
    )
    assert deploy(host, good).changed == {"release/app": True}


def test_what_runs_before_an_upgrade_must_end_well(site: Site, host: Host, namespace: str, tmp_path: Path) -> None:
    release = Release("", namespace, before=("before/backup.yaml",), images="keep-names")
    files = {"templates/config.yaml": CONFIG}
    for version, command, runs in ((1, "no-such-command", 0), (2, "lookup", 1), (3, "lookup", 2)):
        given = {"values.yaml": f"{VALUES}version: {version}\n", "before/backup.yaml": job("backup", command, "a: b")}
        deploy(host, chart(tmp_path, host, release, files, version, given))
        assert len(site.get("jobs", "-n", namespace)["items"]) == runs
    given = {
        "values.yaml": VALUES.replace("hello", "bye"),
        "before/backup.yaml": job("backup", "no-such-command", "a: b"),
    }
    with pytest.raises(SiteError, match="backup-"):
        deploy(host, chart(tmp_path, host, release, files, 4, given))
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "hello"
