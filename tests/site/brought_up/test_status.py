"""`airbundle status` names what is off at a site, all of it at once (issue 6, must show 5).

Planted in a system that is well: an image edited by hand, a release that was deleted, values that somebody changed, a
certificate whose renewal is overdue and ends within the hour, and ClamAV databases of forty days ago.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.site_state import parse_site_state
from tests.site.bring_up import NAMESPACE, STATE, BroughtUp
from tests.support.clamav import make_cvd
from tests.support.sealed import AIRBUNDLE, LIMIT, Site

SHORT = f"""\
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {{name: short, namespace: {NAMESPACE}}}
spec: {{selfSigned: {{}}}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {{name: short, namespace: {NAMESPACE}}}
spec:
  secretName: short
  duration: 1h
  renewBefore: 59m55s
  dnsNames: [short.bring-up.internal]
  issuerRef: {{name: short}}
"""
GONE = "release/runner: the release is gone"
EDITED = (
    f"release/web: Deployment {NAMESPACE}/web was edited; found image: localhost/probe:1; expected image: registry."
)
SINCE = "release/redis: somebody else has deployed it since: its values may be others"
VALUES = f"{SINCE}; found revision 2; expected"
RUNS = "container httpd runs an image that is in no bundle; found localhost/probe:1 (sha256:"
CERTIFICATE = f"Certificate {NAMESPACE}/short: the certificate ends soon, and cert-manager has not renewed it; found "
DATABASE = "clamav/daily:27001: the ClamAV database daily is stale; found 40 days old; expected at most 7 days"
ALL = (GONE, EDITED, VALUES, RUNS, CERTIFICATE, DATABASE)


@dataclass
class Planted:
    """The cluster with what is off.

    Attributes:
        well: the answer of `status --json` before.
        watching: `status --watch`, begun before.
        log: what it prints.
    """

    up: BroughtUp
    well: dict[str, Any]
    watching: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    def status(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.up.site.airbundle("status", *words, check=False)

    def told(self, *lines: str) -> str:
        """Wait until the watching one has printed all of some texts, and return what it printed."""
        until = time.monotonic() + LIMIT
        while True:
            text = self.log.read_text()
            missing = [line for line in lines if line not in text]
            if not missing:
                return text
            assert time.monotonic() < until and self.watching.poll() is None, f"{missing} not in\n{text}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def planted(up: BroughtUp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    done = up.site.airbundle("status", "--json", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = tmp_path_factory.mktemp("status") / "watch.log"
    command = (*AIRBUNDLE, "status", "--watch", "1")
    watching = up.site.start(*command, log=log)
    try:
        made = Planted(up, json.loads(done.stdout), watching, log)
        made.told("all is well")
        _plant(up)
        made.told(*ALL)
        yield made
    finally:
        watching.kill()
        watching.wait(60)


def _plant(up: BroughtUp) -> None:
    site = up.site
    site.apply(SHORT)
    site.kubectl("-n", NAMESPACE, "wait", "certificate/short", "--for=condition=Ready", "--timeout=120s")
    site.kubectl("-n", NAMESPACE, "delete", "issuer", "short")  # nobody renews it now, and it wants to be in 5 s
    site.kubectl("-n", NAMESPACE, "set", "image", "deployment/web", "httpd=localhost/probe:1")
    _helm(site, "uninstall", "runner")
    _helm(site, "upgrade", "redis", up.desk.root / "bring-up" / "charts" / "redis", "--set", "by=hand")
    site.airbundle("install", _stale_databases(up), "--key", up.desk.public_key)


def _helm(site: Site, *words: str | Path) -> None:
    site.host("sh", "-c", f'exec {STATE}/bin/helm-* "$@"', "helm", "-n", NAMESPACE, *words)


def _stale_databases(up: BroughtUp) -> Path:
    inventory = up.desk.root / "signatures"
    (inventory / "databases").mkdir(parents=True)
    built = datetime.now(timezone.utc) - timedelta(days=40, hours=1)
    (inventory / "databases" / "daily.cvd").write_bytes(make_cvd("daily", 27001, built))
    (inventory / "bundle.yaml").write_text(
        "apiVersion: airbundle.dev/v1\nkind: Bundle\nmetadata: {name: signatures, version: 1.0.0}\n"
        "clamav: {source: databases, databases: [daily]}\n"
    )
    return up.desk.build(inventory, "--no-installer")


def test_before_all_was_well(planted: Planted) -> None:
    assert (planted.well["healthy"], planted.well["findings"]) == (True, [])
    (site,) = planted.well["sites"]
    assert site["deployment"]["version"] == "1.0.0"
    states = {each["name"]: each["state"] for each in site["releases"]}
    assert states == dict.fromkeys(("base", "cert-manager", "edge", "redis", "runner", "web"), "up")
    assert site["images"]["containers"] >= 7 and site["images"]["wrong"] == 0
    assert {f"Certificate {NAMESPACE}/edge", "Secret cert-manager/airbundle-ca"} <= {
        each["what"] for each in site["certificates"]
    }


def test_all_is_named_in_one_status(planted: Planted) -> None:
    done = planted.status()
    assert done.returncode == 3
    assert not [line for line in ALL if line not in done.stderr], done.stderr
    lines = done.stdout.splitlines()
    for begin in (
        "bundle     bring-up 1.0.0: 7 images, 5 charts, installed ",
        "clamav     daily 27001: 40 days old",
        "site       bring-up: bring-up 1.0.0, deployment 1 in cluster ",
        "release    runner: gone",
        "release    web: changed",
        "release    redis: changed",
        "release    edge: up",
        f"lasts      Certificate {NAMESPACE}/short: 5",
        f"lasts      Certificate {NAMESPACE}/edge: 89 days",
        "last       release/",
    ):
        assert any(line.startswith(begin) for line in lines), f"{begin} not in\n{done.stdout}"
    assert any(line.endswith(" containers, 1 of them wrong") for line in lines)


def test_for_a_machine_and_without_changing_anything(planted: Planted) -> None:
    before = planted.up.site.host("sha256sum", f"{STATE}/state.json").stdout
    done = planted.status("--json", "--site", "bring-up")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    (site,) = document["sites"]
    found = {(each.get("where"), each.get("code")) for each in document["findings"] if each["severity"] == "error"}
    assert {
        ("release/runner", "release"),
        ("release/web", "object"),
        ("release/redis", "values"),
        (f"Certificate {NAMESPACE}/short", "certificate"),
        ("clamav/daily:27001", "clamav"),
    } <= found
    assert (document["healthy"], document["clamavDays"], site["images"]["wrong"]) == (False, 40, 1)
    assert document["clamav"] == [{"name": "daily", "version": 27001, "days": 40}]
    short = next(each for each in site["certificates"] if each["what"] == f"Certificate {NAMESPACE}/short")
    assert short["days"] == 0 and short["renewal"] < f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}" < short["ends"]
    assert document["errors"][0]["findings"] == document["findings"]
    assert parse_site_state(done.stdout.encode(), where="status").newest("bring-up") is not None
    assert planted.up.site.host("sha256sum", f"{STATE}/state.json").stdout == before


def test_installing_again_puts_back_what_is_airbundles_and_watching_tells_of_it(planted: Planted) -> None:
    planted.up.site.airbundle(*planted.up.words)
    document = json.loads(planted.status("--json").stdout)
    assert {each["code"] for each in document["findings"]} == {"certificate", "clamav"}
    image = planted.up.site.get("-n", NAMESPACE, "deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    assert "@sha256:" in image["image"]
    text = planted.told(*(f"over: error: {each}" for each in (GONE, EDITED, SINCE)))
    assert text.index("all is well") < text.index(GONE) < text.index(f"over: error: {GONE}")
    planted.watching.send_signal(signal.SIGINT)
    assert planted.watching.wait(60) == 130
    assert planted.log.read_text().endswith("airbundle: stopped watching\n")
