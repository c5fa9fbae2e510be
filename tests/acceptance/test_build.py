"""Must show 2 and 3: a big bundle from loopback registries; equal bytes again; little disk and memory."""

from __future__ import annotations

import json
import shutil
import subprocess

from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.workshop import FROM_HTTP, FROM_OCI, Workshop
from tests.support.corpus import BIG_LAYER

MIB = 1024 * 1024


def test_the_input_is_as_big_as_promised(workshop: Workshop, built: BuiltCorpus) -> None:
    assert len(workshop.corpus.images) >= 12
    assert len(FROM_HTTP) + len(FROM_OCI) >= 6
    assert built.path.stat().st_size > 500 * 10**6
    blobs = workshop.corpus.storage.glob("**/data")
    assert max(path.stat().st_size for path in blobs) > BIG_LAYER


def test_every_upstream_digest_is_locked(workshop: Workshop, built: BuiltCorpus) -> None:
    lock = json.loads((built.inventory / "airbundle.lock.json").read_text())
    locked = {root["descriptor"]["digest"] for root in lock["roots"] if root["kind"] == "image"}
    assert locked == {image.digest for image in workshop.corpus.images}


def test_verify_proves_it(workshop: Workshop, built: BuiltCorpus) -> None:
    workshop.do("verify", built.path, "--key", workshop.public_key)


def test_memory_stays_small(built: BuiltCorpus) -> None:
    assert built.build.peak_memory < 150 * MIB


def test_memory_of_a_scan_is_helms_and_little_more(built: BuiltCorpus) -> None:
    assert built.scan.peak_memory < 300 * MIB


def test_what_was_scanned_is_not_scanned_again(built: BuiltCorpus) -> None:
    assert "render" in built.scan.stderr
    assert "render" not in built.build.stderr


def test_extra_disk_stays_small(built: BuiltCorpus) -> None:
    assert built.extra_disk < 64 * MIB


def test_another_directory_the_same_bytes(workshop: Workshop, built: BuiltCorpus) -> None:
    inventory = workshop.root / "elsewhere" / "deeper"
    shutil.copytree(built.inventory, inventory)
    output = workshop.root / "dist-again"
    output.mkdir()
    workshop.build(inventory, output)
    again = output / built.path.name
    try:
        assert subprocess.run(["cmp", built.path, again], check=False).returncode == 0
        for suffix in (".sha256", ".sig"):
            first, second = (path.with_name(path.name + suffix) for path in (built.path, again))
            assert first.read_bytes() == second.read_bytes()
    finally:
        shutil.rmtree(output)
