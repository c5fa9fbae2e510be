"""Builds through what networks and hosts do in a long run; each ends by itself with the same bytes, or says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from airbundle.store import writer
from tests.builder.conftest import UPSTREAM, Answer, Workshop
from tests.support import images
from tests.support.disk import mounted
from tests.support.faults import Fault, faulty, hook
from tests.support.registries import run_registry
from tests.support.signed import signed_urls

MIB = 1024 * 1024


def build_through(workshop: Workshop, faults: Sequence[Fault], output: Path) -> Answer:
    """Build with the faults between the builder and upstream."""
    with faulty(workshop.registry.url, faults) as proxy:
        registries = workshop.root / "faulty.yaml"
        mirror = {"endpoint": [proxy.url], "default_endpoint": False}
        registries.write_text(json.dumps({"mirrors": {UPSTREAM: mirror}}))
        inventory = workshop.root / "inventory"
        return workshop.run("build", inventory, "--no-installer", "--registries", registries, "-o", output)


def good(workshop: Workshop, *names: str) -> bytes:
    """Lock, build in peace, and return the bundle's bytes. Nothing of it stays but the lock."""
    workshop.inventory(images=[f"{UPSTREAM}/{name}:1" for name in names])
    answer = workshop.build(workshop.root / "good.airbundle", "--cache-dir", workshop.root / "other")
    assert answer.code == 0, answer.body
    path = Path(answer.body["path"])
    raw = path.read_bytes()
    path.unlink()
    return raw


def test_one_request_in_a_hundred_fails(workshop: Workshop) -> None:
    """500 blobs; each kind of fault strikes one request in a hundred."""
    names = [f"img{number}" for number in range(100)]
    for name in names:
        workshop.put(images.tiny_image(name, sizes=(2000, 3000, 1000, 500)), name, "1")
    want = good(workshop, *names)
    faults = [
        Fault("reset", path="/blobs/", after=100, every=100),
        Fault("truncate", path="/blobs/", after=300, every=100, skip=20),
        Fault("status", status=503, every=100, skip=40),
        Fault("status", status=429, retry_after="0", every=100, skip=60),
        Fault("wrong-bytes", path="/blobs/", after=200, every=100, skip=80),
    ]
    output = workshop.root / "out.airbundle"
    answer = build_through(workshop, faults, output)
    assert answer.code == 0, answer.body
    assert output.read_bytes() == want
    assert all(fault.done >= 3 for fault in faults), faults


def test_tokens_that_end_in_the_middle(workshop: Workshop) -> None:
    """Tokens live for a second, and the whole takes longer."""
    with run_registry(workshop.root / "tokens", auth="token", storage=workshop.registry.storage) as registry:
        assert registry.tokens is not None
        names = [f"img{number}" for number in range(6)]
        for name in names:
            workshop.put(images.tiny_image(name, sizes=(400_000,) * 2), name, "1")
        want = good(workshop, *names)
        registry.tokens.lifetime = 1
        registry.docker_config(workshop.root / "docker")
        with faulty(registry.url, rate=2 * MIB) as proxy:
            registries = workshop.root / "tokens.yaml"
            auth = {"username": registry.username, "password": registry.password}
            mirror = {"endpoint": [proxy.url], "default_endpoint": False}
            document = {"mirrors": {UPSTREAM: mirror}, "configs": {proxy.host: {"auth": auth}}}
            registries.write_text(json.dumps(document))
            inventory, output = workshop.root / "inventory", workshop.root / "out.airbundle"
            answer = workshop.run("build", inventory, "--no-installer", "--registries", registries, "-o", output)
        assert answer.code == 0, answer.body
        assert output.read_bytes() == want
        assert len(registry.tokens.issued) >= 2 * len(names), "no token ended in the middle"


def test_redirects_that_end(workshop: Workshop) -> None:
    """Blobs lie in a storage behind signed URLs; each is good for one request, and the first ones break off."""
    names = [f"img{number}" for number in range(4)]
    for name in names:
        workshop.put(images.tiny_image(name, sizes=(300_000,)), name, "1")
    want = good(workshop, *names)
    with signed_urls(workshop.registry) as front:
        registries = workshop.root / "signed.yaml"
        mirror = {"endpoint": [front.url], "default_endpoint": False}
        registries.write_text(json.dumps({"mirrors": {UPSTREAM: mirror}}))
        inventory, output = workshop.root / "inventory", workshop.root / "out.airbundle"
        answer = workshop.run("build", inventory, "--no-installer", "--registries", registries, "-o", output)
    assert answer.code == 0, answer.body
    assert output.read_bytes() == want
    assert front.continued >= len(names), "nothing went on in the middle"
    assert front.stale == 0, "a URL was used twice"


def test_a_clock_that_jumps(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"img{number}" for number in range(5)]
    for name in names:
        workshop.put(images.tiny_image(name, sizes=(100_000,) * 2), name, "1")
    want = good(workshop, *names)
    offsets = iter((86_400.0, -86_400.0, 31_536_000.0, -3600.0))
    now, offset = time.time, 0.0

    def jump() -> None:
        nonlocal offset
        offset = next(offsets, 0.0)

    monkeypatch.setattr(time, "time", lambda: now() + offset)
    faults = [hook(jump, path="/blobs/", every=3), Fault("reset", path="/blobs/", after=50_000, every=4)]
    output = workshop.root / "out.airbundle"
    answer = build_through(workshop, faults, output)
    assert answer.code == 0, answer.body
    assert faults[0].done >= 3
    assert output.read_bytes() == want


def test_a_disk_that_runs_full_in_the_middle(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that does not preallocate. Freed, the build goes on; what was done is not fetched again."""
    names = [f"img{number}" for number in range(6)]
    for name in names:
        workshop.put(images.tiny_image(name, sizes=(MIB,)), name, "1")
    want = good(workshop, *names)

    def allocate(descriptor: int, size: int, path: Path) -> bool:
        os.ftruncate(descriptor, size)
        return False

    monkeypatch.setattr(writer, "allocate", allocate)
    with mounted(workshop.root / "disk", "size=12m") as disk:
        output = disk / "out.airbundle"

        def fill() -> None:
            free = os.statvfs(disk)
            (disk / "other").write_bytes(bytes(max(free.f_bavail * free.f_bsize - 100_000, 0)))

        answer = build_through(workshop, [hook(fill, path="/blobs/", skip=3, times=1)], output)
        assert answer.code == 7, answer.body
        assert "No space left" in answer.errors
        assert not output.exists()
        (disk / "other").unlink()
        seen = Fault("status", path="/blobs/", times=0)
        answer = build_through(workshop, [seen], output)
        assert answer.code == 0, answer.body
        assert seen.seen < 2 * len(names), "everything was fetched again"
        assert output.read_bytes() == want


def test_two_builds_of_one_file(workshop: Workshop) -> None:
    """The second is told so at once, by exit code 8 and with the number of the first's process."""
    workshop.put(images.tiny_image("app", sizes=(300_000,)), "app", "1")
    want = good(workshop, "app")
    output = workshop.root / "out.airbundle"
    others: list[subprocess.CompletedProcess[str]] = []

    def build_too() -> None:
        words = [
            "build",
            workshop.root / "inventory",
            "--no-installer",
            "--registries",
            workshop.root / "registries.yaml",
        ]
        words += ["-o", output, "--json", "--cache-dir", workshop.root / "cache-too"]
        command = [sys.executable, "-m", "airbundle", *map(str, words)]
        others.append(subprocess.run(command, capture_output=True, text=True, check=False))

    answer = build_through(workshop, [hook(build_too, path="/blobs/", times=1)], output)
    assert answer.code == 0, answer.body
    (other,) = others
    assert other.returncode == 8, other.stdout + other.stderr
    assert f"process {os.getpid()}" in other.stdout
    assert output.read_bytes() == want
