"""What a site's journal says was made is taken back, newest first, and data stays unless it may go."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.installer.journal import Journal
from airbundle.installer.removed import Removed
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.kept_data import KeptData
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.undo import Undoing, undo_all
from airbundle.installer.state import StateDirectory
from airbundle.transfer.cluster_write import ClusterWriter, open_cluster_writer
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.helm_release import HelmRelease, HelmReleases
from tests.support.helm import HELM, package, write_chart
from tests.support.sealed import Site

Body = dict[str, Any]
CLAIM = "PersistentVolumeClaim"


class Nodes:
    """Nodes that nobody has given anything."""

    def undo(self, node: str, access: str) -> bool:
        return False


class World:
    """A namespace of a cluster, a site's state, and what is made there and journalled."""

    def __init__(self, cluster: ClusterWriter, directory: Path) -> None:
        self.cluster = cluster
        self.namespace = f"undo-{secrets.token_hex(3)}"
        self.state = SiteState(StateDirectory(directory / "state"), "berlin")
        (directory / "state").mkdir()
        self.state.make()
        self.journal = Journal(self.state.journal)
        self.directory = directory
        self.home = HelmHome()
        self.helm = HelmReleases(
            Helm(HELM, "v3"), self.home, cluster.access, cluster, self.state.directory("locks"), patience=30.0
        )

    def key(self, kind: str, name: str, api: str = "v1") -> ObjectKey:
        return ObjectKey(api, kind, self.namespace, name)

    def made(self, body: Body) -> Body:
        """Journal and apply an object."""
        body["metadata"].setdefault("namespace", self.namespace)
        if body["kind"] in ("Namespace", "CustomResourceDefinition"):
            del body["metadata"]["namespace"]
        self.journal.note("release/x", "begin", undo=[{"object": str(key_of(body))}])
        return dict(self.cluster.apply(body))

    def space(self) -> None:
        self.made(obj("Namespace", self.namespace))

    def undo(self, *, delete_data: bool = False) -> Removed:
        data = KeptData(self.cluster)
        work = Undoing(self.state, self.cluster, data, lambda: self.helm, Nodes(), delete_data=delete_data)
        return undo_all(work)

    def there(self, *keys: ObjectKey) -> list[bool]:
        return [self.cluster.get(key) is not None for key in keys]

    @property
    def space_key(self) -> ObjectKey:
        return ObjectKey("v1", "Namespace", "", self.namespace)


def obj(kind: str, name: str, api: str = "v1", **more: Any) -> Body:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **more}


def claim(name: str) -> Body:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return obj(CLAIM, name, spec=spec)


@pytest.fixture
def world(site: Site, tmp_path: Path) -> Iterator[World]:
    with open_cluster_writer(site.kubeconfig, patience=30.0) as cluster:
        made = World(cluster, tmp_path)
        yield made
        cluster.delete(made.space_key, wait=120.0)


def test_what_was_made_goes_and_a_second_run_has_nothing_to_do(world: World) -> None:
    world.space()
    world.made(obj("ConfigMap", "a"))
    world.made(obj("Secret", "b"))
    done = world.undo()
    assert done.removed == [
        f"Secret {world.namespace}/b",
        f"ConfigMap {world.namespace}/a",
        f"Namespace {world.namespace}",
    ]
    assert (done.kept, done.failed) == ([], [])
    assert world.undo() == Removed()


def test_data_is_kept_with_its_namespace_until_it_may_go(world: World) -> None:
    world.space()
    world.made(claim("data"))
    world.made(obj("ConfigMap", "a"))
    done = world.undo()
    title = f"{CLAIM} {world.namespace}/data"
    assert done.kept == [f"{title}: it holds data", f"Namespace {world.namespace}: {title} stays in it"]
    assert world.there(world.key(CLAIM, "data"), world.key("ConfigMap", "a"), world.space_key) == [True, False, True]
    done = world.undo(delete_data=True)
    assert (done.kept, done.failed) == ([], [])
    assert world.there(world.key(CLAIM, "data"), world.space_key) == [False, False]


def test_what_owns_a_volume_is_kept_with_its_definition(world: World) -> None:
    world.space()
    group = f"{world.namespace}.example"
    definition = {
        "group": group,
        "names": {"kind": "Db", "plural": "dbs"},
        "scope": "Namespaced",
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    }
    api = "apiextensions.k8s.io/v1"
    crd = world.made(obj("CustomResourceDefinition", f"dbs.{group}", api, spec=definition))
    while world.cluster.resource_of(f"{group}/v1", "Db") is None:
        world.cluster.forget()
    owner = world.made(obj("Db", "one", f"{group}/v1"))
    world.made(obj("Db", "idle", f"{group}/v1"))
    body = claim("volume")
    reference = {name: owner["metadata"][name] for name in ("name", "uid")}
    body["metadata"]["namespace"] = world.namespace
    body["metadata"]["ownerReferences"] = [{"apiVersion": f"{group}/v1", "kind": "Db", **reference}]
    world.cluster.apply(body)
    keys = [world.key("Db", "one", f"{group}/v1"), world.key("Db", "idle", f"{group}/v1"), key_of(crd), world.space_key]
    done = world.undo()
    assert f"Db {world.namespace}/one: deleting it deletes {world.namespace}/volume" in done.kept
    assert world.there(*keys) == [True, False, True, True]
    done = world.undo(delete_data=True)
    assert (done.kept, done.failed) == ([], [])
    assert world.there(*keys) == [False] * 4


def test_claims_of_stateful_sets_go_with_data_alone(world: World) -> None:
    world.space()
    template = {"metadata": {"name": "data"}, "spec": claim("x")["spec"]}
    labels = {"app": "db"}
    container = {"name": "c", "image": "localhost/probe:1", "args": ["serve"], "imagePullPolicy": "Never"}
    spec = {
        "selector": {"matchLabels": labels},
        "serviceName": "db",
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        "volumeClaimTemplates": [template],
    }
    stateful = obj("StatefulSet", "db", "apps/v1", spec=spec)
    world.made(stateful)
    made = world.key(CLAIM, "data-db-0")
    while not all(world.there(made)):
        pass
    digest = world.state.keep_manifest(json.dumps(stateful).encode())
    release = DeployedRelease("db", world.namespace, "manifests", "", manifest=digest)
    world.state.write(Deployment(1, "shop", "1.0", 1, "sha256:" + "0" * 64, "", releases=(release,)))
    done = world.undo()
    assert done.kept == [f"Namespace {world.namespace}: it holds the volume claims {world.namespace}/data-db-0"]
    assert world.there(made, world.key("StatefulSet", "db", "apps/v1")) == [True, False]
    done = world.undo(delete_data=True)
    assert f"{CLAIM} {world.namespace}/data-db-0" in done.removed
    assert world.there(world.space_key) == [False]


CHART = {
    "templates/claim.yaml": """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
""",
    "templates/hook.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: hooked, annotations: {helm.sh/hook: post-install}}
""",
    "templates/secret.yaml": """
apiVersion: v1
kind: Secret
metadata: {name: password, annotations: {helm.sh/resource-policy: keep}}
""",
}


def test_a_release_of_helm_goes_without_its_data(world: World, tmp_path: Path) -> None:
    world.space()
    chart = package(write_chart(tmp_path / "charts", "web", files=CHART), tmp_path, home=tmp_path / "helm")
    world.journal.note("release/web", "begin", undo=[{"helm": f"{world.namespace}/web"}])
    release = HelmRelease("web", world.namespace, "web", chart.read_bytes())
    world.helm.upgrade(release, ours=True)
    keys = [world.key("ConfigMap", "web-x"), world.key("ConfigMap", "hooked")]
    stay = [world.key(CLAIM, "data"), world.key("Secret", "password"), world.space_key]
    assert all(world.there(*keys, *stay))
    done = world.undo()
    assert not done.failed
    assert f"release {world.namespace}/web" in done.removed
    assert set(done.kept) == {
        f"{CLAIM} {world.namespace}/data: it holds data",
        f"Secret {world.namespace}/password: its chart says to keep it",
        f"Namespace {world.namespace}: {CLAIM} {world.namespace}/data, Secret {world.namespace}/password stays in it",
    }
    assert world.there(*keys, *stay) == [False, False, True, True, True]
    assert world.helm.history(world.namespace, "web") == []


def test_a_release_of_helm_goes_with_its_data(world: World, tmp_path: Path) -> None:
    world.space()
    chart = package(write_chart(tmp_path / "charts", "web", files=CHART), tmp_path, home=tmp_path / "helm")
    world.journal.note("release/web", "begin", undo=[{"helm": f"{world.namespace}/web"}])
    world.helm.upgrade(HelmRelease("web", world.namespace, "web", chart.read_bytes()), ours=True)
    done = world.undo(delete_data=True)
    assert (done.kept, done.failed) == ([], [])
    assert world.there(world.space_key) == [False]


def _changed(world: World, kept: str = "before/a.json") -> Body:
    """Make an object of others, keep how it was, and change it."""
    theirs = obj("ConfigMap", "theirs", data={"a": "1", "Corefile": ".:53 {\n    errors\n}\n"})
    theirs["metadata"]["namespace"] = world.namespace
    world.cluster.call(
        "POST",
        f"/api/v1/namespaces/{world.namespace}/configmaps",
        what="make",
        query=[("fieldManager", "somebody")],
        content=json.dumps(theirs).encode(),
    )
    before = world.cluster.get(key_of(theirs))
    assert before is not None
    world.state.directory("before")
    (world.state.root / kept).write_text(json.dumps(before))
    world.journal.note("dns", "begin", undo=[{"restore": str(key_of(theirs)), "file": kept}])
    return dict(before)


def _data(world: World) -> Body:
    found = world.cluster.get(world.key("ConfigMap", "theirs"))
    assert found is not None
    return dict(found["data"])


def test_a_changed_object_is_as_it_was(world: World) -> None:
    world.space()
    before = _changed(world)
    world.cluster.replace({**before, "data": {"a": "2"}})
    assert world.undo().removed[0] == f"ConfigMap {world.namespace}/theirs: as it was before"
    # The namespace goes, too: nothing runs in it.
    assert world.there(world.space_key) == [False]


def test_what_others_changed_since_is_not_put_back(world: World) -> None:
    world.space()
    world.made(obj("ConfigMap", "a"))
    world.made(claim("data"))  # so that the namespace stays
    before = _changed(world)
    marks = "# airbundle begin berlin zones\nx {\n}\n# airbundle end berlin zones\n"
    ours = world.cluster.replace({**before, "data": {**before["data"], "Corefile": before["data"]["Corefile"] + marks}})
    world.cluster.call(
        "PUT",
        f"/api/v1/namespaces/{world.namespace}/configmaps/theirs",
        what="change",
        query=[("fieldManager", "somebody-else")],
        content=json.dumps({**ours, "data": {**ours["data"], "a": "3"}}).encode(),
    )
    done = world.undo()
    assert not done.failed
    # Of a Corefile our marks are taken out, and what others changed stays.
    assert _data(world) == {"a": "3", "Corefile": before["data"]["Corefile"]}


def test_any_other_object_that_others_changed_is_left_and_told(world: World) -> None:
    world.space()
    world.made(claim("data"))
    before = _changed(world)
    world.cluster.call(
        "PUT",
        f"/api/v1/namespaces/{world.namespace}/configmaps/theirs",
        what="change",
        query=[("fieldManager", "somebody-else")],
        content=json.dumps({**before, "data": {"a": "3"}}).encode(),
    )
    (finding,) = world.undo().failed
    assert "somebody-else changed it" in finding.message and "before/a.json" in finding.hint
    assert _data(world) == {"a": "3"}


def test_what_is_not_ours_is_left(world: World) -> None:
    world.space()
    world.made(obj("ConfigMap", "ours"))
    _changed(world)
    world.journal.note("x", "begin", undo=[{"object": str(world.key("ConfigMap", "theirs"))}])
    container = {"name": "c", "image": "localhost/probe:1", "args": ["serve"], "imagePullPolicy": "Never"}
    pod = obj("Pod", "guest", spec={"containers": [container], "terminationGracePeriodSeconds": 0})
    pod["metadata"]["namespace"] = world.namespace
    world.cluster.apply(pod)
    done = world.undo()
    title = f"ConfigMap {world.namespace}/theirs"
    assert f"{title}: airbundle has set nothing of it" in done.kept
    assert world.there(world.key("ConfigMap", "theirs"), world.key("ConfigMap", "ours")) == [True, False]
    world.cluster.delete(world.key("ConfigMap", "theirs"), wait=60)
    assert f"Namespace {world.namespace}: others run in it: Pod guest" in world.undo().kept


def test_failures_are_listed_and_the_rest_goes_on(world: World, tmp_path: Path) -> None:
    world.space()
    directory = tmp_path / "directory"
    directory.mkdir()
    link = tmp_path / "link"
    link.symlink_to(directory)
    world.made(obj("ConfigMap", "a"))
    undo = [
        {"restore": str(world.key("ConfigMap", "a")), "file": "before/gone.json"},
        {"restore": str(world.key("ConfigMap", "a")), "file": "../elsewhere"},
        {"object": "no key"},
        {"file": str(directory)},
        {"file": str(link)},
        {"newer": "kind"},
    ]
    world.journal.note("x", "begin", undo=undo)
    done = world.undo()
    words = [finding.message for finding in done.failed]
    assert len(words) == 5 and any("is gone" in word for word in words) and any("newer" in word for word in words)
    assert str(link) in done.removed and directory.is_dir() and not link.is_symlink()
    assert world.there(world.space_key) == [False]
