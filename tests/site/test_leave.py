"""Leaving a site: the cluster and this host are as before, data stays until it may go."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from airbundle.deploy.objects import ObjectKey
from airbundle.transfer.cluster_write import open_cluster_writer
from tests.site.deployed import World
from tests.support.release_bundles import DOMAIN
from tests.support.sealed import Site


@pytest.fixture
def world(site: Site, tmp_path: Path) -> Iterator[World]:
    made = World(site, tmp_path)
    yield made
    site.kubectl("delete", "namespace", made.namespace, "--ignore-not-found", "--wait=false")
    code, answer = made.command("uninstall", "--yes", "--keep-cluster")
    assert code == 0, answer


def listing(site: Site, namespace: str) -> set[str]:
    """Return all objects of the cluster that a way back must care for, by kind and name."""
    kinds = site.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    chosen = [kind for kind in kinds if kind.partition(".")[0] not in ("events", "leases", "componentstatuses")]
    found = site.kubectl("get", ",".join(chosen), "-A", "-o", "name", "--ignore-not-found").split()
    del namespace
    return set(found)


def test_the_cluster_and_the_host_are_as_before(site: Site, world: World) -> None:
    before = listing(site, world.namespace)
    assert not world.deploy(world.bundle("1.0.0"))
    assert not world.deploy(world.bundle("1.1.0", more=True))
    assert listing(site, world.namespace) - before  # what other tests made may go meanwhile
    code, answer = world.command("uninstall", "--yes")
    assert code == 0, answer
    claim = f"PersistentVolumeClaim {world.namespace}/data"
    kept = "\n".join(answer["kept"])
    assert f"{claim}: it holds data" in kept and f"Namespace {world.namespace}: {claim} stays in it" in kept
    assert not world.state.root.exists()
    left = listing(site, world.namespace) - before
    assert {name.partition("/")[0] for name in left} <= {
        "namespace",
        "persistentvolumeclaim",
        "persistentvolume",
        "serviceaccount",  # the namespace's own
        "configmap",  # with the cluster's CA, which every namespace has
    }, left
    assert world.config() is None


def test_with_its_data_nothing_is_left(site: Site, world: World) -> None:
    before = listing(site, world.namespace)
    assert not world.deploy(world.bundle("1.1.0", more=True))
    code, answer = world.command("uninstall", "--yes", "--delete-data")
    assert code == 0, answer
    assert answer["kept"] == []
    left = {name for name in listing(site, world.namespace) - before if not name.startswith("persistentvolume/")}
    assert left == set()
    assert not world.state.root.exists()


def test_what_goes_is_told_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert not world.deploy(world.bundle("1.1.0", more=True))
    capsys.readouterr()
    code, answer = world.command("uninstall", "--delete-data")
    assert code == 2 and "--yes" in answer["errors"][0]["hint"]
    told = capsys.readouterr().err
    assert f"site berlin: release {world.namespace}/app" in told
    assert f"site berlin: the data in volume claim {world.namespace}/data" in told
    assert str(world.state.root) in told
    assert world.config() == "1.1.0"


def test_a_cluster_that_does_not_answer_is_told_and_may_be_left(world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    cut = world.kubeconfig_to_nowhere()
    code, answer = world.command("uninstall", "--yes", "--kubeconfig", cut, "--patience", "1")
    error = answer["errors"][0]
    assert (code, error["outcome"]) == (6, "unchanged")
    assert "--keep-cluster" in error["hint"]
    assert world.state.read().mode == "embedded"
    code, answer = world.command("uninstall", "--yes", "--kubeconfig", cut, "--keep-cluster")
    assert code == 0, answer
    assert "site berlin: its cluster and nodes, as they are" in answer["kept"]
    assert world.config() == "1.0.0"
    assert not world.state.root.exists()


def _site_file(world: World, name: str, namespace: str) -> Path:
    path = world.host.root / f"{name}.yaml"
    chosen = {each: {"namespace": namespace} for each in ("app", "plain")}
    body = {"apiVersion": "airbundle.dev/v1", "kind": "Site", "metadata": {"name": name}, "domain": DOMAIN}
    path.write_text(json.dumps({**body, "releases": chosen}))
    return path


def _versions(world: World, *namespaces: str) -> list[str | None]:
    with open_cluster_writer(world.kubeconfig) as cluster:
        keys = [ObjectKey("v1", "ConfigMap", each, "app-config") for each in namespaces]
        return [(found.get("data") or {}).get("version") if (found := cluster.get(key)) else None for key in keys]


def _corefile(site: Site) -> str:
    return str(site.get("configmap", "coredns", "-n", "kube-system")["data"]["Corefile"])


def _pulled(world: World) -> str:
    """Return what clients get from the registry under the name of the bundle's image."""
    url = f"https://127.0.0.1:{world.port}/v2/docker.io/library/app/manifests/1"
    context = ssl.create_default_context(cafile=str(world.state.ca_file))
    with httpx.Client(verify=context, trust_env=False) as client:
        return str(client.get(url).headers["Docker-Content-Digest"])


def test_two_sites_of_one_host_come_and_go_by_themselves(site: Site, world: World) -> None:
    first, second = world.namespace, f"{world.namespace}-oslo"
    bundles = [world.bundle("1.0.0"), world.bundle("1.1.0")]
    words = ["--key", world.host.key.public, "--listen", f"127.0.0.1:{world.port}"]
    words += ["--kubeconfig", world.kubeconfig, "--phases", "registry,trust,releases"]
    corefile = _corefile(site)
    for name, namespace in (("berlin", first), ("oslo", second)):
        code, answer = world.command("install", bundles[0], "--site", _site_file(world, name, namespace), *words)
        assert code == 0, answer
    # DNS is the cluster's: oslo sets it, and both need it.
    dns = [*words[:-1], "dns"]
    code, answer = world.command("install", bundles[0], "--site", world.host.root / "oslo.yaml", *dns)
    assert code == 0, answer
    assert "# airbundle begin oslo zones" in _corefile(site)
    assert _versions(world, first, second) == ["1.0.0", "1.0.0"]
    # One goes on to the next version; the other stays where it is, and what it runs is still there.
    code, answer = world.command("install", bundles[1], "--site", world.host.root / "oslo.yaml", *words)
    assert code == 0, answer
    assert _versions(world, first, second) == ["1.0.0", "1.1.0"]
    code, plan = world.command("uninstall", "--dry-run", "--site", "oslo")
    dns_stays = "ConfigMap kube-system/coredns: as it was before: site berlin of the same cluster needs it"
    assert code == 0 and f"site oslo: {dns_stays}" in plan["kept"]
    assert _versions(world, first, second) == ["1.0.0", "1.1.0"]
    code, answer = world.command("uninstall", "--yes", "--site", "oslo")
    assert code == 0, answer
    assert "registry and server, which other sites need: berlin" in answer["kept"]
    assert "ConfigMap kube-system/coredns: site berlin of the same cluster needs it" in answer["kept"]
    assert "# airbundle begin berlin zones" in _corefile(site) and "oslo zones" not in _corefile(site)
    assert _versions(world, first, second) == ["1.0.0", None]
    assert second not in site.kubectl("get", "namespaces", "-o", "name")
    assert _pulled(world) == world.images["1.1.0"].digest
    code, status = world.command("status")
    assert code == 0, status["findings"]
    assert [each["name"] for each in status["sites"]] == ["berlin"]
    code, answer = world.command("uninstall", "--yes", "--site", "berlin")
    assert code == 0, answer
    assert _versions(world, first, second) == [None, None]
    assert _corefile(site) == corefile
    assert not world.state.root.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://127.0.0.1:{world.port}/v2/", trust_env=False)


def test_the_registry_stays_as_long_as_another_site_needs_it(world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    shutil.copytree(world.site.root, world.site.root.parent / "oslo")
    (world.site.root.parent / "oslo" / "journal.jsonl").unlink()
    code, answer = world.command("uninstall", "--yes", "--site", "none")
    assert code == 2 and "berlin, oslo" in answer["errors"][0]["hint"]
    code, answer = world.command("uninstall", "--yes", "--site", "berlin")
    assert code == 0, answer
    assert "registry and server, which other sites need: oslo" in answer["kept"]
    assert world.config() is None
    assert not world.site.root.exists() and world.state.read().mode == "embedded"
    code, answer = world.command("uninstall", "--yes", "--site", "oslo")
    assert code == 0, answer
    assert not world.state.root.exists()


def test_of_two_bundles_one_goes_and_the_other_stays_as_it_is(site: Site, world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    assert not world.deploy(world.tools("5.0.0"))
    code, answer = world.command("uninstall", "--yes", "--bundle", "none")
    assert (code, answer["errors"][0]["hint"]) == (2, "bundles there: test 1.0.0, tools 5.0.0")
    code, plan = world.command("uninstall", "--dry-run", "--bundle", "tools")
    assert code == 0, plan
    assert plan["removed"] == [f"site berlin: release {world.namespace}/gauge", "copy of tools 5.0.0"]
    assert (world.config(), world.config("gauge-config")) == ("1.0.0", "5.0.0")
    code, answer = world.command("uninstall", "--yes", "--bundle", "tools")
    assert code == 0, answer
    assert answer["removed"] == [f"release {world.namespace}/gauge", "copy of tools 5.0.0"]
    assert (world.config(), world.config("plain"), world.config("gauge-config")) == ("1.0.0", "1.0.0", None)
    assert [each.title for each in world.there()] == ["test 1.0.0"]
    code, status = world.command("status")
    assert code == 0, status["findings"]
    # It comes again as on the first day; and what is the last takes the site and the host along.
    assert not world.deploy(world.tools("5.1.0"))
    assert world.config("gauge-config") == "5.1.0"
    code, answer = world.command("uninstall", "--yes", "--bundle", "test")
    assert code == 0, answer
    assert (world.config(), world.config("gauge-config")) == (None, "5.1.0")
    code, answer = world.command("uninstall", "--yes", "--bundle", "tools", "--delete-data")
    assert code == 0, answer
    assert not world.state.root.exists()
    assert world.namespace not in site.kubectl("get", "namespaces", "-o", "name")
