"""What doesn't come from a registry's images: charts, files, databases, CAs, layouts and archives; lock, then build."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airbundle.bundle.lock import Lock, LockedRoot, parse_lock
from airbundle.store.reader import open_bundle
from tests.builder.conftest import UPSTREAM, Workshop
from tests.support import images
from tests.support.charts import Chart, chart_repository, push_charts
from tests.support.clamav import make_cvd
from tests.support.web import serve


def _lock(workshop: Workshop) -> Lock:
    return parse_lock((workshop.root / "inventory/airbundle.lock.json").read_bytes())


def _build(workshop: Workshop) -> dict[str, LockedRoot]:
    """Build, check that all locked content is in the bundle, and return the lock's roots by kind and ref."""
    answer = workshop.build(workshop.root, "--allow-missing", "*")
    assert answer.code == 0, answer.text
    with open_bundle([Path(answer.body["path"])]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()
        refs = {
            root.annotations["dev.airbundle.ref"] for root in bundle.index if "dev.airbundle.ref" in root.annotations
        }
    lock = _lock(workshop)
    assert {root.ref for root in lock.roots if root.kind != "image"} <= refs
    return {root.ref: root for root in lock.roots}


def test_charts_from_http_oci_and_a_directory(workshop: Workshop, charts: list[Chart]) -> None:
    push_charts(charts, workshop.registry, "team", home=workshop.root / "helm")
    directory = workshop.inventory()
    local = directory / "mine"
    (local / "templates").mkdir(parents=True)
    (local / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 0.1.0+build\n")
    (local / "templates" / "x.yaml").write_text("kind: ConfigMap\n")
    with chart_repository(charts[0].archive.parent, workshop.root / "repository") as repository:
        workshop.inventory(
            charts=[
                {"name": "redis", "repo": repository.url, "version": "~18.0"},
                {"name": "redis", "repo": f"oci://{UPSTREAM}/team", "version": "17.9.9"},
                {"name": "mine", "path": "mine"},
            ]
        )
        assert workshop.lock("--check").code == 2
        roots = _build(workshop)
        assert workshop.lock("--check").code == 0
    host = repository.url.partition("://")[2]
    assert set(roots) == {f"{host}/redis:18.0.0", f"{UPSTREAM}/team/redis:17.9.9", "local/mine:0.1.0+build"}
    assert roots[f"{UPSTREAM}/team/redis:17.9.9"].info["version"] == "17.9.9"


def test_a_chart_range_that_moved_is_told(workshop: Workshop, charts: list[Chart]) -> None:
    packages = workshop.root / "packages"
    packages.mkdir()
    for chart in charts:
        if chart.name == "redis" and chart.version != "18.0.0":
            shutil.copy(chart.archive, packages)
    newer = next(chart.archive for chart in charts if (chart.name, chart.version) == ("redis", "18.0.0"))
    with chart_repository(packages, workshop.root / "before") as before:
        workshop.inventory(charts=[{"name": "redis", "repo": before.url, "version": ">=17.0 <18.1"}])
        assert workshop.lock().code == 0
        shutil.copy(newer, before.directory)
        subprocess.run(["helm", "repo", "index", before.directory], check=True, env=_path())
        answer = workshop.lock("--check")
    assert answer.code == 3
    finding = answer.body["errors"][0]["findings"][0]
    assert (finding["expected"], finding["found"]) == ("17.9.9", "18.0.0")


def _path() -> dict[str, str]:
    import os
    import sys

    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_unknown_charts_and_versions_are_all_told(workshop: Workshop, charts: list[Chart]) -> None:
    with chart_repository(charts[0].archive.parent, workshop.root / "repository") as repository:
        workshop.inventory(
            charts=[
                {"name": "redis", "repo": repository.url, "version": "99.0.0"},
                {"name": "nothing", "repo": repository.url, "version": "1.0.0"},
            ]
        )
        answer = workshop.lock()
    assert answer.code == 4
    assert "redis" in answer.errors
    assert "nothing" in answer.errors
    assert "charts[1]" in answer.errors


def test_a_local_chart_with_another_name_is_refused(workshop: Workshop) -> None:
    directory = workshop.inventory(charts=[{"name": "other", "path": "mine"}])
    (directory / "mine").mkdir()
    (directory / "mine" / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 0.1.0\n")
    answer = workshop.lock()
    assert answer.code == 2
    assert "found the chart mine 0.1.0" in answer.errors


def test_files_from_a_url_and_from_beside_the_inventory(workshop: Workshop) -> None:
    tool = images.noise("tool", 500_000)
    pinned = hashlib.sha256(tool).hexdigest()
    with serve() as web:
        web.files["/dl/tool.tar.gz"] = tool
        directory = workshop.inventory(
            files=[{"url": f"{web.url}/dl/tool.tar.gz", "sha256": pinned}, {"path": "notes.txt"}]
        )
        (directory / "notes.txt").write_text("hello")
        roots = _build(workshop)
        assert web.paths().count("/dl/tool.tar.gz") <= 2
    assert {root.info["name"] for root in roots.values()} == {"tool.tar.gz", "notes.txt"}


def test_a_file_with_another_digest_is_refused(workshop: Workshop) -> None:
    with serve() as web:
        web.files["/tool"] = b"other bytes"
        workshop.inventory(files=[{"url": f"{web.url}/tool", "sha256": "0" * 64}])
        answer = workshop.lock()
    assert answer.code == 5
    assert "0" * 64 in answer.errors


def test_a_local_file_that_changed_after_the_lock_is_told(workshop: Workshop) -> None:
    directory = workshop.inventory(files=[{"path": "notes.txt"}])
    (directory / "notes.txt").write_text("one")
    workshop.lock()
    (directory / "notes.txt").write_text("two")
    answer = workshop.build(workshop.root)
    assert answer.code == 2
    assert "the local file notes.txt has changed" in answer.errors


def test_clamav_databases_from_a_directory(workshop: Workshop) -> None:
    now = datetime.now(timezone.utc)
    databases = workshop.root / "inventory" / "db"
    workshop.inventory(clamav={"source": "db", "databases": ["main", "daily"]})
    databases.mkdir()
    (databases / "main.cvd").write_bytes(make_cvd("main", 62, now - timedelta(days=300)))
    (databases / "daily.cvd").write_bytes(make_cvd("daily", 27001, now - timedelta(days=20)))
    roots = _build(workshop)
    assert {"clamav/main:62", "clamav/daily:27001"} <= set(roots)
    answer = workshop.lock("--update", "clamav")
    assert "warning" in answer.text
    assert "daily" in answer.text


def _make_ca(directory: Path, *, encrypted: bool) -> None:
    """Make a CA with openssl: `ca.crt` and `ca.key`."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "30"]
    command += ["-subj", "/CN=Test CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    command += ["-keyout", str(directory / "ca.key"), "-out", str(directory / "ca.crt")]
    command += ["-passout", "pass:secret"] if encrypted else ["-noenc"]
    subprocess.run(command, check=True, capture_output=True)


def test_a_bundled_ca_is_carried_byte_for_byte_with_its_key_encrypted(workshop: Workshop) -> None:
    directory = workshop.inventory(ca={"mode": "bundled", "cert": "ca.crt", "key": "ca.key"})
    _make_ca(directory, encrypted=True)
    (root,) = _build(workshop).values()
    key = hashlib.sha256((directory / "ca.key").read_bytes()).hexdigest()
    assert key in {blob.digest[7:] for blob in root.blobs}


def test_a_bundled_ca_with_a_plain_key_is_refused(workshop: Workshop) -> None:
    directory = workshop.inventory(ca={"mode": "bundled", "cert": "ca.crt", "key": "ca.key"})
    _make_ca(directory, encrypted=False)
    answer = workshop.lock()
    assert answer.code in {2, 5}
    assert "encrypted" in answer.errors
    assert "PRIVATE KEY-----" not in json.dumps(answer.body)


def test_a_bundled_ca_that_is_too_large_is_refused_and_not_cut(workshop: Workshop) -> None:
    directory = workshop.inventory(ca={"mode": "bundled", "cert": "ca.crt", "key": "ca.key"})
    _make_ca(directory, encrypted=True)
    with (directory / "ca.crt").open("ab") as file:
        file.write(b"#" * 1024 * 1024)
    answer = workshop.lock()
    assert answer.code == 2
    assert "ca.crt: more than the 1048576 bytes allowed" in answer.errors


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_images_of_layouts_and_archives(workshop: Workshop, transport: str) -> None:
    image = images.tiny_image("local")
    workshop.put(image, "app", "1.0")
    target = {"oci": "image", "oci-archive": "image.tar", "docker-archive": "image.tar"}[transport]
    directory = workshop.inventory(images=[{"ref": f"{transport}:{target}:app:1.0", "as": "internal/app:1.0"}])
    source = f"docker://{workshop.registry.host}/app:1.0"
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"{transport}:{directory / target}:app:1.0"]
    subprocess.run(copy, check=True)
    roots = _build(workshop)
    assert set(roots) == {"docker.io/internal/app:1.0"}
    if transport != "docker-archive":
        assert roots["docker.io/internal/app:1.0"].descriptor.digest == image.digest


def test_content_that_is_gone_from_the_cache_is_made_again_or_named(workshop: Workshop) -> None:
    directory = workshop.inventory(files=[{"path": "notes.txt"}])
    (directory / "notes.txt").write_text("one")
    assert workshop.lock().code == 0
    shutil.rmtree(workshop.root / "cache")
    assert workshop.build(workshop.root).code == 0

    image = images.tiny_image("local")
    workshop.put(image, "app", "1.0")
    workshop.inventory(images=[{"ref": "oci:layout:app:1.0", "as": "internal/app:1.0"}])
    source = f"docker://{workshop.registry.host}/app:1.0"
    layout = directory / "layout"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{layout}:app:1.0"], check=True)
    assert workshop.lock().code == 0
    shutil.rmtree(workshop.root / "cache")
    shutil.rmtree(layout)
    answer = workshop.build(workshop.root)
    assert answer.code == 4
    assert "internal/app:1.0" in answer.errors


def test_a_file_that_is_pinned_anew_or_renamed_is_locked_anew(workshop: Workshop) -> None:
    with serve() as web:
        web.files["/tool"] = b"one"
        file = {"url": f"{web.url}/tool", "sha256": hashlib.sha256(b"one").hexdigest()}
        workshop.inventory(files=[file])
        assert workshop.lock().code == 0
        web.files["/tool"] = b"two"
        file["sha256"] = hashlib.sha256(b"two").hexdigest()
        workshop.inventory(files=[file])
        assert workshop.lock().code == 0
        assert file["sha256"] in {blob.digest[7:] for blob in _lock(workshop).roots[0].blobs}
        workshop.inventory(files=[{**file, "name": "better"}])
        assert workshop.lock().code == 0
    assert _lock(workshop).roots[0].info["name"] == "better"


def test_one_url_under_two_names_is_two_files(workshop: Workshop) -> None:
    with serve() as web:
        web.files["/tool"] = b"one"
        file = {"url": f"{web.url}/tool", "sha256": hashlib.sha256(b"one").hexdigest()}
        workshop.inventory(files=[{**file, "name": "a"}, {**file, "name": "b"}])
        assert {root.info["name"] for root in _build(workshop).values()} == {"a", "b"}


def _databases(directory: Path, *names: str, version: int = 62) -> Path:
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / f"{name}.cvd").write_bytes(make_cvd(name, version, datetime.now(timezone.utc)))
    return directory


def _versions(workshop: Workshop) -> dict[str, str]:
    return {root.requested: root.info["version"] for root in _lock(workshop).roots if root.kind == "clamav"}


def test_clamav_databases_stay_until_they_are_asked_for_differently(workshop: Workshop) -> None:
    directory = workshop.inventory(clamav={"source": "db", "databases": ["main", "daily"]})
    databases = _databases(directory / "db", "main", "daily")
    assert workshop.lock().code == 0
    _databases(databases, "main", "daily", version=63)
    assert workshop.lock().body["changed"] is False
    workshop.inventory(clamav={"source": "db", "databases": ["main"]})
    assert workshop.lock().code == 0
    assert _versions(workshop) == {"main": "63"}
    _databases(directory / "other", "main", version=64)
    workshop.inventory(clamav={"source": "other", "databases": ["main"]})
    assert "come from elsewhere" in workshop.build(workshop.root).errors
    assert workshop.lock().code == 0
    assert _versions(workshop) == {"main": "64"}


def test_custom_signatures_that_changed_are_locked_anew(workshop: Workshop) -> None:
    clamav = {"source": "db", "databases": ["main"], "custom": ["a.ndb", "b.ndb"]}
    directory = workshop.inventory(clamav=clamav)
    databases = _databases(directory / "db", "main")
    for name in ("a", "b"):
        (directory / f"{name}.ndb").write_text(f"Own.{name}:0:*:61626364\n")
    (directory / "notes.txt").write_text("one")
    assert workshop.lock().code == 0
    first = _versions(workshop)
    _databases(databases, "main", version=63)
    workshop.inventory(clamav=clamav, files=[{"path": "notes.txt"}])
    assert workshop.lock().code == 0
    assert _versions(workshop)["main"] == "62"  # another entry is no reason to move
    (directory / "a.ndb").write_text("Own.other:0:*:61626364\n")
    answer = workshop.build(workshop.root)
    assert answer.code == 2
    assert "a.ndb has changed" in answer.errors
    assert workshop.lock().code == 0
    assert _versions(workshop)["custom"] != first["custom"]
    workshop.inventory(clamav={**clamav, "custom": ["a.ndb"]}, files=[{"path": "notes.txt"}])
    assert workshop.lock().code == 0
    (custom,) = (root for root in _lock(workshop).roots if root.requested == "custom")
    assert custom.info["files"] == "1"
    workshop.inventory(clamav={"source": "db", "databases": ["main"]}, files=[{"path": "notes.txt"}])
    assert workshop.lock().code == 0
    assert "custom" not in _versions(workshop)
