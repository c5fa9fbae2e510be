"""Back to an earlier deployment, by hand and after a failed upgrade: real helm, a real cluster, a real registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.errors import SiteError
from airbundle.installer.server_up import is_down
from airbundle.installer.service import Service
from tests.site.deployed import World
from tests.support.sealed import Site


@pytest.fixture
def world(site: Site, tmp_path: Path) -> Iterator[World]:
    made = World(site, tmp_path)
    yield made
    site.kubectl("delete", "namespace", made.namespace, "--ignore-not-found", "--wait=false")
    code, answer = made.command("uninstall", "--yes", "--keep-cluster")
    assert code == 0, answer


def test_to_what_was_up_before_and_forth_again(world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    assert not world.deploy(world.bundle("1.1.0", more=True))
    assert (world.config(), world.config("plain"), world.served) == ("1.1.0", "1.1.0", "1.1.0")
    Service.of(world.state).stop()  # as after a reboot without systemd
    code, plan = world.command("rollback", "--dry-run")
    assert code == 0, plan
    assert plan["starts"] and is_down(world.state)
    assert [(each["name"], each["move"]) for each in plan["releases"]] == [
        ("app", "back"),
        ("plain", "back"),
        ("extra", "remove"),
    ]
    assert (world.config(), len(world.site.deployments())) == ("1.1.0", 2)
    code, answer = world.command("rollback")
    assert code == 2 and "--yes" in answer["errors"][0]["hint"], answer  # nobody is there to agree
    code, answer = world.command("rollback", "--yes")
    assert code == 0, answer
    assert (world.config(), world.config("plain"), world.served) == ("1.0.0", "1.0.0", "1.0.0")
    assert world.config("extra-config") is None
    assert any("it holds data" in each for each in answer["kept"]), answer
    latest = world.latest()
    assert (latest.number, latest.version, latest.complete) == (3, "1.0.0", True)
    found = latest.release("app")
    assert found is not None and found.revision == 3
    assert {each.name for each in latest.releases} == {"app", "plain"}
    code, answer = world.command("rollback", "--to", "1.0.0", "--yes")
    assert code == 0, answer
    assert answer["changed"] is False
    code, status = world.command("status")
    assert [each["version"] for each in status["bundles"]] == ["1.0.0", "1.1.0"]


def test_what_a_release_restores_is_run_after_it_went_back(world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    assert not world.deploy(world.bundle("1.1.0", restore=True, policy="auto"))
    code, plan = world.command("rollback", "--dry-run")
    assert code == 0, plan
    assert [(each["restores"], each["asks"]) for each in plan["releases"]] == [(["restore.yaml"], False), ([], False)]
    code, answer = world.command("rollback")  # all of it goes back by itself: nobody is asked
    assert code == 0, answer
    assert (world.config(), world.config("restored")) == ("1.0.0", "")


def test_what_could_not_be_restored_is_restored_by_the_next_run(world: World, site: Site) -> None:
    """Until then it counts as one that did not go back: nothing is to be written into data of another version."""
    assert not world.deploy(world.bundle("1.0.0"))
    assert not world.deploy(world.bundle("1.1.0", restore=True, policy="auto"))
    marks = {"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": world.namespace}
    metadata = {"name": "restored", "annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    site.kubectl("-n", world.namespace, "create", "-f", "-",
                 stdin=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))  # fmt: skip
    code, answer = world.command("rollback")
    assert (code, answer["outcome"]) == (6, "partial"), answer
    assert "app is back, but its data are not restored: " in answer["errors"][0]["message"]
    assert not world.latest().complete
    site.kubectl("-n", world.namespace, "delete", "configmap", "restored")
    code, plan = world.command("rollback", "--dry-run")
    assert code == 0, plan
    assert plan["releases"][0]["restores"] == ["restore.yaml"]
    code, answer = world.command("rollback")
    assert code == 0, answer
    assert (world.config(), world.config("restored"), world.latest().complete) == ("1.0.0", "", True)


def test_a_version_whose_images_are_gone_is_refused_before_anything_changes(world: World) -> None:
    first = world.bundle("1.0.0")
    assert not world.deploy(first)
    assert not world.deploy(world.bundle("1.1.0"))
    copies = {each.version: each.file for each in world.state.read().bundles}
    (world.state.bundles / copies["1.0.0"]).unlink()
    code, answer = world.command("rollback", "--yes")
    assert code == 6, answer
    error = answer["errors"][0]
    assert "its copy is not here" in error["message"] and error["outcome"] == "unchanged"
    assert (world.config(), world.served, len(world.site.deployments())) == ("1.1.0", "1.1.0", 2)


def _failing(world: World, bundle: Path) -> SiteError:
    with pytest.raises(SiteError) as caught:
        world.deploy(bundle)
    return caught.value


def test_a_failed_upgrade_goes_back_by_itself(world: World) -> None:
    good = world.bundle("1.0.0", policy="auto")
    assert not world.deploy(good)
    error = _failing(world, world.bundle("1.1.0", policy="auto", broken=True, restore=True))
    assert error.outcome == "rolled-back"
    assert "test 1.0.0 serves as before" in error.problem
    assert (world.config(), world.config("plain"), world.served) == ("1.0.0", "1.0.0", "1.0.0")
    assert world.config("restored") == ""
    latest = world.latest()
    assert (latest.number, latest.version, latest.complete) == (3, "1.0.0", True)
    code, status = world.command("status")
    assert code == 0, status["findings"]
    assert status["sites"][0]["bundles"][0]["failed"]["version"] == "1.1.0"
    # What is up can be installed again, as `status` says, though a newer one was seen; and the next one comes up.
    assert not world.deploy(good)
    assert not world.deploy(world.bundle("1.2.0", policy="auto"))
    assert (world.config(), world.config("plain"), world.served) == ("1.2.0", "1.2.0", "1.2.0")


@pytest.mark.parametrize("policy", ["ask", "never"])
def test_a_failed_upgrade_stays_where_nobody_agrees(world: World, policy: str) -> None:
    assert not world.deploy(world.bundle("1.0.0", policy=policy))
    error = _failing(world, world.bundle("1.1.0", policy=policy, broken=True))
    assert error.outcome == "partial"
    assert "app did not go back; all other releases serve as in test 1.0.0" in error.problem
    assert re.search("its `rollback` is " + policy, " ".join(finding.message for finding in error.findings))
    assert world.config("plain") == "1.0.0"
    assert not world.latest().complete
    if policy == "ask":
        code, answer = world.command("rollback", "--yes")
        assert code == 0, answer
        assert (world.config(), world.config("plain"), world.served) == ("1.0.0", "1.0.0", "1.0.0")
        assert world.latest().complete


def test_a_chart_that_was_taken_away_comes_back_as_it_was(world: World) -> None:
    values = world.host.root / "extra.yaml"
    assert not world.deploy(world.bundle("1.0.0"))
    world.host.site(values={"extra": ["extra.yaml"]})
    values.write_text("word: one")
    assert not world.deploy(world.bundle("1.1.0", more=True))
    claim = world.claim()
    values.write_text("word: two")
    assert not world.deploy(world.bundle("1.2.0", more=True))
    values.unlink()  # what the site said then is kept

    def back(to: str) -> dict[str, str]:
        code, answer = world.command("rollback", "--to", to, "--yes")
        assert code == 0, answer
        assert world.claim() == claim
        assert world.config() == to
        return {each["name"]: each["move"] for each in answer["releases"]}

    assert back("1.0.0")["extra"] == "remove"
    assert (world.config("extra-config"), world.config("extra-word")) == (None, None)
    assert back("1.2.0")["extra"] == "again"
    assert (world.config("extra-config"), world.config("extra-word")) == ("1.2.0", "two")
    # helm counts from 1 again: its revision 1 is another one than that of 1.1.0.
    found = [each.release("extra") for each in world.site.deployments()]
    assert [each.revision if each else 0 for each in found] == [0, 1, 2, 0, 1]
    assert back("1.1.0")["extra"] == "back"
    assert (world.config("extra-config"), world.config("extra-word")) == ("1.1.0", "one")
    assert world.command("rollback", "--to", "1.1.0", "--yes")[1]["changed"] is False
    assert back("1.0.0")["extra"] == "remove"
    for path in (world.site.root / "deployments").iterdir():  # as an earlier version wrote it
        path.write_text(re.sub('"values": "[^"]+"', '"values": ""', path.read_text()))
    code, answer = world.command("rollback", "--to", "1.1.0", "--yes")
    (finding,) = answer["errors"][0]["findings"]
    assert (code, answer["errors"][0]["outcome"], finding["where"]) == (6, "unchanged", "release/extra")
    assert "can't be deployed again" in finding["message"]


def test_of_two_bundles_only_the_named_one_goes_back(world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    assert not world.deploy(world.bundle("1.1.0"))
    assert not world.deploy(world.tools("5.0.0"))
    code, answer = world.command("rollback", "--yes")
    assert code == 2, answer
    assert answer["errors"][0]["message"] == "which bundle? berlin has test 1.1.0, tools 5.0.0"
    assert "--bundle" in answer["errors"][0]["hint"]
    code, answer = world.command("rollback", "--bundle", "tools", "--yes")
    assert code == 2 and "nothing to go back to" in answer["errors"][0]["message"], answer
    code, answer = world.command("rollback", "--bundle", "test", "--yes")
    assert code == 0, answer
    assert {each["name"]: each["move"] for each in answer["releases"]} == {"app": "back", "plain": "back"}
    assert (answer["others"], answer["removed"], answer["kept"]) == (["tools 5.0.0"], [], [])
    assert (world.config(), world.config("plain"), world.config("gauge-config")) == ("1.0.0", "1.0.0", "5.0.0")
    assert [each.title for each in world.there()] == ["tools 5.0.0", "test 1.0.0"]
    assert (world.served, world.version_of("test")) == ("5.0.0", "1.0.0")  # the order of the two stays, too
    code, status = world.command("status")
    assert code == 0, status["findings"]
    (found,) = status["sites"]
    assert [(each["name"], each["version"]) for each in found["bundles"]] == [("tools", "5.0.0"), ("test", "1.0.0")]
    assert {each["name"]: each["state"] for each in found["releases"]} == dict.fromkeys(("app", "plain", "gauge"), "up")
    # The other goes its own way, forth and back.
    assert not world.deploy(world.tools("5.1.0"))
    code, answer = world.command("rollback", "--bundle", "tools")
    assert code == 0, answer
    assert (world.config(), world.config("gauge-config")) == ("1.0.0", "5.0.0")


def test_two_bundles_by_the_command_itself(world: World) -> None:
    words: list[object] = ["--key", world.host.key.public, "--listen", f"127.0.0.1:{world.port}", "--kubeconfig"]
    words += [world.kubeconfig, "--site", world.host.root / "site.yaml", "--phases", "registry,releases"]
    first = world.bundle("1.0.0", policy="auto")
    for bundle in (first, world.tools("5.0.0"), first):
        code, answer = world.command("install", bundle, *words)
        assert code == 0, answer
    assert answer["deployment"] == 1
    assert [each.title for each in world.site.deployments()] == ["test 1.0.0", "tools 5.0.0"]  # nothing was to do
    code, answer = world.command("install", world.bundle("1.1.0", policy="auto", broken=True), *words)
    assert (code, answer["outcome"]) == (6, "rolled-back"), answer
    assert "test 1.0.0 serves as before" in answer["errors"][0]["message"]
    assert (world.config(), world.config("gauge-config")) == ("1.0.0", "5.0.0")
    assert [(each.title, each.complete) for each in world.there()] == [("tools 5.0.0", True), ("test 1.0.0", True)]
    assert {each.name for each in world.latest().releases} == {"app", "plain", "gauge"}


def test_a_failed_upgrade_of_one_bundle_leaves_the_other_as_it_is(world: World) -> None:
    assert not world.deploy(world.tools("5.0.0"))
    first = _failing(world, world.bundle("1.0.0", broken=True))  # the first version of a bundle beside another
    assert first.outcome == "partial" and "none of it was up before" in first.problem
    assert not world.deploy(world.bundle("1.1.0", policy="auto"))
    error = _failing(world, world.tools("5.1.0", broken=True))
    assert (error.outcome, "tools 5.0.0 serves as before" in error.problem) == ("rolled-back", True)
    assert (world.config(), world.config("gauge-config")) == ("1.1.0", "5.0.0")
    assert (world.version_of("test"), world.version_of("tools")) == ("1.1.0", "5.0.0")
    assert [(each.title, each.complete) for each in world.there()] == [("test 1.1.0", True), ("tools 5.0.0", True)]
    assert {each.name: each.bundle for each in world.latest().releases} == {
        "app": "test",
        "plain": "test",
        "gauge": "tools",
    }


def test_status_tells_of_a_cluster_that_does_not_answer(world: World) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    code, status = world.command("status", "--kubeconfig", world.kubeconfig_to_nowhere(), "--patience", "1")
    assert code == 3
    (found,) = status["sites"][0]["findings"]
    assert found["code"] == "cluster" and "127.0.0.1:1" in found["message"]
    assert {each["name"]: each["state"] for each in status["sites"][0]["releases"]} == {
        "app": "unknown",
        "plain": "unknown",
    }
