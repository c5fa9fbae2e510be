"""Build, verify, inspect and load, against the floor and a peer, as ratios in one run.

    python -m benchmarks.bench [--size MB] [--rounds N] [--directory DIR]

The floor of building is each blob fetched once over loopback, hashed and written once, over 4 connections; that of
verifying is `openssl dgst -sha256` of the file. The peer is skopeo. Everything lies in DIR (default: /dev/shm).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import images
from tests.support.measure import Measured, run_measured
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage

IMAGES = 8
CONNECTIONS = 4
MIB = 1024 * 1024


def make_upstream(storage: Path, size: int) -> list[tuple[str, str, int]]:
    """Fill a registry's storage with `size` bytes of images; return (repository, digest, size) of their layers."""
    layers = []
    for number in range(IMAGES):
        image = images.tiny_image(f"bench {number}", sizes=(size // IMAGES // 2,) * 2, compression="none")
        image.put(Storage(storage), f"img{number}", "1")
        layers += [(f"img{number}", b.descriptor.digest, b.descriptor.size) for b in image.blobs[1:]]
    return layers


def floor(host: str, layers: list[tuple[str, str, int]], target: Path) -> None:
    """Fetch each layer once, hash it, and write it once to its place in one preallocated file."""
    places, position = [], 0
    for layer in layers:
        places.append((layer, position))
        position += layer[2]
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.posix_fallocate(fd, 0, position)

    def work() -> None:
        connection = http.client.HTTPConnection(host)
        buffer = memoryview(bytearray(MIB))
        while places:
            try:
                (repository, digest, _), offset = places.pop()
            except IndexError:
                return
            connection.request("GET", f"/v2/{repository}/blobs/{digest}")
            response = connection.getresponse()
            hasher = hashlib.sha256()
            while count := response.readinto(buffer):
                hasher.update(buffer[:count])
                os.pwrite(fd, buffer[:count], offset)
                offset += count
            assert "sha256:" + hasher.hexdigest() == digest

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)


class Bench:
    """One directory with all that is measured."""

    def __init__(self, root: Path, size: int, rounds: int) -> None:
        self.root, self.rounds = root, rounds
        self.layers = make_upstream(root / "upstream", size)
        self.rows: list[tuple[str, float, float, str]] = []
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "XDG_STATE_HOME": str(root / "state")}

    def airbundle(self, *words: str | Path) -> Measured:
        """Run a command of airbundle."""
        done = run_measured([sys.executable, "-m", "airbundle", *words, "--quiet"], env=self.environment)
        if done.code:
            raise SystemExit(f"airbundle {words[0]} ended with {done.code}: {done.stderr}")
        return done

    def times(self, work: Callable[[int], float]) -> float:
        """Return the median of several rounds in seconds."""
        return statistics.median(work(number) for number in range(self.rounds))

    def row(self, name: str, ours: float, other: float, note: str) -> None:
        """Keep a line of the table."""
        self.rows.append((name, ours, other, note))

    def run(self) -> None:
        """Measure everything."""
        with run_registry(self.root / "source", storage=self.root / "upstream") as upstream:
            bundle = self.build(upstream)
            self.verify(bundle)
            self.load(bundle, upstream)

    def build(self, upstream: Registry) -> Path:
        """Build against the floor."""
        inventory = self.root / "inventory"
        inventory.mkdir()
        document = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Bundle",
            "metadata": {"name": "bench", "version": "1.0.0"},
            "images": [f"up.test/img{number}:1" for number in range(IMAGES)],
        }
        (inventory / "bundle.yaml").write_text(json.dumps(document))
        registries = self.root / "registries.yaml"
        mirrors = upstream.registries_yaml("up.test", plain=True)
        mirrors["mirrors"]["up.test"]["default_endpoint"] = False
        registries.write_text(json.dumps(mirrors))
        common = (inventory, "--registries", registries, "--no-installer")
        self.airbundle("lock", *common)
        bundle = self.root / "bench-1.0.0.airbundle"
        peak = 0

        def ours(_: int) -> float:
            nonlocal peak
            bundle.unlink(missing_ok=True)
            done = self.airbundle("build", *common, "--no-checksum", "-o", bundle)
            peak = max(peak, done.peak_memory)
            return done.seconds

        def theirs(_: int) -> float:
            begun = time.monotonic()
            floor(upstream.host, self.layers, self.root / "floor")
            seconds = time.monotonic() - begun
            (self.root / "floor").unlink()
            return seconds

        ours(0)
        self.row("build, cold", self.times(ours), self.times(theirs), f"floor; peak {peak // MIB} MiB")
        return bundle

    def verify(self, bundle: Path) -> None:
        """Verify against openssl, inspect against nothing."""
        ours = self.times(lambda _: self.airbundle("verify", bundle).seconds)
        theirs = self.times(lambda _: _timed(["openssl", "dgst", "-sha256", str(bundle)]))
        self.row("verify", ours, theirs, "openssl dgst -sha256")
        ours = self.times(lambda _: self.airbundle("inspect", bundle).seconds)
        self.row("inspect", ours, 0.5, "the budget of 0.5 s")

    def load(self, bundle: Path, upstream: Registry) -> None:
        """Load into an empty registry:2 against skopeo, which copies from registry to registry; then load again."""
        again: list[float] = []

        def ours(number: int) -> float:
            with run_registry(self.root / f"ours-{number}") as target:
                load = ("load", bundle, "--registry", target.url, "--key", self.root / "release.pub")
                first = self.airbundle(*load, "--state-dir", self.root / f"site-{number}").seconds
                again.append(self.airbundle(*load, "--state-dir", self.root / f"site-{number}").seconds)
            shutil.rmtree(self.root / f"ours-{number}")
            return first

        def theirs(number: int) -> float:
            with run_registry(self.root / f"theirs-{number}") as target:
                begun = time.monotonic()
                for image in range(IMAGES):
                    source, copy = f"docker://{upstream.host}/img{image}:1", f"docker://{target.host}/img{image}:1"
                    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
                    subprocess.run(["skopeo", "copy", "-q", *plain, source, copy], check=True)
                seconds = time.monotonic() - begun
            shutil.rmtree(self.root / f"theirs-{number}")
            return seconds

        self._sign(bundle)
        self.row("load, empty registry", self.times(ours), self.times(theirs), "skopeo copy, registry to registry")
        self.row("load again", statistics.median(again), self.rows[-1][1], "the first load")

    def _sign(self, bundle: Path) -> None:
        self.environment["AIRBUNDLE_KEY_PASSPHRASE"] = "bench"
        self.airbundle("key", "generate", "-o", self.root / "release.key")
        self.airbundle("sign", bundle, "--key", self.root / "release.key")


def _timed(command: list[str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, metavar="MB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airbundle-bench-", dir=args.directory) as name:
        bench = Bench(Path(name), args.size * 1_000_000, args.rounds)
        bench.run()
    print(f"{args.size} MB in {IMAGES} images, median of {args.rounds} rounds, {os.cpu_count()} cores")
    print(f"{'work':<22}{'airbundle':>10}{'other':>10}{'ratio':>8}  other is")
    for work, ours, other, note in bench.rows:
        print(f"{work:<22}{ours:>9.2f}s{other:>9.2f}s{ours / other:>8.2f}  {note}")


if __name__ == "__main__":
    main()
