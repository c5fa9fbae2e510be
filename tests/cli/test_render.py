"""`airbundle render`: a real bundle with real charts, rendered for a site by real helm."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from airbundle.installer.releases import carried_releases
from airbundle.store.reader import open_bundle
from tests.builder.conftest import UPSTREAM, Answer, Workshop, workshop
from tests.support import images
from tests.support.keys import PASSPHRASE, key_files

__all__ = ["workshop"]

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      containers:
        - name: app
          image: "{{ .Values.image }}"  # {{ .Values.host }}
          args: [--sidecar-image={{ .Values.sidecar }}]
"""
HOOK = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: pre-upgrade}
spec: {template: {spec: {containers: [{name: m, image: "{{ .Values.image }}"}]}}}
"""
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: base}
data: {domain: '{{ site.domain }}', other: '{{ x }}'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: own}
data:
  greeting: {{ site.greeting }}
"""
SITE: dict[str, Any] = {
    "apiVersion": "airbundle.dev/v1",
    "kind": "Site",
    "metadata": {"name": "berlin-1"},
    "domain": "berlin.internal",
    "values": {"app": "values/app.yaml"},
}
HERE = "registry.berlin.internal:5443/upstream.test"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Shop:
    """A built bundle, a site, and the command on them."""

    def __init__(self, made: Workshop, bundle: Path, public: Path) -> None:
        self.workshop, self.bundle, self.public = made, bundle, public
        self.out = made.root / "rendered"
        self.site()

    def site(self, **changes: Any) -> None:
        """Write the site file."""
        write(self.workshop.root / "site/site.yaml", json.dumps({**SITE, **changes}))
        write(self.workshop.root / "site/values/app.yaml", "replicas: 7\n")

    def render(self, *words: str | Path) -> Answer:
        """Run the command."""
        root = self.workshop.root
        options: list[str | Path] = ["--key", self.public, "--state-dir", root / "state", "-o", self.out]
        return self.workshop.run("render", self.bundle, *options, "--site", root / "site/site.yaml", *words)

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Return the objects of a rendered file."""
        return list(yaml.safe_load_all((self.out / name).read_text()))


@pytest.fixture
def shop(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A bundle of a chart with a hook and a CRD, and of manifests that it needs."""
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", PASSPHRASE.decode())
    private, public = key_files(workshop.root)
    for name in ("app", "sidecar"):
        workshop.put(images.tiny_image(name), name, "1.0")
    directory = workshop.inventory(
        images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/sidecar:1.0"],
        charts=[
            {
                "name": "app",
                "path": "charts/app",
                "release": {"name": "app", "namespace": "shop", "values": ["values/app.yaml"], "needs": ["base"]},
            }
        ],
        manifests=[{"path": "base", "release": {"name": "base"}}],
        kubernetes={"version": "1.33"},
        site={"greeting": {"default": "hello", "description": "what people read"}},
    )
    write(directory / "charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\nkubeVersion: '>=1.33'\n")
    write(directory / "charts/app/templates/deployment.yaml", DEPLOYMENT)
    write(directory / "charts/app/values.schema.json", '{"properties": {"replicas": {"pattern": "^[0-9]*$"}}}')
    write(directory / "charts/app/templates/hook.yaml", HOOK)
    write(directory / "charts/app/crds/things.yaml", CRD)
    write(directory / "charts/app/values.yaml", f"replicas: 1\nimage: {UPSTREAM}/app:1.0\n")
    write(directory / "values/app.yaml", f"sidecar: {UPSTREAM}/sidecar:1.0\nhost: app.{{{{ site.domain }}}}\n")
    write(directory / "base/config.yaml", CONFIG)
    write(directory / "base/README.md", "not a manifest")
    answer = workshop.build(workshop.root, "--key", private)
    assert answer.code == 0, answer.text
    return Shop(workshop, Path(answer.body["path"]), public)


def digest_of(bundle: Path, name: str) -> str:
    with open_bundle([bundle]) as opened:
        return next(
            root.digest for root in opened.index if root.annotations["dev.airbundle.ref"] == f"{UPSTREAM}/{name}:1.0"
        )


def test_a_chart_with_the_values_of_bundle_and_site_and_its_images_pinned(shop: Shop) -> None:
    answer = shop.render()
    assert answer.code == 0, answer.text
    (deployment,) = shop.objects("app/manifests.yaml")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    pin = f"{HERE}/app:1.0@{digest_of(shop.bundle, 'app')}"
    assert (deployment["spec"]["replicas"], deployment["metadata"]["namespace"]) == (7, "shop")
    assert container["image"] == pin
    assert container["args"] == [f"--sidecar-image={HERE}/sidecar:1.0@{digest_of(shop.bundle, 'sidecar')}"]
    assert "# app.berlin.internal" in (shop.out / "app/manifests.yaml").read_text()
    (hook,) = shop.objects("app/hooks.yaml")
    assert hook["spec"]["template"]["spec"]["containers"][0]["image"] == pin
    (crd,) = shop.objects("app/crds.yaml")
    assert crd["metadata"]["name"] == "things.example.com"
    config, _ = shop.objects("base/manifests.yaml")
    assert config["data"] == {"domain": "berlin.internal", "other": "{{ x }}"}
    index = json.loads((shop.out / "render.json").read_text())
    assert [release["name"] for release in index["releases"]] == ["base", "app"]
    assert index["releases"] == answer.body["releases"]
    assert index["releases"][1]["images"][f"{UPSTREAM}/app:1.0"] == pin
    assert sorted(answer.body["written"]) == index["files"]


def test_a_second_render_changes_what_differs_and_takes_away_what_is_off(shop: Shop) -> None:
    assert shop.render().body["changed"] is True
    before = (shop.out / "app/manifests.yaml").stat()
    assert shop.render().body["changed"] is False
    assert (shop.out / "app/manifests.yaml").stat().st_mtime_ns == before.st_mtime_ns
    (shop.out / "NOTES").write_text("mine")
    shop.site(releases={"base": {"enabled": False}, "app": {"namespace": "other"}})
    answer = shop.render()
    assert (answer.body["removed"], answer.body["off"]) == (["base/manifests.yaml"], ["base"])
    assert "needs base, which is switched off" in answer.text
    assert shop.objects("app/manifests.yaml")[0]["metadata"]["namespace"] == "other"
    assert not (shop.out / "base").exists()
    assert (shop.out / "NOTES").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "name"), [("/", "harbor.test/mirror"), ("/project/a/", "harbor.test/project/a/mirror")]
)
def test_an_external_registry_with_a_prefix(shop: Shop, path: str, name: str) -> None:
    shop.site(registry={"mode": "external", "url": f"https://harbor.test{path}", "prefix": "mirror"})
    assert shop.render().code == 0
    assert f" {name}/upstream.test/app:1.0@sha256:" in (shop.out / "app/manifests.yaml").read_text().replace('"', " ")


def test_after_a_render_that_was_killed(shop: Shop) -> None:
    shop.out.mkdir()
    write(shop.out / ".render.json.77.part", "{")
    assert shop.render().code == 0
    write(shop.out / "app/.manifests.yaml.77.part", "half")
    write(shop.out / "app/.mine.part", "mine")
    assert shop.render().body["changed"] is False
    assert [path.name for path in shop.out.rglob("*.part")] == [".mine.part"]


def test_two_renders_at_once_do_not_mix(shop: Shop) -> None:
    assert shop.render().code == 0
    descriptor = os.open(shop.out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        answer = shop.render()
    finally:
        os.close(descriptor)
    assert answer.code == 8
    assert "another render is writing it" in answer.errors


def test_a_delta_with_its_base(shop: Shop) -> None:
    inventory, base = shop.workshop.root / "inventory", shop.bundle
    document = json.loads((inventory / "bundle.yaml").read_text())
    document["metadata"]["version"] = "1.1.0"
    write(inventory / "bundle.yaml", json.dumps(document))
    write(inventory / "base/config.yaml", CONFIG.replace("{{ x }}", "new"))
    assert shop.workshop.lock().code == 0
    delta = shop.workshop.root / "delta.airbundle"
    built = shop.workshop.build(delta, "--key", key_files(shop.workshop.root)[0], "--base", base)
    assert built.code == 0, built.text
    shop.bundle = delta
    alone = shop.render()
    assert (alone.code, "give the file with --base" in alone.text) == (6, True)
    assert not shop.out.exists()
    answer = shop.render("--base", base)
    assert answer.code == 0, answer.text
    assert shop.objects("base/manifests.yaml")[0]["data"]["other"] == "new"
    assert f"{HERE}/app:1.0@sha256:" in (shop.out / "app/manifests.yaml").read_text()


def test_names_of_the_bundles_own_and_what_a_site_says_of_them(shop: Shop) -> None:
    inspected = shop.workshop.run("inspect", shop.bundle).body["site"]
    assert inspected == {"greeting": {"default": "hello", "description": "what people read"}}
    assert shop.render().code == 0
    assert shop.objects("base/manifests.yaml")[1]["data"] == {"greeting": "hello"}
    spoken = 'yes: "it" is\\n #1'
    shop.site(names={"greeting": spoken})
    answer = shop.render()
    assert shop.objects("base/manifests.yaml")[1]["data"] == {"greeting": spoken}
    # Only the release that asks for it has changed; render.json tells what was rendered from what.
    assert set(answer.body["written"]) <= {"base/manifests.yaml", "render.json"}
    shop.site(names={"greting": "x", "greeting": 3}, releases={"ap": {"enabled": False}})
    answer = shop.render()
    assert answer.code == 2
    for words in (
        "the bundle asks for no name 'greting' (did you mean 'greeting'?)",
        "wrong value of 'greeting': what people read; found a whole number, '3'; expected text, such as hello",
        "the bundle has no release ap (did you mean 'app'?)",
    ):
        assert words in answer.text


def test_a_kustomization_is_carried_as_what_it_makes(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", PASSPHRASE.decode())
    private, public = key_files(workshop.root)
    workshop.put(images.tiny_image("app"), "app", "1.0")
    release = {"name": "kustomized", "before": ["k/jobs"]}
    directory = workshop.inventory(
        images=[f"{UPSTREAM}/app:1.0"], manifests=[{"path": "k", "release": release}], site={"lines": {"example": "1"}}
    )
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: old}]}\n"
    write(directory / "base/pod.yaml", pod)
    write(directory / "base/kustomization.yaml", "resources: [pod.yaml]\n")
    patch = "- {op: add, path: /metadata/annotations, value: {domain: '{{ site.domain }}', lines: '{{ site.lines }}'}}"
    changes = f"images: [{{name: old, newName: {UPSTREAM}/app, newTag: '1.0'}}]\npatches:\n- target: {{kind: Pod}}\n"
    write(directory / "k/kustomization.yaml", f"resources: [../base]\n{changes}  patch: |\n    {patch}\n")
    write(directory / "k/jobs/job.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: backup}\n")
    write(directory / "k/notes.yaml", "is: no part of it\n")
    answer = workshop.build(workshop.root, "--key", private)
    assert answer.code == 0, answer.text
    shop = Shop(workshop, Path(answer.body["path"]), public)
    shop.site(values={}, names={"lines": "1:\\20"})
    answer = shop.render()
    assert answer.code == 0, answer.text
    (made,) = shop.objects("kustomized/manifests.yaml")
    assert made["metadata"]["annotations"] == {"domain": "berlin.internal", "lines": "1:\\20"}
    assert made["spec"]["containers"][0]["image"] == f"{HERE}/app:1.0@{digest_of(shop.bundle, 'app')}"
    with open_bundle([shop.bundle]) as bundle:
        (carried,) = carried_releases(bundle)
    assert set(carried.files) == {"k/kustomization.built.yaml", "k/jobs/job.yaml"}
    assert carried.manifest_files() == ["k/kustomization.built.yaml"]
    assert workshop.lock().body["changed"] is False


def test_everything_that_is_wrong_is_told_at_once_and_nothing_written(shop: Shop) -> None:
    write(shop.workshop.root / "site/values/app.yaml", "image: lacking:1\nsidecar: other/lacking:2\n")
    answer = shop.render()
    assert answer.code == 3
    assert "docker.io/library/lacking:1 would run and is not in the bundle" in answer.errors
    assert "docker.io/other/lacking:2 would run" in answer.errors
    assert not shop.out.exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("replicas: [", "not YAML"),
        ("host: '{{ site.nonsense }}'\n", "is no name of the site"),
        ("image: {a: b}\n", "is no image reference"),
        ("image: ['\"']\n", "YAML"),
    ],
)
def test_values_that_can_not_be_used(shop: Shop, values: str, words: str) -> None:
    write(shop.workshop.root / "site/values/app.yaml", values)
    answer = shop.render()
    assert answer.code == 3, answer.text
    assert words in answer.text


@pytest.mark.parametrize("values", ["password: !!int {}\n", "db: {{adminToken: [{}]}}\nreplicas: {}\n"])
def test_a_secret_in_values_is_not_told_where_helm_tells_it(shop: Shop, values: str) -> None:
    secret = "hunter2-hunter2"
    write(shop.workshop.root / "site/values/app.yaml", values.format(secret, secret))
    answer = shop.render()
    assert answer.code == 3
    assert "can't be rendered" in answer.text
    assert secret not in answer.text + answer.errors
    assert "/airbundle-helm-" not in answer.text


def _foreign(shop: Shop) -> None:
    write(shop.out / "mine.yaml", "mine")


def _lying(shop: Shop) -> None:
    write(shop.out / "render.json", json.dumps({"files": ["../../etc/passwd"]}))


def _of_another_program(shop: Shop) -> None:
    write(shop.out / "render.json", json.dumps({"files": []}))


def _linked(shop: Shop) -> None:
    assert shop.render().code == 0
    shutil.rmtree(shop.out / "app")
    (shop.workshop.root / "elsewhere").mkdir()
    (shop.out / "app").symlink_to(shop.workshop.root / "elsewhere")
    (shop.workshop.root / "elsewhere/manifests.yaml").write_text("mine")


def _unknown_release(shop: Shop) -> None:
    shop.site(releases={"ap": {"enabled": False}})


def _no_registry(shop: Shop) -> None:
    shop.site(domain=None)
    site = {name: value for name, value in SITE.items() if name != "domain"}
    write(shop.workshop.root / "site/site.yaml", json.dumps(site))


def _no_values(shop: Shop) -> None:
    (shop.workshop.root / "site/values/app.yaml").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_foreign, "holds files of others"),
        (_lying, "is not as `airbundle render` writes it"),
        (_of_another_program, "is not as `airbundle render` writes it"),
        (_unknown_release, "the bundle has no release ap"),
        (_no_registry, "it names no private registry"),
        (_no_values, "'values/app.yaml' is not there"),
    ],
)
def test_wrong_usage(shop: Shop, spoil: Callable[[Shop], None], words: str) -> None:
    spoil(shop)
    answer = shop.render()
    assert answer.code == 2, answer.text
    assert words in answer.text
    assert not (shop.out / "app").exists()


def test_a_link_in_the_directory_is_not_followed(shop: Shop) -> None:
    _linked(shop)
    answer = shop.render()
    assert (answer.code, "is a link, which is not followed" in answer.text) == (2, True)
    assert [path.read_text() for path in (shop.workshop.root / "elsewhere").iterdir()] == ["mine"]


def test_another_key_and_a_cluster_that_the_chart_refuses(shop: Shop) -> None:
    answer = shop.render("--kube-version", "1.20")
    assert answer.code == 3
    assert "1.33" in answer.errors
    other = key_files(shop.workshop.root, 77)[1]
    root = shop.workshop.root
    words: list[str | Path] = ["--site", root / "site/site.yaml", "--state-dir", root / "new", "-o", shop.out]
    assert shop.workshop.run("render", shop.bundle, "--key", other, *words).code == 5
    assert not shop.out.exists()
