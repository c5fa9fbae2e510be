"""Checks that go through a real cluster's API: Services, and commands in pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest

from airbundle.bundle.release import Release
from airbundle.bundle.release_checks import Check, PodCheck
from airbundle.bundle.site import Site as SiteFile
from airbundle.errors import SiteError
from airbundle.installer.site.check_run import Desk, check_findings, run_checks
from airbundle.installer.site.step import SiteRun
from airbundle.installer.verify import Trusted
from tests.site.importing import import_images
from tests.site.running import site_run
from tests.support.real_images import POSTGRES, REDIS
from tests.support.sealed import Site

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: localhost/probe:1
          args: [serve]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
DATABASES = f"""
apiVersion: v1
kind: Pod
metadata: {{name: db, labels: {{app: db, role: primary}}}}
spec:
  containers:
    - name: postgres
      image: {POSTGRES}
      command: [sh, -c, "initdb -D /tmp/db -U postgres --auth=trust && exec postgres -D /tmp/db -k /tmp"]
      env:
        - {{name: PATH, value: "/usr/lib/postgresql/15/bin:/usr/bin:/bin"}}
        - {{name: PGHOST, value: /tmp}}
      securityContext: {{runAsUser: 65534}}
      readinessProbe: {{exec: {{command: [pg_isready]}}, periodSeconds: 1, timeoutSeconds: 5}}
  nodeSelector: {{kubernetes.io/hostname: NODE}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: cache}}
spec:
  serviceName: cache
  selector: {{matchLabels: {{app: cache}}}}
  template:
    metadata: {{labels: {{app: cache}}}}
    spec:
      containers: [{{name: redis, image: "{REDIS}", command: [redis-server, --save, "", --dir, /tmp]}}]
      nodeSelector: {{kubernetes.io/hostname: NODE}}
"""
LOOKUP = ("/probe", "lookup", "kubernetes.default.svc.cluster.local")


@pytest.fixture(scope="module", name="space")
def namespace_with_a_web_server(site: Site) -> str:
    space = f"c{uuid4().hex[:8]}"
    site.kubectl("create", "namespace", space)
    site.kubectl("apply", "-n", space, "-f", "-", stdin=WEB)
    return space


@pytest.fixture(name="run")
def shared(site: Site, tmp_path: Path) -> Iterator[SiteRun]:
    nameless = SimpleNamespace(bundle=SimpleNamespace(lock=SimpleNamespace(site=())))  # all that checks ask of a bundle
    with site_run(site, tmp_path, SiteFile("s", domain="shop.test")) as run:
        yield replace(run, trusted=cast(Trusted, nameless))


def test_checks_come_true_while_the_release_comes_up(run: SiteRun, space: str) -> None:
    checks = (
        Check(http=f"http://web.{space}.svc/"),
        Check(exec=PodCheck("Deployment/web", "web", LOOKUP)),
        Check(exec=PodCheck("app=web", command=LOOKUP)),
    )
    run_checks(run, Release("app", checks=checks, timeout="3m"), space)


def test_what_does_not_hold_is_told(run: SiteRun, space: str, site: Site) -> None:
    site.kubectl("wait", "-n", space, "--for=condition=Available", "deployment/web", "--timeout=180s")
    checks = (
        Check(http=f"http://web.{space}.svc/", status=418),
        Check(http=f"http://nothing.{space}.svc:81/"),
        Check(exec=PodCheck("Deployment/web", command=("/probe", "lookup", "nowhere.invalid"))),
        Check(exec=PodCheck("Deployment/none", command=LOOKUP)),
        Check(exec=PodCheck("app=web", "sidecar", LOOKUP)),
        Check(sql=PodCheck("app=web")),
        Check(redis=PodCheck("Pod/none")),
    )
    found = check_findings(Desk.of(run, run.trusted.bundle), Release("app", checks=checks), space, wait=False)
    assert [each.code for each in found] == ["check-http"] * 2 + ["check-exec"] * 3 + ["check-sql", "check-redis"]
    told = [f"{each.found} / {each.expected}" for each in found]
    assert "/ 418" in told[0]
    assert "404" in told[1] or "503" in told[1]
    assert "exit code" in told[2] and "nowhere.invalid" in told[2]
    assert "no pod that is ready" in told[3]
    assert "sidecar" in told[4]
    assert "psql" in told[5]
    assert f"one of Pod/none in {space}" in told[6]
    with pytest.raises(SiteError, match="1 of 1 checks do not hold") as failed:
        run_checks(run, Release("app", checks=checks[:1], timeout="1s"), space)
    assert failed.value.findings[0].expected == "418"


def test_real_databases(run: SiteRun, space: str, site: Site, tmp_path: Path) -> None:
    if not site.sealed:
        pytest.skip("nothing is put into nodes that are not ours")
    import_images(site, 1, (POSTGRES, REDIS), tmp_path / "images.tar")
    site.kubectl("apply", "-n", space, "-f", "-", stdin=DATABASES.replace("NODE", site.nodes[0]))
    db = "app=db,role=primary"
    checks = (
        Check(sql=PodCheck(db, user="postgres")),
        Check(sql=PodCheck("Pod/db", "postgres", (), "postgres", "postgres", "select count(*) from pg_database")),
        Check(redis=PodCheck("StatefulSet/cache")),
    )
    run_checks(run, Release("db", checks=checks, timeout="5m"), space)
    wrong = (
        Check(sql=PodCheck(db, user="postgres", query="select * from nothing")),
        Check(sql=PodCheck(db, user="nobody-here")),
        Check(sql=PodCheck(db, user="postgres", database="none")),
    )
    found = check_findings(Desk.of(run, run.trusted.bundle), Release("db", checks=wrong), space, wait=False)
    told = [each.found for each in found]
    assert [words in text for words, text in zip(('"nothing" does not exist', "nobody-here", '"none"'), told)] == [
        True
    ] * 3
    site.kubectl("exec", "-n", space, "cache-0", "--", "redis-cli", "config", "set", "requirepass", "hush-hush")
    (locked,) = check_findings(Desk.of(run, run.trusted.bundle), Release("db", checks=checks[2:]), space, wait=False)
    assert locked.expected == "PONG"
    assert "NOAUTH" in locked.found
