"""Secrets of a site file in a real cluster."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from airbundle.bundle.site import Site as SiteFile
from airbundle.bundle.site import SiteSecret
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import Refused
from airbundle.installer.site.kept_data import KeptData
from airbundle.installer.site.secrets_step import SecretsStep, secrets_step
from airbundle.installer.site.step import SiteRun
from airbundle.progress import SILENT
from tests.site.running import site_run
from tests.support.sealed import Site

VALUE = "hush-hush"
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: {space}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
"""


@pytest.fixture(name="run")
def two_secrets(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SiteRun]:
    space = f"s{uuid4().hex[:8]}"
    monkeypatch.setenv("AIRBUNDLE_TEST_VALUE", VALUE)
    (tmp_path / "key.bin").write_bytes(b"\x00\xff")
    secrets = (
        SiteSecret("one", space, {"password": "random", "user": "env:AIRBUNDLE_TEST_VALUE"}),
        SiteSecret("two", space, {"key.bin": "file:key.bin", "typed": "prompt"}),
    )
    with site_run(site, tmp_path, SiteFile(space, secrets=secrets)) as run:
        yield run


def do(step: SecretsStep) -> bool:
    return step.run(SILENT.phase("test"))


def data(site: Site, run: SiteRun, name: str) -> dict[str, bytes]:
    found = site.get("secret", name, "-n", run.site_state.name)["data"]
    return {key: base64.b64decode(value) for key, value in found.items()}


def test_made_once_and_then_left_alone(site: Site, run: SiteRun) -> None:
    space = run.site_state.name
    assert [str(each) for each in secrets_step(run).findings()] == [
        " typed: nobody can be asked for this value (run at a terminal, or write env:NAME or file:PATH)"
    ]
    owned = {"labels": {"app.kubernetes.io/managed-by": "Helm"}}
    step = secrets_step(run, lambda _: VALUE, {space: owned})
    assert step.findings() == []
    assert [(change.action, change.what) for change in step.plan()] == [
        ("create", f"Secret {space}/one"),
        ("create", f"Secret {space}/two"),
    ]
    step.gather()
    assert do(step)
    assert site.get("namespace", space)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    one = data(site, run, "one")
    assert (len(one["password"]), one["user"]) == (32, VALUE.encode())
    assert data(site, run, "two") == {"key.bin": b"\x00\xff", "typed": VALUE.encode()}
    again = secrets_step(run)
    assert (again.findings(), again.plan(), do(again)) == ([], [], False)
    assert data(site, run, "one") == one
    assert [each["object"] for each in reversed(run.journal.undo())] == [
        f"v1/Namespace//{space}",
        f"v1/Secret/{space}/one",
        f"v1/Secret/{space}/two",
    ]
    told = run.journal.path.read_text() + repr(step.plan())
    for value in (VALUE.encode(), one["password"]):
        assert value.decode() not in told
        assert base64.b64encode(value).decode() not in told


def test_keys_that_are_missing_are_added(site: Site, run: SiteRun) -> None:
    space = run.site_state.name
    site.kubectl("create", "namespace", space)
    site.kubectl("create", "secret", "generic", "one", "-n", space, "--from-literal=user=theirs", "--from-literal=x=y")
    step = secrets_step(run, lambda _: VALUE)
    assert step.plan()[0].diff == "+  password: <random>\n"
    assert do(step)
    one = data(site, run, "one")
    assert (one["user"], one["x"], len(one["password"])) == (b"theirs", b"y", 32)
    assert f"v1/Secret/{space}/one" not in str(run.journal.undo())


def test_two_at_once_make_one_value(site: Site, run: SiteRun) -> None:
    site.kubectl("create", "namespace", run.site_state.name)
    steps = [secrets_step(run, lambda _: VALUE) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert any(list(pool.map(do, steps)))
    assert len(data(site, run, "one")["password"]) == 32
    assert not do(steps[0])


def test_a_refusal_tells_no_value(site: Site, run: SiteRun) -> None:
    space = run.site_state.name
    site.kubectl("create", "namespace", space)
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one", "namespace": space}, "immutable": True}
    run.cluster.create(body)
    with pytest.raises(Refused, match="immutable") as refused:
        do(secrets_step(run, lambda _: VALUE))
    assert VALUE not in str(refused.value.to_json())
    assert VALUE not in run.journal.path.read_text()


def test_they_stay_as_long_as_volumes_do(site: Site, run: SiteRun) -> None:
    space = run.site_state.name
    assert do(secrets_step(run, lambda _: VALUE))
    key = ObjectKey("v1", "Secret", space, "one")
    live = run.cluster.get(key)
    assert live is not None
    kept = KeptData(run.cluster)
    assert kept.why(key, live) == ""
    site.apply(CLAIM.format(space=space))
    assert kept.why(key, live) == f"what lies in {space}/data may need it"
    assert kept.why(key, {**live, "metadata": {}}) == ""
