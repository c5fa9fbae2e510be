"""deploy.helm_record: helm's own record of a revision, read, and changed so that helm keeps objects."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.helm_record import HelmRecord, is_kept, parse_record
from airbundle.errors import RemoteError

CLAIM = """apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  annotations: {a: b}
spec:
  x: |
    --
"""
MANIFEST = f"---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n---\n{CLAIM}"
HOOK = {"name": "job", "manifest": "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: job\n"}


def secret(body: object, *, packed: bool = True) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    written = base64.b64encode(gzip.compress(raw) if packed else raw)
    return {"data": {"release": base64.b64encode(written).decode()}}


def record(manifest: str = MANIFEST) -> HelmRecord:
    return HelmRecord({"name": "web", "version": 3, "manifest": manifest, "hooks": [HOOK], "other": {"kept": True}})


@pytest.mark.parametrize("packed", [True, False])  # helm once wrote it unpacked, and still reads that
def test_it_is_read_as_helm_writes_it(packed: bool) -> None:
    found = parse_record(secret(record().body, packed=packed), what="x")
    assert [body["kind"] for body in found.objects()] == ["ConfigMap", "PersistentVolumeClaim"]
    assert [body["kind"] for body in found.hooks()] == ["Job"]


def test_what_is_to_be_kept_is_annotated_and_all_else_stays() -> None:
    changed = record().keeping(lambda body: body["kind"] == "PersistentVolumeClaim")
    back = parse_record({"data": {"release": changed.to_data()}}, what="x")
    assert back.manifest.startswith("---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\n")
    first, second = back.objects()
    assert not is_kept(first) and is_kept(second)
    assert second["metadata"]["annotations"] == {"a": "b", "helm.sh/resource-policy": "keep"}
    assert second["spec"] == yaml.safe_load(CLAIM)["spec"]
    assert {**back.body, "manifest": ""} == {**record().body, "manifest": ""}
    assert back.keeping(lambda body: body["kind"] == "PersistentVolumeClaim") == back


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"data": None},
        {"data": {"release": 5}},
        {"data": {"release": "!"}},
        {"data": {"release": base64.b64encode(b"!").decode()}},
        secret([]),
        secret({"manifest": 5}),
    ],
)
def test_what_is_no_record_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(RemoteError, match="Secret x: not a record of helm"):
        parse_record(found, what="Secret x")


def test_a_record_that_unpacks_to_too_much_is_refused() -> None:
    bomb = base64.b64encode(gzip.compress(b"\0" * (65 << 20)))
    with pytest.raises(RemoteError, match="unpacks to more"):
        parse_record({"data": {"release": base64.b64encode(bomb).decode()}}, what="x")


@given(st.text(max_size=300))
def test_any_manifest_can_be_looked_through(text: str) -> None:
    HelmRecord({"manifest": text}).keeping(lambda _body: True).objects()
