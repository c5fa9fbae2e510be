"""Faults at a site, one after the other, with the real command: each is told, what ran goes on, the next run completes.

One cluster for all of them. A client asks the shop ten times a second throughout and must always get its answer.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.site import faulty, shop
from tests.site.desk import Desk, open_desk
from tests.site.polling import Polled, polled
from tests.support.sealed import AIRBUNDLE, Site, sealed_site

STATE = "/var/lib/airbundle"
API_AWAY = float(os.environ.get("AIRBUNDLE_TEST_API_AWAY", "20"))
"""Seconds for which the API server answers nobody."""
_ROOM = "1g"
_STOP_SERVER = f"""
pid=$(sed 's/.*"pid": \\([0-9]*\\).*/\\1/' {STATE}/run/server.json)
kill -9 $(cat /proc/$pid/task/$pid/children) $pid
"""


@dataclass
class Run:
    """An install that goes on beside the test; what it says goes to files."""

    process: subprocess.Popen[bytes]
    told: Path
    answer: Path

    def until(self, line: str) -> None:
        """Wait until it tells something."""
        while line not in self.told.read_text():
            assert self.process.poll() is None, self.told.read_text()
            time.sleep(0.1)

    def end(self, code: int) -> dict[str, Any]:
        """Wait for its end, and return its document."""
        assert self.process.wait(600) == code, self.told.read_text() + self.answer.read_text()
        document: dict[str, Any] = json.loads(self.answer.read_text())
        return document


@dataclass
class Shop:
    """The shop at version 1.0.0, on a cluster of its own, and the operator's host.

    Attributes:
        good, better: the bundles of 1.0.0 and 1.1.0.
        state: what all else depends on: the version that is up, as the last install that ended well left it.
    """

    site: Site
    desk: Desk
    root: Path
    good: Path
    better: Path
    up: str = shop.GOOD
    values: dict[str, Mapping[str, str]] = field(default_factory=dict)
    client: Polled | None = None
    runs: int = 0

    @property
    def site_yaml(self) -> Path:
        """The site file, written anew."""
        return faulty.site_file(self.root, address=self.site.addresses[0], values=self.values)

    def command(self, bundle: Path, *words: str | Path) -> list[str | Path]:
        """Return the command; of an option that is given twice the last one counts."""
        site_yaml, key = self.site_yaml, self.desk.public_key
        return [*AIRBUNDLE, "install", bundle, "--key", key, "--site", site_yaml, "--json", *words]

    def start(self, bundle: Path, *words: str | Path) -> Run:
        """Start an install."""
        self.runs += 1
        told, answer = self.root / f"told-{self.runs}", self.root / f"answer-{self.runs}"
        told.touch()
        line = f"exec {shlex.join(map(str, self.command(bundle, *words)))} >{answer} 2>{told}"
        return Run(self.site.start("sh", "-c", line), told, answer)

    def install(self, bundle: Path, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run an install to its end."""
        return self.start(bundle, *words).end(code)

    def journals(self) -> str:
        """What was ever done on this host, and deployed; the site's journal has pods that only look, too."""
        return (
            self.site.host("cat", f"{STATE}/journal.jsonl").stdout
            + self.site.host("ls", f"{STATE}/sites/shop/deployments").stdout
        )

    def serves(self, version: str) -> None:
        """Check that a version is what runs, in all of its pods, and that no client was ever disappointed."""
        deployments = self.site.get("-n", shop.NAMESPACE, "deployments")["items"]
        assert [each["metadata"]["name"] for each in deployments] == [*faulty.PARTS, "web"]
        for deployment in deployments:
            name = deployment["metadata"]["name"]
            assert deployment["spec"]["template"]["metadata"]["annotations"]["version"] == version, name
            assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"], name
        assert self.client is not None
        before = self.client.count()
        while self.client.count() == before:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def shop_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("faults")
    with ExitStack() as ending:
        site = ending.enter_context(sealed_site())
        desk = ending.enter_context(open_desk(root))
        # A disk of its own for the state, as many hosts have, which can be made as small as it is full.
        site.host("sh", "-c", f"mkdir -p {STATE} && mount -t tmpfs -o mode=755,size={_ROOM} tmpfs {STATE}")
        made = Shop(site, desk, root, faulty.build(desk, root, shop.GOOD), faulty.build(desk, root, shop.BETTER))
        made.install(made.good)
        made.client = ending.enter_context(polled(site, root / "polled"))
        yield made


@pytest.fixture(autouse=True)
def serving(shop_up: Shop) -> Iterator[None]:
    """What is up before a test is up after it, unless the test itself brought up more."""
    yield
    shop_up.serves(shop_up.up)


def error_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one error of an answer; it, or else each of its findings, has a next step."""
    (error,) = answer["errors"]
    errors = [each for each in error.get("findings", ()) if each["severity"] == "error"]
    assert error.get("hint") or (errors and all(each.get("hint") for each in errors)), error
    found: dict[str, Any] = error
    return found


def findings_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the findings of an answer: where → what, and what was found."""
    found: dict[str, str] = {}
    for each in error_of(answer)["findings"]:
        text = " ".join(each.get(name, "") for name in ("message", "found", "hint"))
        found[each.get("where", "")] = f"{found.get(each.get('where', ''), '')}{text}\n"
    return found


@pytest.fixture
def untouched(shop_up: Shop) -> Iterator[None]:
    """Nothing was begun on the host in a test."""
    before = shop_up.journals()
    yield
    assert shop_up.journals() == before


@pytest.mark.usefixtures("untouched")
def test_another_key(shop_up: Shop) -> None:
    shop_up.desk.run("key", "generate", "-o", shop_up.root / "another.key")
    answer = shop_up.install(shop_up.better, "--key", shop_up.root / "another.pub", code=5)
    assert answer["outcome"] == "unchanged"
    assert "--key" in error_of(answer)["message"]
    assert "airbundle trust" in error_of(answer)["hint"]


@pytest.mark.usefixtures("untouched")
def test_a_site_file_with_mistakes(shop_up: Shop) -> None:
    body = yaml.safe_load(shop_up.site_yaml.read_text())
    body["domian"] = body.pop("domain")
    body["nodes"]["access"] = "demonset"
    body["dns"]["records"]["web"] = "10.203.0.999"
    path = shop_up.root / "mistakes.yaml"
    path.write_text(yaml.safe_dump(body))
    answer = shop_up.install(shop_up.better, "--site", path, code=2)
    assert answer["outcome"] == "unchanged"
    found = findings_of(answer)
    assert [where.split()[-1] for where in found] == ["dns.records.web", "domian", "nodes.access"]
    assert "did you mean 'domain'?" in "".join(found.values())
    assert all(where.startswith("mistakes.yaml:") for where in found)


@pytest.mark.usefixtures("untouched")
def test_an_api_that_cannot_be_reached(shop_up: Shop) -> None:
    admin = shop_up.site.host("cat", "/etc/kubernetes/admin.conf").stdout
    kubeconfig = shop_up.root / "nowhere.conf"
    kubeconfig.write_text(admin.replace(":6443", ":7777"))
    answer = shop_up.install(shop_up.better, "--kubeconfig", kubeconfig, "--patience", "2", code=3)
    assert answer["outcome"] == "unchanged"
    told = findings_of(answer)["cluster"]
    assert f"{shop_up.site.addresses[0]}:7777: Connection refused" in told
    assert "check the kubeconfig" in told


@pytest.mark.usefixtures("untouched")
def test_rights_that_are_missing(shop_up: Shop) -> None:
    site = shop_up.site
    site.kubectl("create", "namespace", "ops")
    site.kubectl("-n", "ops", "create", "serviceaccount", "night")
    site.kubectl("create", "clusterrolebinding", "night", "--clusterrole=view", "--serviceaccount=ops:night")
    body = yaml.safe_load(site.host("cat", "/etc/kubernetes/admin.conf").stdout)
    body["users"][0]["user"] = {"token": site.kubectl("-n", "ops", "create", "token", "night").strip()}
    kubeconfig = shop_up.root / "night.conf"
    kubeconfig.write_text(yaml.safe_dump(body))
    answer = shop_up.install(shop_up.better, "--kubeconfig", kubeconfig, code=3)
    assert answer["outcome"] == "unchanged"
    found = findings_of(answer)
    assert "this user may not create, delete, patch deployments.apps" in found["namespace shop"]
    assert "ask an administrator for the role" in found["namespace shop"]
    assert "may not create namespaces" not in "".join(found.values())  # all that are needed are there


@pytest.mark.usefixtures("untouched")
def test_a_disk_that_is_full_before(shop_up: Shop) -> None:
    with_full_disk(shop_up, "+ 10240")
    answer = shop_up.install(shop_up.better, code=7)
    assert answer["outcome"] == "unchanged"
    assert STATE in json.dumps(error_of(answer))
    assert "free" in json.dumps(error_of(answer))
    with_room(shop_up)


def test_three_releases_that_the_sites_values_spoil(shop_up: Shop) -> None:
    shop_up.values = {name: {"fault": name} for name in faulty.PARTS}
    site_yaml = shop_up.site_yaml
    body = yaml.safe_load(site_yaml.read_text())
    body["releases"] = {name: {"timeout": "15s"} for name in ("crash", "never")}
    path = shop_up.root / "spoiled.yaml"
    path.write_text(yaml.safe_dump(body))
    answer = shop_up.install(shop_up.better, "--site", path, "--yes", code=6)
    assert answer["outcome"] == "rolled-back", answer
    assert "shop 1.0.0 serves as before" in error_of(answer)["message"]
    assert "same command again" in error_of(answer)["hint"]
    found = findings_of(answer)
    assert {"release/crash", "release/hook", "release/never"} <= set(found)
    (crashed,) = [text for where, text in found.items() if where.startswith("Pod shop/crash-")]
    assert "no route to db.internal" in crashed
    (unready,) = [text for where, text in found.items() if where.startswith("Pod shop/never-")]
    assert "not ready: it" in unready
    (failed,) = [text for where, text in found.items() if where.startswith("Pod shop/migrate-")]
    assert "table orders is locked" in failed
    assert f"kubectl -n {shop.NAMESPACE} get jobs,pods" in found["release/hook"]


def test_an_api_server_that_is_gone_in_the_middle_and_a_second_installer(shop_up: Shop) -> None:
    shop_up.values = {}  # what was spoiled is mended: this is its next run, too
    run = shop_up.start(shop_up.better)
    run.until("release/crash: begins")
    script = f"p=$(cat /run/site/kube-apiserver.pid); kill -STOP $p; sleep {API_AWAY}; kill -CONT $p"
    away = threading.Thread(target=shop_up.site.node, args=(1, "sh", "-c", script))
    away.start()
    try:
        second = shop_up.install(shop_up.better, code=8)
    finally:
        away.join()
    assert second["outcome"] == "unchanged"
    assert "`airbundle install --site shop`, process " in error_of(second)["message"]
    assert "wait until it ends" in error_of(second)["hint"]
    done = run.end(0)
    assert done["changed"] is True
    shop_up.up = shop.BETTER
    assert shop_up.install(shop_up.better)["changed"] is False


def test_a_registry_that_is_stopped_in_the_middle(shop_up: Shop) -> None:
    shop_up.values = {"crash": {"note": "the registry stops"}}
    path = shop_up.root / "short.yaml"
    body = yaml.safe_load(shop_up.site_yaml.read_text())
    path.write_text(yaml.safe_dump({**body, "releases": {"crash": {"timeout": "15s"}}}))
    run = shop_up.start(shop_up.better, "--site", path)
    run.until("release/crash: begins")
    shop_up.site.host("sh", "-c", _STOP_SERVER)
    answer = run.end(6)
    assert answer["outcome"] == "rolled-back", answer
    found = findings_of(answer)
    registry = found[f"https://registry.{shop.DOMAIN}:5443"]
    assert "the registry of this host does not answer" in registry
    assert "same command again, which starts it" in registry
    (pod,) = [text for where, text in found.items() if where.startswith("Pod shop/crash-")]
    assert "connection refused" in pod
    shop_up.serves(shop.BETTER)
    done = shop_up.install(shop_up.better)
    assert {name for name, changed in done["steps"].items() if changed} == {"release/crash"}


def test_a_disk_that_is_full_in_the_middle(shop_up: Shop) -> None:
    shop_up.values = {"crash": {"note": "the disk is full"}}
    run = shop_up.start(shop_up.better)
    run.until("release/base: begins")
    with_full_disk(shop_up)
    answer = run.end(6)
    with_room(shop_up)
    assert answer["outcome"] in ("rolled-back", "partial")
    found = findings_of(answer)
    assert "No space left on device" in found["release/crash"]
    assert f"free space on the file system of {STATE}" in found["release/crash"]
    shop_up.serves(shop.BETTER)
    done = shop_up.install(shop_up.better)
    assert {name for name, changed in done["steps"].items() if changed} == {"release/crash"}


def test_a_node_without_trust(shop_up: Shop) -> None:
    shop_up.values = {}
    shop_up.site.node(2, "sh", "-c", "rm -rf /etc/containerd/certs.d/*")
    body = yaml.safe_load(shop_up.site_yaml.read_text())
    body["nodes"]["access"] = "manual"
    path = shop_up.root / "manual.yaml"
    path.write_text(yaml.safe_dump(body))
    answer = shop_up.install(shop_up.better, "--site", path, code=6)
    script = f"{STATE}/sites/shop/nodes/node2.sh"
    assert answer["outcome"] == "rolled-back", answer
    assert f"copy {script} to node2 and run it there as root" in json.dumps(error_of(answer))
    shop_up.serves(shop.BETTER)
    # As the operator is told to.
    shop_up.site.node(2, "sh", "-s", "apply", stdin=shop_up.site.host("cat", script).stdout)
    done = shop_up.install(shop_up.better, "--site", path)
    assert done["changed"] is True


def with_full_disk(shop_up: Shop, more: str = "") -> None:
    """Leave no room on the disk of the state directory, or so many KiB."""
    used = f"$(( $(df -k --output=used {STATE} | tail -1) {more} ))"
    # A run that writes meanwhile may have more by then: the kernel refuses a size below what is used.
    script = f"for i in $(seq 50); do mount -o remount,size={used}k {STATE} && exit 0; done; exit 1"
    shop_up.site.host("sh", "-c", script)


def with_room(shop_up: Shop) -> None:
    """Make the disk as large as it was."""
    shop_up.site.host("mount", "-o", f"remount,size={_ROOM}", STATE)
