"""Memory does not grow with the size of a layer: 2 GiB of zeros, which no disk has to write, against 150 MiB."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.bundle.oci import OCI_LAYER, Descriptor
from airbundle.store.plan import plan_bundle
from airbundle.store.writer import BundleWriter
from tests.support.bundles import make_images
from tests.support.images import Blob, image
from tests.support.measure import peak_memory, run_measured
from tests.support.process import free_port, running

MIB = 1024 * 1024
SIZE = 2048 * MIB


@pytest.fixture(scope="module")
def layer() -> Blob:
    """A layer of zeros; its bytes are nowhere."""
    hasher = hashlib.sha256()
    for _ in range(SIZE // MIB):
        hasher.update(bytes(MIB))
    digest = f"sha256:{hasher.hexdigest()}"
    return Blob(Descriptor(OCI_LAYER, digest, SIZE), b"", digest)


def test_verify_and_serve_a_large_layer(layer: Blob, tmp_path: Path) -> None:
    made = make_images({"docker.io/library/big:1": image([layer])})
    path = tmp_path / "big-1.airbundle"
    with BundleWriter.create(plan_bundle(made.content, installer=None), path, checksum=False) as writer:
        writer.copied(layer.descriptor.digest)  # what is preallocated reads as zeros
        for blob in writer.pending():
            writer.write_at(blob.digest)(0, memoryview(made.bytes[blob.digest]))
            writer.done(blob.digest)
        writer.finish()
    airbundle = [sys.executable, "-m", "airbundle"]
    done = run_measured([*airbundle, "verify", path])
    assert done.code == 0, done.stderr
    assert done.peak_memory < 150 * MIB
    port = free_port()
    command: list[str | Path] = [*airbundle, "serve", path, "--listen", f"127.0.0.1:{port}"]
    with running(command, tmp_path / "serve.log") as server:
        server.wait_for_line("ready: ", what="serve")
        url = f"http://127.0.0.1:{port}/v2/docker.io/library/big/blobs/{layer.descriptor.digest}"
        for _ in range(2):
            subprocess.run(["curl", "-sf", "--noproxy", "*", "-o", "/dev/null", url], check=True)
        assert peak_memory(server.pid) < 150 * MIB
    path.unlink()
