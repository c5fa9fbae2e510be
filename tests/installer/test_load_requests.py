"""What a load asks a registry, and what it doesn't."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest

from airbundle.bundle.digest import hex_of
from airbundle.bundle.oci import Descriptor
from airbundle.installer.load import LoadResult, load
from airbundle.installer.load_plan import LoadPlan, plan_load
from airbundle.installer.target import parse_target
from airbundle.progress import SILENT
from airbundle.store.reader import BundleFile, open_bundle
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.faults import faulty, hook
from tests.support.images import Artifact, layer, noise, referrer, tiny_image
from tests.support.registries import Registry, Request, run_registry

PATIENCE = 60.0
"""Seconds until a test gives up waiting; no performance bar."""
BASE = layer({"base": noise("base", 2_000_000)})
IMAGES = {f"docker.io/library/app{i}:1": tiny_image(f"app{i}", shared=[BASE], sizes=(50_000,)) for i in range(6)}
FIRST = "docker.io/library/app0"
ROOT = IMAGES[f"{FIRST}:1"]
REFERRERS: list[Artifact] = [
    referrer(ROOT.descriptor),
    referrer(ROOT.descriptor, artifact_type="application/vnd.example.scan"),
]
EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory, release_key: Key) -> Path:
    made = content(IMAGES, referrers={f"{FIRST}:1": REFERRERS}, signer=release_key.signer)
    return sign_and_write(tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle", made, release_key)


@pytest.fixture
def registry(tmp_path: Path) -> Iterable[Registry]:
    with run_registry(tmp_path / "r") as registry:
        yield registry


def plan_of(bundle: BundleFile) -> LoadPlan:
    def manifest(descriptor: Descriptor) -> bytes | None:
        return bundle.read_small(descriptor.digest, 1 << 20) if bundle.has_blob(descriptor.digest) else None

    return plan_load(bundle.index, manifest)


def load_into(path: Path, url: str) -> LoadResult:
    target = parse_target(url)
    with open_bundle([path]) as bundle, target.client() as client:
        return load(bundle, plan_of(bundle), client, target.host, reporter=SILENT)


def kinds(requests: Iterable[Request]) -> Counter[str]:
    def kind(request: Request) -> str:
        path = request.path.partition("?")[0]
        if "/manifests/" not in path:
            return "upload" if "/uploads/" in path else "referrers" if "/referrers/" in path else "blob"
        ref = path.rpartition("/")[2]
        return "manifest" if ":" in ref else "list" if re.fullmatch("sha256-[0-9a-f]{64}", ref) else "tag"

    return Counter(f"{request.method} {kind(request)}" for request in requests)


def test_an_empty_registry_is_not_asked_for_manifests_and_tags(bundle_path: Path, registry: Registry) -> None:
    load_into(bundle_path, registry.url)
    counted = kinds(registry.requests())
    assert counted["HEAD manifest"] == counted["HEAD tag"] == 0
    # Of each image its manifest and one signature; the other signature goes with its tag. Two more referrers.
    assert counted["PUT manifest"] == 2 * len(IMAGES) + len(REFERRERS)
    assert counted["PUT tag"] == 2 * len(IMAGES)


def test_a_list_of_referrers_is_written_once(bundle_path: Path, registry: Registry) -> None:
    load_into(bundle_path, registry.url)
    tag = f"/manifests/sha256-{hex_of(ROOT.digest)}"
    assert [r.method for r in registry.requests() if r.path.endswith(tag)] == ["GET", "PUT", "GET"]
    with parse_target(registry.url).client() as client:
        listed = client.repository(f"{registry.host}/{FIRST}").referrers(ROOT.digest)
    assert len(listed) == len(REFERRERS) + 1


def test_a_small_blob_that_many_need_is_looked_for_once(bundle_path: Path, registry: Registry) -> None:
    load_into(bundle_path, registry.url)
    of_empty = [r for r in registry.requests() if EMPTY in r.path and r.method == "HEAD"]
    assert len(of_empty) == 1
    assert len([r for r in registry.uploads() if "mount=" in r.path and hex_of(EMPTY) in r.path]) == len(IMAGES) - 1
    before = len(registry.requests())
    assert not load_into(bundle_path, registry.url).changed
    of_empty = [r for r in registry.requests()[before:] if EMPTY in r.path]
    assert len(of_empty) == len(IMAGES)


def test_the_second_time_a_tag_answers_for_its_manifest(bundle_path: Path, registry: Registry) -> None:
    load_into(bundle_path, registry.url)
    before = len(registry.requests())
    load_into(bundle_path, registry.url)
    counted = kinds(registry.requests()[before:])
    assert counted["HEAD tag"] == 2 * len(IMAGES)
    assert counted["HEAD manifest"] == len(IMAGES) + len(REFERRERS)
    assert {kind.partition(" ")[0] for kind in counted} == {"HEAD", "GET"}


def test_a_lost_blob_is_brought_again_with_what_needs_it(bundle_path: Path, registry: Registry) -> None:
    load_into(bundle_path, registry.url)
    own = ROOT.blobs[-1].descriptor.digest
    link = registry.storage / f"docker/registry/v2/repositories/{FIRST}/_layers/sha256/{hex_of(own)}"
    shutil.rmtree(link)
    result = load_into(bundle_path, registry.url)
    assert result.sent + result.mounted >= 1
    assert link.exists()
    assert not load_into(bundle_path, registry.url).changed


def test_a_tag_that_was_moved_is_set_again(bundle_path: Path, registry: Registry) -> None:
    load_into(bundle_path, registry.url)
    other = IMAGES["docker.io/library/app1:1"]
    with parse_target(registry.url).client() as client:
        repository = client.repository(f"{registry.host}/docker.io/library/app1")
        signature = repository.fetch_manifest(f"sha256-{hex_of(other.digest)}.sig")
        repository.push_manifest(signature[1], signature[0].media_type, "1")
        assert (load_into(bundle_path, registry.url).tags, repository.has_manifest("1")) == (1, other.digest)


def test_questions_go_over_many_connections(bundle_path: Path, registry: Registry) -> None:
    """None is answered before sixteen have been asked."""
    asked, enough, lock = [0], threading.Event(), threading.Lock()

    def wait() -> None:
        with lock:
            asked[0] += 1
            if asked[0] == 16:
                enough.set()
        assert enough.wait(PATIENCE)

    with faulty(registry.url, [hook(wait, method="HEAD")]) as proxy:
        # The proxy calls its hooks under its lock, and these wait for each other.
        proxy.lock = cast(threading.Lock, nullcontext())
        load_into(bundle_path, proxy.url)
    assert enough.is_set()


def test_httpx_is_not_needed(bundle_path: Path, registry: Registry, release_key: Key, tmp_path: Path) -> None:
    code = "import sys; from airbundle.cli.main import main; main(); print('httpx' in sys.modules)"
    words = ["load", bundle_path, "--registry", registry.url, "--key", release_key.public, "--quiet"]
    command = [sys.executable, "-c", code, *map(str, words), "--state-dir", str(tmp_path / "state")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"]
