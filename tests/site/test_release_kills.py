"""Releases whose deployment is killed, with helm or without, at moments that are held open until the kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airbundle.bundle.release import Release
from tests.site.test_releases import CONFIG, VALUES, chart, deploy, host, namespace, record
from tests.support.release_bundles import Host
from tests.support.sealed import Site

__all__ = ["host", "namespace"]

HOOK = """\
apiVersion: batch/v1
kind: Job
metadata: {name: hook, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: a
          image: "localhost/probe:1"
          imagePullPolicy: Never
          command: [/probe, lookup, localhost]
          envFrom: [{configMapRef: {name: go}}]
"""
"""Doesn't begin until there is a ConfigMap `go`: until then helm waits."""
DEPLOY = """\
import sys
from pathlib import Path
from tests.site.test_releases import deploy
from tests.support.release_bundles import Host
deploy(Host.at(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.fixture
def deploying(host: Host) -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Start deployments in processes of their own, each the head of a group with what it starts."""
    started: list[subprocess.Popen[bytes]] = []

    def start(bundle: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DEPLOY, *map(str, (host.root, host.kubeconfig, bundle))]
        started.append(subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2]))
        return started[-1]

    yield start
    for process in started:
        with_group(process, signal.SIGKILL)


def with_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a process and all that it has started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
    process.wait()


def statuses(site: Site, namespace: str) -> list[str]:
    """Return helm's statuses of the release, oldest first."""
    items = site.get("secret", "-n", namespace, "-l", "owner=helm,name=app")["items"]
    labels = [item["metadata"]["labels"] for item in items]
    return [label["status"] for label in sorted(labels, key=lambda label: int(label["version"]))]


def wait_for(site: Site, namespace: str, wanted: list[str]) -> None:
    while statuses(site, namespace) != wanted:
        time.sleep(0.1)


def let_go(site: Site, namespace: str) -> None:
    site.kubectl("create", "configmap", "go", "-n", namespace)


def bundle(tmp_path: Path, host: Host, namespace: str, version: int = 1, greeting: str = "hello") -> Path:
    files = {"templates/hook.yaml": HOOK, "templates/config.yaml": CONFIG}
    files[f"templates/only-{version}.yaml"] = CONFIG.replace("-config", f"-only-{version}")
    given = {"values.yaml": VALUES.replace("hello", greeting)}
    return chart(tmp_path, host, Release("", namespace, images="keep-names"), files, version, given)


def configs(site: Site, namespace: str) -> set[str]:
    names = {item["metadata"]["name"] for item in site.get("configmap", "-n", namespace)["items"]}
    return {name for name in names if name.startswith("app-")}


Deploying = Callable[[Path], "subprocess.Popen[bytes]"]


def test_an_install_that_was_killed_with_helm_goes_on(
    site: Site, host: Host, namespace: str, tmp_path: Path, deploying: Deploying
) -> None:
    first = bundle(tmp_path, host, namespace)
    process = deploying(first)
    wait_for(site, namespace, ["pending-install"])
    with_group(process, signal.SIGKILL)
    let_go(site, namespace)
    assert deploy(host, first).changed == {"release/app": True}
    assert statuses(site, namespace) == ["deployed"]
    assert configs(site, namespace) == {"app-config", "app-only-1"}
    assert deploy(host, first).changed == {"release/app": False}


def test_an_upgrade_that_was_killed_with_helm_goes_on_with_another_version(
    site: Site, host: Host, namespace: str, tmp_path: Path, deploying: Deploying
) -> None:
    site.kubectl("create", "namespace", namespace)
    let_go(site, namespace)
    deploy(host, bundle(tmp_path, host, namespace))
    site.kubectl("delete", "configmap", "go", "-n", namespace)
    process = deploying(bundle(tmp_path, host, namespace, 2, "killed"))
    wait_for(site, namespace, ["deployed", "pending-upgrade"])
    with_group(process, signal.SIGKILL)
    # What a helm that was killed later would have left of version 2.
    site.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-only-2\n  annotations:\n"
        f"    meta.helm.sh/release-name: app\n    meta.helm.sh/release-namespace: {namespace}\n"
        f"  labels: {{app.kubernetes.io/managed-by: Helm}}\n  namespace: {namespace}\n"
    )
    let_go(site, namespace)
    third = bundle(tmp_path, host, namespace, 3, "bye")
    assert deploy(host, third).changed == {"release/app": True}
    assert statuses(site, namespace) == ["superseded", "deployed"]
    assert configs(site, namespace) == {"app-config", "app-only-3"}
    assert site.get("configmap", "app-config", "-n", namespace)["data"]["greeting"] == "bye"
    assert record(host, third).revision == 2


def test_a_helm_that_outlives_airbundle_is_waited_for_and_its_work_is_not_done_twice(
    site: Site, host: Host, namespace: str, tmp_path: Path, deploying: Deploying
) -> None:
    first = bundle(tmp_path, host, namespace)
    process = deploying(first)
    wait_for(site, namespace, ["pending-install"])
    process.kill()
    process.wait()
    again = deploying(first)
    time.sleep(2)
    assert again.poll() is None
    let_go(site, namespace)
    assert again.wait() == 0
    assert statuses(site, namespace) == ["deployed"]
    assert record(host, first).revision == 1
    assert configs(site, namespace) == {"app-config", "app-only-1"}


def test_nothing_is_left_of_what_a_first_attempt_made_that_failed(
    site: Site, host: Host, namespace: str, tmp_path: Path, deploying: Deploying
) -> None:
    process = deploying(bundle(tmp_path, host, namespace))
    wait_for(site, namespace, ["pending-install"])
    with_group(process, signal.SIGKILL)
    site.kubectl("create", "configmap", "app-only-1", "-n", namespace)
    let_go(site, namespace)
    deploy(host, bundle(tmp_path, host, namespace, 2))
    assert configs(site, namespace) == {"app-config", "app-only-2"}
