"""installer.site.wanted and preflight: a real bundle, rendered; and what is told where no cluster answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airbundle.deploy.trust import CA_NAME
from airbundle.installer.render import try_releases
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.installer.site.wanted import wanted_of
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Gate, open_trusted
from airbundle.store.site_dir import open_site
from tests.builder.conftest import UPSTREAM, Workshop, workshop
from tests.support import images
from tests.support.keys import PASSPHRASE, key_files

__all__ = ["workshop"]

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec: {template: {spec: {containers: [{name: a, image: "{{ .Values.image }}"}, {name: b, image: UPSTREAM/many:1.0}]}}}
"""
HOOKS = """\
apiVersion: batch/v1
kind: Job
metadata: {name: hook, annotations: {helm.sh/hook: pre-install}}
spec:
  template:
    spec:
      containers:
        - {name: a, image: "UPSTREAM/many:1.0"}
"""
SITE = {
    "apiVersion": "airbundle.dev/v1",
    "kind": "Site",
    "metadata": {"name": "berlin"},
    "domain": "berlin.internal",
    "values": {"app": "app.yaml"},
}
KUBECONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}
PINNED = "registry.berlin.internal:5443/upstream.test"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def public_key(workshop: Workshop) -> Path:
    """The release key's public half, which `bundle` made."""
    return next(workshop.root.glob("*.pub"))


@pytest.fixture
def bundle(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of a chart and of manifests; one image of arm64 alone, one of which one platform is carried."""
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", PASSPHRASE.decode())
    private, _ = key_files(workshop.root)
    workshop.put(images.tiny_image("arm", platform="linux/arm64"), "arm", "1.0")
    children = [images.tiny_image("many", platform=platform) for platform in ("linux/amd64", "linux/s390x")]
    workshop.put(images.index(children), "many", "1.0")
    release = {"name": "app", "namespace": "shop", "values": ["values/app.yaml"], "needs": ["base"]}
    directory = workshop.inventory(
        images=[f"{UPSTREAM}/arm:1.0", {"ref": f"{UPSTREAM}/many:1.0", "platforms": ["linux/amd64"]}],
        charts=[{"name": "app", "path": "charts/app", "release": release}],
        manifests=[{"path": "base.yaml", "release": {"name": "base"}}],
        kubernetes={"version": "1.33"},
    )
    chart = "apiVersion: v2\nname: app\nversion: 1.2.3\nkubeVersion: '>=1.30.0-0'\n"
    write(directory / "charts/app/Chart.yaml", chart)
    write(directory / "charts/app/templates/all.yaml", DEPLOYMENT.replace("UPSTREAM", UPSTREAM))
    write(directory / "charts/app/templates/hooks.yaml", HOOKS.replace("UPSTREAM", UPSTREAM))
    write(directory / "charts/app/values.yaml", f"image: {UPSTREAM}/arm:1.0\n")
    write(directory / "values/app.yaml", "host: app.{{ site.domain }}\n")
    write(directory / "base.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base}\n")
    write(workshop.root / "site/site.yaml", json.dumps(SITE))
    write(workshop.root / "site/app.yaml", "password: changeme\n")
    answer = workshop.build(workshop.root, "--key", private)
    assert answer.code == 0, answer.text
    return Path(answer.body["path"])


def test_what_a_bundle_would_deploy(workshop: Workshop, bundle: Path) -> None:
    site = open_site(workshop.root / "site/site.yaml")
    (workshop.root / "state").mkdir(mode=0o750)
    state = StateDirectory(workshop.root / "state")
    with open_trusted([bundle], state, Gate(keys=(public_key(workshop),)), []) as trusted:
        site_state = SiteState(state, "berlin")
        rendered = try_releases(trusted, site)
        wanted = wanted_of(trusted, site, site_state, rendered)
        assert (wanted.uid, wanted.ours, wanted.releases_of_ours) == ("", frozenset(), frozenset())

        deployed = DeployedRelease("base", "", "manifests", "sha256:0", objects=("v1/ConfigMap/default/base",))
        site_state.write(Deployment(1, "shop", "1.0.0", 1, "sha256:1", "2026-01-01T00:00:00Z", releases=(deployed,)))
        site_state.write_cluster(SiteCluster("0a1b"))
        Tracks(site_state, "app").begin(["apps/v1/Deployment/shop/app"], "sha256:0", 0)
        again = wanted_of(trusted, site, site_state, rendered)
        assert again.unrestored == {}
        newer = Deployment(2, trusted.statement.name, "9.0.0", trusted.statement.serial + 1, "sha256:2", "")
        site_state.write(newer)
        Tracks(site_state, "app").restore()
        assert wanted_of(trusted, site, site_state, rendered).unrestored == {"app": False}

    base, app = wanted.releases
    assert (base.namespace, base.chart, [each.name for each in base.manifests]) == ("default", "", ["base"])
    assert (app.namespace, app.chart, app.version, app.kube_version) == ("shop", "app", "1.2.3", ">=1.30.0-0")
    assert app.values[0].given == (
        ("values/app.yaml", {"host": "app.berlin.internal"}),
        ("app.yaml", {"password": "changeme"}),
    )
    platforms = {name.partition("@")[0]: carried for name, carried in wanted.platforms.items()}
    assert platforms == {f"{PINNED}/arm:1.0": {"linux/arm64"}, f"{PINNED}/many:1.0": {"linux/amd64"}}
    (deployment,) = [each for each in app.manifests if each.kind == "Deployment"]
    pods = deployment.body["spec"]["template"]["spec"]["containers"]
    assert {each["image"] for each in pods} == wanted.platforms.keys()
    assert [sighting.written for sighting in app.hooks] == [f"{UPSTREAM}/many:1.0"]
    assert ("ConfigMap", "shop", CA_NAME) in wanted.made and wanted.kubernetes == "1.33"
    assert again.uid == "0a1b"
    assert again.ours == {"v1/ConfigMap/default/base", "apps/v1/Deployment/shop/app"}
    assert again.releases_of_ours == {("default", "base"), ("shop", "app")}


def test_a_cluster_that_does_not_answer_hides_nothing_else(workshop: Workshop, bundle: Path) -> None:
    root = workshop.root
    write(root / "kubeconfig", json.dumps(KUBECONFIG))
    reach: list[str | Path] = ["--kubeconfig", root / "kubeconfig", "--patience", "0"]
    site, state = root / "site/site.yaml", root / "state"
    words: list[str | Path] = [bundle, "--key", public_key(workshop), "--site", site, "--state-dir", state]
    for command in ("preflight", "install"):
        answer = workshop.run(command, *words, *reach)
        found = [each for each in answer.body["errors"][0]["findings"] if each["severity"] == "error"]
        assert (answer.code, [each["code"] for each in found]) == (3, ["cluster-unreachable", "weak-password"])
    registry_alone = workshop.run("preflight", *words, *reach, "--phases", "registry")
    found = [each for each in registry_alone.body["errors"][0]["findings"] if each["severity"] == "error"]
    assert [each["code"] for each in found] == ["cluster-unreachable"]
    assert not state.exists()
