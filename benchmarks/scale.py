"""100,000 blobs and a terabyte: planning, inspecting, verifying the index, and starting to serve (design §10).

Blobs are holes in a sparse file; everything else is real. Each step runs in a process of its own, at a tenth of the
scale and at the whole, so that what isn't linear is seen.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.oci import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from benchmarks.cost import Cost, run
from tests.support.measure import peak_memory

IMAGES, LAYERS = 10_000, 8
LAYER_SIZE, CONFIG_SIZE = 12_500_000, 4000
MB = 1_000_000
NAME = "scale-1.0.0.airbundle"


def report(root: Path) -> list[str]:
    """Measure, and return the lines of a Markdown table."""
    lines = ["| step | blobs | seconds | CPU s | peak MB |", "|---|---:|---:|---:|---:|"]
    for images in (IMAGES // 10, IMAGES):
        directory = root / str(images)
        directory.mkdir()
        make_input(directory, images)
        for step, cost in _steps(directory):
            blobs = images * (LAYERS + 2)
            lines.append(f"| {step} | {blobs} | {cost.seconds:.2f} | {cost.cpu:.2f} | {cost.memory / MB:.0f} |")
    return lines


def make_input(directory: Path, images: int) -> None:
    """Write a lock of `images` images, and their manifests."""
    roots, manifests = [], {}
    for number in range(images):
        layers = [
            Descriptor(f"{OCI_LAYER}+gzip", sha256(b"layer %d %d" % (number, each)), LAYER_SIZE + each)
            for each in range(LAYERS)
        ]
        config = Descriptor(OCI_CONFIG, sha256(b"config %d" % number), CONFIG_SIZE)
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        raw = json.dumps(body).encode()
        digest = sha256(raw)
        manifests[digest] = raw.decode()
        name = f"registry.test/team/image{number:05}"
        roots.append(_root(name, Descriptor(OCI_MANIFEST, digest, len(raw))))
    created = "2026-01-01T00:00:00Z"
    lock = Lock("scale", "1.0.0", "sha256:" + "0" * 64, 1767225600, created, "", tuple(roots), "0.0.0")
    (directory / "lock.json").write_bytes(lock.to_bytes())
    (directory / "manifests.json").write_text(json.dumps(manifests))


def _root(name: str, manifest: Descriptor) -> LockedRoot:
    ref = f"{name}:1"
    return LockedRoot("image", ref, ref, "registry", name, manifest)


def _steps(directory: Path) -> list[tuple[str, Cost]]:
    bundle = directory / NAME
    steps = [("plan (and write what is known)", _step("plan", directory))]
    steps.append(("inspect", run([sys.executable, "-m", "airbundle", "inspect", bundle, "--quiet"])[0]))
    steps.append(("verify the index", _step("index", directory)))
    steps.append(("serve, until it answers", _serve(directory)))
    return steps


def _step(name: str, directory: Path) -> Cost:
    """Run a step in a process of its own; its seconds are those of the step, without the start of Python."""
    cost, said = run([sys.executable, "-m", "benchmarks.scale", name, directory])
    return Cost(float(said), cost.cpu, cost.memory, cost.read, cost.written)


def _serve(directory: Path) -> Cost:
    from tests.support.serving import run_server

    # What no record proves is hashed in the background: a terabyte of holes, which nobody waits for here.
    began = time.monotonic()
    with run_server(directory / "server", [directory / NAME]) as server:
        seconds = time.monotonic() - began
        memory = peak_memory(server.process.pid)
    return Cost(seconds, 0.0, memory, 0, 0)


def plan(directory: Path) -> None:
    """Parse the lock, lay the bundle out, and write all that is known into a sparse file."""
    from airbundle.bundle.layout import content_of
    from airbundle.bundle.lock import parse_lock
    from airbundle.store.plan import plan_bundle

    lock = parse_lock((directory / "lock.json").read_bytes())
    manifests = {digest: raw.encode() for digest, raw in json.loads((directory / "manifests.json").read_text()).items()}
    laid_out = plan_bundle(content_of(lock, manifests))
    fd = os.open(directory / NAME, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, laid_out.total_size)
    for position, data in laid_out.known_bytes():
        os.pwrite(fd, data, position)
    os.close(fd)


def index(directory: Path) -> None:
    """Verify all but the blobs."""
    from airbundle.store.reader import open_bundle

    with open_bundle([directory / NAME]) as bundle:
        bundle.verify_head()


def main() -> None:
    """Do one step and print its seconds."""
    name, directory = sys.argv[1], Path(sys.argv[2])
    began = time.monotonic()
    {"plan": plan, "index": index}[name](directory)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
