"""Deltas at the site: installed, loaded and served where what they leave out is there; else refused with the list."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.site_state import parse_site_state
from airbundle.bundle.statement import Base
from airbundle.errors import DigestMismatch, SiteError
from airbundle.installer.load import load
from airbundle.installer.steps import plan_of
from airbundle.installer.target import parse_target
from airbundle.progress import SILENT
from airbundle.store.plan import BaseBundle
from airbundle.store.reader import open_bundle
from airbundle.store.supplement import Supplement
from airbundle.store.union import BlobUnion, Holder
from airbundle.store.volumes import cut
from tests.cli.test_install import Site, error_text, skopeo_digest
from tests.installer.bundles import Key, content
from tests.installer.deltas import (
    APP,
    CHART,
    DATABASE,
    FILE,
    LAYER,
    STAYS,
    Chain,
    flip,
    has,
    make_chain,
    of_version,
    write_delta,
    write_signed,
)
from tests.support.images import tiny_image
from tests.support.process import free_port
from tests.support.registries import Registry

GONE = LAYER.descriptor.digest
REDIS = "docker.io/library/redis"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"), key)


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document
    assert not made.state.exists()


@pytest.fixture
def untouched(tmp_path: Path, key: Key) -> Iterator[Site]:
    """A site that must not come into being."""
    made = Site(tmp_path, key)
    yield made
    assert not made.state.exists()


def everything_is_served(site: Site, number: int) -> None:
    """Pull every blob of a version, and its chart and file, from airbundle's own server."""
    made = of_version(number)
    for digest, data in made.bytes.items():
        if digest in {blob.descriptor.digest for blob in DATABASE.blobs}:
            continue
        for name in ("docker.io/library/redis", "docker.io/library/stays", "charts.example.org/app"):
            try:
                assert site.get(f"/v2/{name}/blobs/{digest}") == data
                break
            except OSError as error:
                assert "404" in str(error)
        else:
            pytest.fail(f"{digest} is nowhere")


def chart_is_served(site: Site) -> None:
    assert site.get("/charts/charts.example.org/app-1.0.0.tgz") == APP.blobs[1].data


def snapshot(directory: Path) -> dict[str, str]:
    """Return what a directory holds, byte for byte."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def listed(code: int, document: dict[str, Any], *digests: str) -> None:
    """Check that a refusal lists what lacks, who needs it and which bundle brings it."""
    assert code == 3, document
    text = error_text(document)
    assert all(digest in text for digest in digests), text
    assert "test 1.0.0 (serial" in text and "docker.io/library/redis:7" in text
    assert "--base" in document["errors"][0]["hint"]
    missing = {each["digest"]: each for each in document["missing"]}
    assert set(digests) <= set(missing)
    assert missing[GONE]["size"] == LAYER.descriptor.size
    assert missing[GONE]["neededBy"] == ["docker.io/library/redis:7"]
    assert document["base"]["version"] == "1.0.0"


# Embedded


def test_onto_a_site_without_the_base_nothing_changes(chain: Chain, untouched: Site) -> None:
    code, document = untouched.install(chain.delta)
    listed(code, document, GONE)
    assert document["outcome"] == "unchanged"
    code, document = untouched.run("preflight", chain.delta, "--key", untouched.key.public)
    assert code == 3 and GONE in error_text(document)


def test_onto_the_site_that_has_the_base(chain: Chain, site: Site) -> None:
    assert site.install(chain.base)[0] == 0
    code, report = site.install(chain.delta)
    assert (code, report.get("changed")) == (0, True), report
    everything_is_served(site, 1)
    everything_is_served(site, 0)
    chart_is_served(site)
    # The copy of the base has it: no byte is kept twice.
    assert not list((site.state / "bundles").glob("*.supplement"))
    code, report = site.install(chain.delta)
    assert (code, report.get("changed")) == (0, False), report
    code, status = site.run("status")
    assert code == 0, status


def test_a_chain_of_three(chain: Chain, site: Site) -> None:
    for path in (chain.base, chain.delta, chain.second):
        code, report = site.install(path)
        assert code == 0, report
    everything_is_served(site, 2)
    code, status = site.run("status")
    assert code == 0, status
    assert [each["version"] for each in status["bundles"]] == ["1.2.0", "1.1.0", "1.0.0"]
    expected = {(digest, len(data)) for number in range(3) for digest, data in of_version(number).bytes.items()}
    found = {(digest, size) for digest, size in status["blobs"]}
    assert expected <= found
    assert status["blobs"] == sorted(status["blobs"])
    # It can be carried back: a delta on it installs.
    assert parse_site_state(json.dumps(status).encode(), where="SITE-STATE.json").blobs == dict(status["blobs"])
    made = of_version(3)
    base = BaseBundle(Base("test", "1.2.0", 1, "sha256:" + "0" * 64), {digest for digest, _ in found})
    code, report = site.install(write_signed(site.root / "d.airbundle", made, site.key, base=base))
    assert code == 0, report
    everything_is_served(site, 3)


def test_a_chain_from_files_alone(chain: Chain, site: Site) -> None:
    code, document = site.install(chain.second)
    assert code == 3 and "test 1.1.0 (serial" in error_text(document)
    # What is at hand leaves it out, too: its own base brings it.
    code, document = site.install(chain.second, "--base", chain.delta)
    assert code == 3 and GONE in error_text(document)
    assert all("test 1.0.0 (serial" in finding["hint"] for finding in document["errors"][0]["findings"])
    code, report = site.install(chain.second, "--base", chain.delta, "--base", chain.base)
    assert code == 0, report
    everything_is_served(site, 2)


def test_a_base_that_the_site_does_not_keep(chain: Chain, site: Site, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    shutil.copy(chain.base, stick)
    code, report = site.install(chain.delta, "--base", stick)
    assert code == 0, report
    shutil.rmtree(stick)
    everything_is_served(site, 1)
    chart_is_served(site)
    (kept,) = (site.state / "bundles").glob("*.supplement")
    with Supplement.open(kept) as supplement, open_bundle([chain.delta]) as delta:
        assert supplement.toc.blobs == delta.toc.external
    # Without the base again: its blobs are here.
    code, report = site.install(chain.delta)
    assert (code, report.get("changed")) == (0, False), report
    code, status = site.run("status")
    assert code == 0, status
    # After a reboot of a host without systemd the same install starts the server.
    os.kill(site.server_pid(), signal.SIGKILL)
    os.waitpid(site.server_pid(), 0)
    code, report = site.install(chain.delta)
    assert (code, report.get("changed")) == (0, True), report
    everything_is_served(site, 1)


def test_a_supplement_goes_when_another_bundle_brings_its_blobs(chain: Chain, site: Site, tmp_path: Path) -> None:
    assert site.install(chain.delta, "--base", chain.base)[0] == 0
    images = {"docker.io/a/redis:1": tiny_image("redis0", shared=[LAYER], sizes=(70_000,)), "docker.io/a/b:1": STAYS}
    other = content(images, charts={CHART: APP}, others={FILE: DATABASE}, name="other")
    code, report = site.install(write_signed(tmp_path / "o.airbundle", other, site.key))
    assert code == 0, report
    code, report = site.install(chain.delta)
    assert (code, report.get("changed")) == (0, True), report
    assert not list((site.state / "bundles").glob("*.supplement"))
    everything_is_served(site, 1)
    code, report = site.install(chain.delta)
    assert (code, report.get("changed")) == (0, False), report


def test_a_damaged_supplement_is_told_and_made_anew(chain: Chain, site: Site) -> None:
    assert site.install(chain.delta, "--base", chain.base)[0] == 0
    (kept,) = (site.state / "bundles").glob("*.supplement")
    with Supplement.open(kept) as supplement:
        where = supplement.table[GONE].offset + 10
    before = kept.read_bytes()
    with kept.open("r+b") as stream:
        stream.seek(where)
        stream.write(b"\0\0\0\0")
    code, status = site.run("status")
    assert code == 3 and "touched" in error_text(status)
    # No byte of it is served.
    with pytest.raises(OSError, match="500"):
        site.get(f"/v2/{REDIS}/blobs/{GONE}")
    assert "blobs of its copies are damaged" in error_text(site.run("status")[1])
    code, document = site.install(chain.delta)
    assert code == 3 and f"damaged in {kept.name}" in error_text(document)
    code, report = site.install(chain.delta, "--base", chain.base)
    assert (code, report.get("changed")) == (0, True), report
    assert kept.read_bytes() == before
    everything_is_served(site, 1)


def test_a_base_damaged_by_a_bit(chain: Chain, untouched: Site, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.airbundle"
    shutil.copy(chain.base, damaged)
    flip(damaged, GONE)
    code, document = untouched.install(chain.delta, "--base", damaged)
    listed(code, document, GONE)
    assert "damaged in damaged.airbundle" in error_text(document)
    assert len(document["missing"]) == 1


def test_a_copy_that_is_cut_is_no_source(chain: Chain, site: Site) -> None:
    assert site.install(chain.base)[0] == 0
    (kept,) = (site.state / "bundles").glob("*.airbundle")
    os.truncate(kept, 200_000)
    code, document = site.install(chain.delta)
    assert (code, document["outcome"]) == (3, "unchanged"), document
    assert GONE in error_text(document)
    assert site.install(chain.base)[0] == 0
    code, report = site.install(chain.delta)
    assert code == 0, report
    everything_is_served(site, 1)


def test_a_second_base_has_what_is_damaged_in_the_first(chain: Chain, site: Site, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.airbundle"
    shutil.copy(chain.base, damaged)
    flip(damaged, GONE)
    code, report = site.install(chain.delta, "--base", damaged, "--base", chain.base)
    assert code == 0, report
    everything_is_served(site, 1)


def test_a_base_on_volumes(chain: Chain, site: Site, tmp_path: Path) -> None:
    raw = chain.base.read_bytes()
    start = 0
    directories = [tmp_path / "disk1", tmp_path / "disk2"]
    for directory in directories:
        directory.mkdir()
    for number, size in enumerate(cut(len(raw), 1_000_000, 10), 1):
        (directories[number % 2] / f"b.airbundle.{number:03}").write_bytes(raw[start : start + size])
        start += size
    code, report = site.install(chain.delta, "--base", directories[0], "--base", directories[1])
    assert code == 0, report
    everything_is_served(site, 1)


def test_a_base_that_nobody_signed_is_good_enough(chain: Chain, site: Site, tmp_path: Path) -> None:
    from tests.support.bundles import write_bundle

    write_bundle(tmp_path / "u.airbundle", of_version(0), installer=None, checksum=False)
    code, report = site.install(chain.delta, "--base", tmp_path / "u.airbundle")
    assert code == 0, report
    everything_is_served(site, 1)


def test_a_base_that_says_another_size_is_no_base(chain: Chain, untouched: Site, tmp_path: Path) -> None:
    """A hostile base: its toc gives the wanted digest to other bytes, of another size."""
    lie = tmp_path / "lie.airbundle"
    shutil.copy(chain.base, lie)
    with open_bundle([lie]) as bundle:
        digest, size = bundle.toc.blobs[-1] if bundle.toc.blobs[-1][0] != GONE else bundle.toc.blobs[-2]
    assert size != LAYER.descriptor.size
    toc, hexes = lie.read_bytes(), (GONE[7:].encode(), digest[7:].encode())
    raw = toc.replace(hexes[0], b"#" * 64).replace(hexes[1], hexes[0]).replace(b"#" * 64, hexes[1])
    lie.write_bytes(_restated(lie, raw))
    with open_bundle([lie]) as bundle:
        assert dict(bundle.toc.blobs)[GONE] == size
    code, document = untouched.install(chain.delta, "--base", lie)
    listed(code, document, GONE)


def _restated(path: Path, raw: bytes) -> bytes:
    """Return a bundle whose statement binds its documents as they are now."""
    with open_bundle([path]) as bundle:
        statement = bundle.statement_raw
        for name in ("index.json", "airbundle/lock.json", "airbundle/toc.json"):
            member = bundle.head[name]
            now = hashlib.sha256(raw[member.offset : member.offset + member.size]).hexdigest()
            statement = statement.replace(bundle.statement.subjects[name][0][7:].encode(), now.encode())
        at = bundle.head["airbundle/statement.json"].offset
    return raw[:at] + statement + raw[at + len(statement) :]


KILLED = """
import os, signal, sys
from airbundle.cli.main import main
from airbundle.installer.journal import Journal
note = Journal.note
def deadly(self, step, event="note", **more):
    note(self, step, event, **more)
    if (step, event) == ({step!r}, {event!r}):
        os.kill(os.getpid(), signal.SIGKILL)
Journal.note = deadly
sys.exit(main())
"""


@pytest.mark.parametrize("step", ["supplement", "copy", "serve"])
def test_a_run_that_was_killed_goes_on(chain: Chain, site: Site, step: str) -> None:
    more = ["--key", site.key.public, "--listen", f"127.0.0.1:{site.port}", "--base", chain.base]
    arguments = site.command("install", chain.delta, *more)
    code = KILLED.format(step=step, event="done" if step == "supplement" else "begin")
    done = subprocess.run([sys.executable, "-c", code, *arguments[3:]], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The supplement is there: the base may be gone by now.
    exit_code, report = site.install(chain.delta)
    assert (exit_code, report.get("changed")) == (0, True), report
    everything_is_served(site, 1)
    assert not list((site.state / "bundles").glob("*.partial"))


def test_a_run_that_was_killed_in_the_middle_of_a_blob_goes_on(chain: Chain, site: Site) -> None:
    code = """
import os, signal, sys
from airbundle.cli.main import main
from airbundle.installer.filler import Filler
write, count = Filler._write, [0]
def deadly(self, position, data):
    write(self, position, data)
    count[0] += len(data)
    if count[0] > 1_500_000:
        os.kill(os.getpid(), signal.SIGKILL)
Filler._write = deadly
sys.exit(main())
"""
    more = ["--key", site.key.public, "--listen", f"127.0.0.1:{site.port}", "--base", chain.base]
    arguments = site.command("install", chain.delta, *more)
    done = subprocess.run([sys.executable, "-c", code, *arguments[3:]], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list((site.state / "bundles").glob("*.supplement.partial"))
    exit_code, report = site.install(chain.delta, "--base", chain.base)
    assert exit_code == 0, report
    everything_is_served(site, 1)
    assert not list((site.state / "bundles").glob("*.partial"))


def test_a_copy_that_went_is_told_and_the_server_refuses_with_the_list(chain: Chain, site: Site) -> None:
    assert site.install(chain.base)[0] == 0
    assert site.install(chain.delta)[0] == 0
    config = json.loads((site.state / "server/config.json").read_text())
    config["bundles"] = config["bundles"][:1]
    config["port"] = 0
    alone = site.root / "alone.json"
    alone.write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "airbundle", "serve", "--config", str(alone), "--json"], capture_output=True, text=True
    )
    listed(done.returncode, json.loads(done.stdout), GONE)


# Another registry


def into(registry: Registry, *more: object) -> list[object]:
    assert registry.ca_file is not None
    return ["--registry", registry.url, "--registry-ca", registry.ca_file, *more]


def pulled(registry: Registry, certs: Path, name: str) -> str:
    certs.mkdir(exist_ok=True)
    assert registry.ca_file is not None
    (certs / "ca.crt").write_bytes(registry.ca_file.read_bytes())
    return skopeo_digest(registry.url.partition("://")[2], certs, name)


def digest_of(number: int) -> str:
    return next(root.digest for root in of_version(number).content.index if "redis:7" in str(root.annotations))


def test_a_registry_without_the_base_stays_byte_for_byte(
    chain: Chain, untouched: Site, empty_registry: Registry
) -> None:
    before = snapshot(empty_registry.storage)
    code, document = untouched.install(chain.delta, *into(empty_registry))
    listed(code, document, GONE)
    code, document = untouched.run("load", chain.delta, "--key", untouched.key.public, *into(empty_registry))
    listed(code, document, GONE)
    assert document["outcome"] == "unchanged"
    assert snapshot(empty_registry.storage) == before
    assert empty_registry.uploads() == []


def test_into_a_registry_that_has_the_base(chain: Chain, site: Site, empty_registry: Registry, tmp_path: Path) -> None:
    assert site.install(chain.base, *into(empty_registry))[0] == 0
    for number, path in enumerate((chain.delta, chain.second), 1):
        code, report = site.install(path, *into(empty_registry))
        assert code == 0, report
        assert pulled(empty_registry, tmp_path / "certs", f"{REDIS}:7") == digest_of(number)
    chart_is_served(site)
    assert not list((site.state / "bundles").glob("*.supplement"))
    assert site.run("status")[0] == 0


def test_what_was_only_loaded_is_fetched_for_the_chart_repository(
    chain: Chain, site: Site, empty_registry: Registry
) -> None:
    assert site.run("load", chain.base, "--key", site.key.public, *into(empty_registry))[0] == 0
    # Files are in no registry: they lack.
    code, document = site.install(chain.delta, *into(empty_registry))
    assert code == 3
    assert {each["digest"] for each in document["missing"]} == {DATABASE.blobs[1].descriptor.digest}
    with open_bundle([chain.base]) as base:
        carried = has(chain.base) - {blob.descriptor.digest for blob in DATABASE.blobs}
        assert base.toc.blobs
    delta = write_delta(site.root / "d.airbundle", of_version(1), chain.base, site.key, blobs=carried)
    code, report = site.install(delta, *into(empty_registry))
    assert code == 0, report
    chart_is_served(site)


def test_load_takes_blobs_from_the_registry_or_a_base(
    chain: Chain, site: Site, empty_registry: Registry, tmp_path: Path
) -> None:
    code, report = site.run("load", chain.delta, "--key", site.key.public, "--base", chain.base, *into(empty_registry))
    assert (code, report.get("changed")) == (0, True), report
    assert pulled(empty_registry, tmp_path / "certs", f"{REDIS}:7") == digest_of(1)
    code, report = site.run("load", chain.second, *into(empty_registry))
    assert code == 0, report
    assert pulled(empty_registry, tmp_path / "certs", f"{REDIS}:7") == digest_of(2)
    code, report = site.run("load", chain.second, *into(empty_registry))
    assert (code, report.get("changed")) == (0, False), report


def test_a_blob_of_another_repository_is_mounted(
    chain: Chain, site: Site, empty_registry: Registry, tmp_path: Path
) -> None:
    assert site.run("load", chain.base, "--key", site.key.public, *into(empty_registry))[0] == 0
    moved = of_version(1, more={"quay.io/team/other:1": tiny_image("other", shared=[LAYER])})
    images = tuple(root for root in moved.content.index if "redis" not in str(root.annotations))
    assert len(images) < len(moved.content.index)
    delta = write_delta(tmp_path / "d.airbundle", moved, chain.base, site.key)
    code, report = site.run("load", delta, *into(empty_registry))
    assert code == 0, report
    assert report["mounted"] >= 1
    again = snapshot(empty_registry.storage)
    assert any("quay.io/team/other/_layers" in name and GONE[7:] in name for name in again)


def test_a_load_that_was_killed_goes_on(chain: Chain, site: Site, empty_registry: Registry, tmp_path: Path) -> None:
    arguments = site.command("load", chain.delta, "--key", site.key.public, "--base", chain.base, *into(empty_registry))
    code = """
import os, signal, sys
from airbundle.cli.main import main
from airbundle.installer.load_blobs import BlobStage
push = BlobStage._push
def deadly(self, *more, **named):
    push(self, *more, **named)
    os.kill(os.getpid(), signal.SIGKILL)
BlobStage._push = deadly
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments[3:]], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not empty_registry.stored("_manifests/tags")
    exit_code, report = site.run("load", chain.delta, "--base", chain.base, *into(empty_registry))
    assert exit_code == 0, report
    assert pulled(empty_registry, tmp_path / "certs", f"{REDIS}:7") == digest_of(1)


def test_a_registry_that_does_not_take_over_gets_no_manifest(chain: Chain, empty_registry: Registry) -> None:
    target = parse_target(empty_registry.url, ca_file=empty_registry.ca_file)
    with open_bundle([chain.delta]) as delta, target.client() as client:
        nowhere = {blob.digest: "no/such/repository" for blob in delta.missing()}
        with pytest.raises(SiteError, match="leaves it out") as caught:
            load(BlobUnion(delta), plan_of(delta, ""), client, target.host, reporter=SILENT, located=nowhere)
    assert "--base" in caught.value.hint
    assert not empty_registry.stored("_manifests")


def test_a_base_that_is_exchanged_after_it_was_checked_is_not_pushed(
    chain: Chain, empty_registry: Registry, tmp_path: Path
) -> None:
    exchanged = tmp_path / "base.airbundle"
    shutil.copy(chain.base, exchanged)
    target = parse_target(empty_registry.url, ca_file=empty_registry.ca_file)
    with open_bundle([chain.delta]) as delta, open_bundle([exchanged]) as base, target.client() as client:
        blobs = BlobUnion(delta, [Holder(base)])
        assert all(blobs.find(blob.digest) for blob in delta.missing())
        flip(exchanged, GONE)
        with pytest.raises(DigestMismatch):
            load(blobs, plan_of(delta, ""), client, target.host, reporter=SILENT)
    assert not empty_registry.stored("_manifests")
    assert not empty_registry.stored(f"{GONE[7:]}/data")


def test_a_touched_copy_of_the_base_is_hashed_before_it_counts(chain: Chain, site: Site) -> None:
    assert site.install(chain.base)[0] == 0
    (copy,) = (site.state / "bundles").iterdir()
    os.utime(copy)
    assert site.install(chain.delta)[0] == 0
    everything_is_served(site, 1)
    flip(copy, GONE)
    code, document = site.install(chain.delta)
    assert code == 3 and f"damaged in {copy.name}" in error_text(document)


def test_a_registry_that_is_not_there_is_what_stands_in_the_way(chain: Chain, untouched: Site) -> None:
    code, document = untouched.install(chain.delta, "--registry", f"http://127.0.0.1:{free_port()}")
    assert (code, document["outcome"]) == (6, "unchanged"), document


# serve, verify


def test_serve_with_and_without_the_base(chain: Chain, tmp_path: Path) -> None:
    from tests.server.site import app_of, ask

    done = subprocess.run(
        [sys.executable, "-m", "airbundle", "serve", str(chain.delta), "--listen", "127.0.0.1:0", "--json"],
        capture_output=True,
        text=True,
    )
    listed(done.returncode, json.loads(done.stdout), GONE)
    app = app_of(chain.delta, chain.base)
    assert ask(app, f"/v2/{REDIS}/blobs/{GONE}").body == LAYER.data
    app.close()


def test_verify_a_delta(chain: Chain, untouched: Site, tmp_path: Path) -> None:
    verify = ["verify", chain.delta, "--key", chain.key.public]

    def run(*more: object) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "airbundle", *map(str, (*verify, *more)), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)

    code, report = run()
    assert (code, report["externalVerified"], report["base"]["version"]) == (0, False, "1.0.0")
    code, report = run("--base", chain.base)
    assert (code, report["externalVerified"]) == (0, True)
    code, report = run("--base", chain.second)
    listed(code, report, GONE)
    damaged = tmp_path / "damaged.airbundle"
    shutil.copy(chain.base, damaged)
    flip(damaged, GONE)
    code, report = run("--base", damaged)
    assert code == 5 and "damaged.airbundle" in error_text(report)
    assert run("--base", damaged, "--base", chain.base)[0] == 0
    text = subprocess.run(
        [sys.executable, "-m", "airbundle", *map(str, verify)], capture_output=True, text=True, check=True
    )
    assert "a delta on test 1.0.0 (serial" in text.stdout


def test_a_base_is_served_for_its_blobs_alone(chain: Chain, key: Key, tmp_path: Path) -> None:
    from airbundle.bundle.serving import BASE, ServedBundle, ServerConfig
    from airbundle.server.app import make_app
    from tests.server.site import ask

    other = of_version(0, more={"docker.io/evil/image:1": tiny_image("evil")})
    base = write_signed(tmp_path / "o.airbundle", other, key)
    app = make_app(ServerConfig((ServedBundle((chain.delta,)), ServedBundle((base,), holds=BASE))))
    assert ask(app, f"/v2/{REDIS}/blobs/{GONE}").body == LAYER.data
    assert ask(app, "/v2/docker.io/evil/image/manifests/1").status == 404
    app.close()
    flip(base, GONE)
    app = make_app(ServerConfig((ServedBundle((chain.delta,)), ServedBundle((base,), holds=BASE))))
    answer = ask(app, f"/v2/{REDIS}/blobs/{GONE}")
    assert answer.status == 500 and GONE in answer.body.decode()
    assert ask(app, "/healthz").status == 503
    app.close()


def test_a_partial_copy_promises_no_hole(chain: Chain, tmp_path: Path) -> None:
    from airbundle.bundle.serving import PARTLY, ServedBundle, ServerConfig, fingerprint
    from airbundle.errors import CheckFailed
    from airbundle.installer.copy import copy_bundle
    from airbundle.server.app import make_app

    with open_bundle([chain.base]) as base:
        copy = copy_bundle(base, tmp_path, whole=False, verified=None, reporter=SILENT)
    partly = ServedBundle((copy.path,), (fingerprint(copy.path.stat()),), PARTLY)
    with pytest.raises(CheckFailed) as caught:
        make_app(ServerConfig((ServedBundle((chain.delta,)), partly)))
    assert GONE in str(caught.value.findings)
    # Charts and files are in it: without images nothing lacks, and nothing is damaged.
    app = make_app(ServerConfig((ServedBundle((chain.delta,)), partly), serves=("charts", "files", "clamav")))
    assert all(held.gate.has(GONE) is False for held in app.library.held)
    app.close()
