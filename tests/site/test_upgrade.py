"""A bundle's life at a site: brought up, upgraded by a delta, a broken version that goes back, rollback, uninstall."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.site import shop
from tests.site.desk import Desk, open_desk
from tests.support.sealed import AIRBUNDLE, Site

KILLS = 20
_POLLER = """
import sys, time, urllib.request
count, wrong = 0, []
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print("begun", flush=True)
end = time.monotonic() + 900
while time.monotonic() < end:
    begun = time.monotonic()
    try:
        with opener.open("http://10.203.0.11:30080/", timeout=5) as answer:
            assert answer.status == 200
    except Exception as error:
        wrong.append(f"{time.time():.1f} {error!r}")
    count += 1
    with open(sys.argv[1], "w") as stream:
        stream.write(f"{count} {len(wrong)} {wrong[:5]}")
    time.sleep(max(0.0, 0.1 - (time.monotonic() - begun)))
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("desk")) as desk:
        yield desk


def install(site: Site, desk: Desk, bundle: Path, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """Run `install --site --json` and return its document."""
    site_yaml = shop.site_file(desk.root, address=site.addresses[0])
    done = site.airbundle(
        "install", bundle, "--key", desk.public_key, "--site", site_yaml, "--json", *words, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def image_of(site: Site, version: str) -> None:
    """Check that the version runs, with two pods, pinned to the private registry."""
    deployment = site.get("-n", shop.NAMESPACE, "deployment", "web")
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"]["version"] == version
    assert deployment["status"]["readyReplicas"] == 2
    image = template["spec"]["containers"][0]["image"]
    assert image.startswith("registry.shop.internal:5443/docker.io/library/busybox:1.35@sha256:")
    assert site.get("-n", shop.NAMESPACE, "configmap", "base")["data"] == {"version": version}


def revisions(site: Site) -> list[str]:
    """Return helm's revisions of the chart, oldest first."""
    names = site.kubectl("-n", shop.NAMESPACE, "get", "secret", "-l", "owner=helm", "-o", "name").split()
    return sorted(name.rpartition(".v")[2] for name in names)


@contextmanager
def polled(site: Site, file: Path) -> Iterator[None]:
    """Ask the shop every 100 ms within the block; not one answer may be wrong."""
    client = site.start("python3", "-c", _POLLER, file)
    try:
        while not file.exists():
            assert client.poll() is None
            time.sleep(0.1)
        yield
    finally:
        client.send_signal(signal.SIGTERM)
        client.wait(30)
    count, wrong, first = file.read_text().split(" ", 2)
    assert int(count) > 20
    assert int(wrong) == 0, first


def listing(site: Site) -> str:
    """Return what a cluster, its nodes and the host have: names of objects, files of the nodes."""
    kinds = site.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    steady = [
        kind for kind in kinds if not kind.startswith(("events", "leases", "endpoint", "pods", "componentstatuses"))
    ]
    objects = site.kubectl("get", ",".join(steady), "-A", "--ignore-not-found", "-o", "name")
    files = [site.node(number, "sh", "-c", _FILES).stdout for number in (1, 2)]
    corefile = site.get("-n", "kube-system", "configmap", "coredns")["data"]
    return "\n".join([*sorted(objects.splitlines()), *files, json.dumps(corefile)])


_UNSTEADY = ("events", "leases", "endpoint", "pods", "componentstatuses")
_FILES = (
    "find /etc /usr/local /var/lib/airbundle -newer /proc/1/stat -type f ! -path /etc/hosts 2>/dev/null | sort; "
    "cat /etc/hosts"
)


def test_up_by_delta_back_from_a_broken_version_back_on_demand_and_gone(bare_site: Site, desk: Desk) -> None:
    site, root = bare_site, desk.root / "life"
    root.mkdir()
    before = listing(site)
    good = shop.build(desk, root, shop.GOOD)
    better = shop.build(desk, root, shop.BETTER, "--base", good)
    broken = shop.build(desk, root, shop.BROKEN, "--base", good)

    assert install(site, desk, good)["changed"] is True
    image_of(site, shop.GOOD)
    password = site.get("-n", shop.NAMESPACE, "secret", "password")["data"]
    again = install(site, desk, good)
    assert (again["changed"], revisions(site)) == (False, ["1"])

    install(site, desk, better, "--dry-run", "-o", root / "plan.json")
    assert install(site, desk, good, "--plan", root / "plan.json", code=3)["outcome"] == "unchanged"
    with polled(site, root / "upgrade"):
        done = install(site, desk, better, "--plan", root / "plan.json")
    assert {name for name, changed in done["steps"].items() if changed} == {"release/base", "release/web"}
    image_of(site, shop.BETTER)
    assert site.get("-n", shop.NAMESPACE, "secret", "password")["data"] == password

    with polled(site, root / "broken"):
        failed = install(site, desk, broken, "--yes", code=6)
        assert failed["outcome"] == "rolled-back", failed
    image_of(site, shop.BETTER)

    site.airbundle("rollback", "--to", shop.GOOD, "--yes")
    image_of(site, shop.GOOD)

    site.airbundle("uninstall", "--yes", "--delete-data")
    assert listing(site) == before


def test_killed_at_any_moment_the_next_run_ends_in_the_same_state(bare_site: Site, desk: Desk) -> None:
    site, root = bare_site, desk.root / "kills"
    root.mkdir()
    bundle = shop.build(desk, root, shop.GOOD)
    site_yaml = shop.site_file(desk.root, address=site.addresses[0])
    words: list[str | Path] = [*AIRBUNDLE, "install", bundle, "--key", desk.public_key, "--site", site_yaml, "--json"]
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    ended = 0
    for number in range(KILLS):
        run = site.start(*words, log=root / "log")
        killer = threading.Timer(0.5 + moments.random() * (4 + number), run.kill)
        killer.start()
        ended += run.wait(300) == 0
        killer.cancel()
    done = install(site, desk, bundle)
    assert done["deployment"] == 1, f"seed {seed}"
    image_of(site, shop.GOOD)
    # Nothing twice: one set of pods, one hook, one revision that counts.
    assert install(site, desk, bundle)["changed"] is False, f"seed {seed}"
    pods = site.get("-n", shop.NAMESPACE, "pods")["items"]
    names = sorted(pod["metadata"].get("labels", {}).get("app", pod["metadata"]["name"]) for pod in pods)
    assert [name for name in names if not name.startswith("hook")] == ["lonely", "web", "web"], f"seed {seed}"
    # What killed runs made for themselves is gone.
    left = site.kubectl("get", "pods,configmaps", "-A", "-o", "name").split()
    ours = ("airbundle-errand-", "airbundle-probe-")
    assert not [name for name in left if name.partition("/")[2].startswith(ours)], f"seed {seed}"
