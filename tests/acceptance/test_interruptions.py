"""Cut off and run again, and networks as they are: the same bytes come out, and what was done is not done twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from airbundle.bundle.digest import sha256
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.test_install import skopeo
from tests.acceptance.workshop import AIRBUNDLE, Workshop
from tests.support.faults import Fault, faulty
from tests.support.process import free_port
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage
from tests.support.tls import Authority

DIGEST = re.compile(r"digest=sha256%3A([0-9a-f]{64})")
MIB = 1024 * 1024
PATIENCE = 120.0
"""Seconds until a test gives up waiting; no performance bar."""


def kill_when(command: Sequence[str | Path], workshop: Workshop, far_enough: Callable[[], bool]) -> None:
    """Run `airbundle` and kill it (SIGKILL, all its threads at once) when it is far enough."""
    process = subprocess.Popen(
        [str(word) for word in (AIRBUNDLE, *command)],
        cwd=workshop.root,
        env=workshop.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + PATIENCE
    try:
        while not far_enough():
            assert process.poll() is None, f"it ended with {process.returncode} before it could be killed"
            assert time.monotonic() < end, "it did not come far enough"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def stored(registry: Registry) -> int:
    """Return how many bytes of blobs a registry has."""
    return sum(path.stat().st_size for path in registry.storage.glob("docker/registry/v2/blobs/**/data"))


def fetched(registry: Registry) -> int:
    """Return how many bytes of blobs a registry has sent."""
    return sum(r.sent for r in registry.requests() if r.method == "GET" and "/blobs/" in r.path and r.status < 300)


def test_a_build_that_was_killed_goes_on(
    workshop: Workshop, built: BuiltCorpus, authority: Authority, tmp_path: Path
) -> None:
    with run_registry(tmp_path / "r", tls=authority, storage=workshop.corpus.storage, read_only=True) as registry:
        registries = tmp_path / "registries.yaml"
        document = json.loads(workshop.registries.read_text())
        own = registry.registries_yaml(*workshop.corpus.hosts)
        document["mirrors"].update(own["mirrors"])
        document["configs"].update(own["configs"])
        registries.write_text(json.dumps(document))
        words: list[str | Path] = ["build", built.inventory, "--registries", registries, "--key", workshop.key]
        words += ["-o", tmp_path / "out"]
        (tmp_path / "out").mkdir()
        # The access log has a line once a blob is sent whole.
        kill_when(words, workshop, lambda: fetched(registry) >= 100 * MIB)
        before = fetched(registry)
        assert not (tmp_path / "out" / built.path.name).exists()
        done = workshop.run(*words)
        assert done.code == 0, done.stderr
        again = fetched(registry) - before
        assert subprocess.run(["cmp", built.path, tmp_path / "out" / built.path.name], check=False).returncode == 0
        # What the registry had sent may still have been on its way to the killed build: a few MiB for each connection.
        assert again <= workshop.corpus.size - 50 * MIB
    shutil.rmtree(tmp_path / "out")


def test_a_build_through_a_bad_network(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    faults = [
        Fault("status", status=503, every=9),
        Fault("status", status=429, retry_after="1", times=2, skip=3),
        Fault("reset", path="/blobs/", after=300_000, every=5, times=5),
        Fault("truncate", path="/blobs/", after=20 * MIB, times=2),
        Fault("wrong-bytes", path="/blobs/", after=1 * MIB, times=1),
        Fault("no-range", path="/blobs/", times=2),
    ]
    with ExitStack() as stack:
        registry = stack.enter_context(run_registry(tmp_path / "r", storage=workshop.corpus.storage, read_only=True))
        proxy = stack.enter_context(faulty(registry.url, faults))
        document = json.loads(workshop.registries.read_text())
        for host in workshop.corpus.hosts:
            document["mirrors"][host]["endpoint"] = [proxy.url]
        registries = tmp_path / "registries.yaml"
        registries.write_text(json.dumps(document))
        output = tmp_path / built.path.name
        words: list[str | Path] = ["build", built.inventory, "--registries", registries, "--key", workshop.key]
        words += ["-o", output]
        done = workshop.run(*words)
        assert done.code == 0, done.stderr
        assert all(fault.done for fault in faults if fault.kind != "no-range"), faults
        assert subprocess.run(["cmp", built.path, output], check=False).returncode == 0
    output.unlink()


def test_an_install_that_was_killed_goes_on(
    workshop: Workshop, built: BuiltCorpus, authority: Authority, tmp_path: Path
) -> None:
    state = ["--state-dir", str(tmp_path / "state"), "--yes"]
    with run_registry(tmp_path / "r", tls=authority) as registry:
        words: list[str | Path] = ["install", built.path, "--key", workshop.public_key, *state]
        words += ["--registry", registry.url, "--registry-ca", str(registry.ca_file)]
        words += ["--listen", f"127.0.0.1:{free_port()}"]
        kill_when(words, workshop, lambda: stored(registry) >= 150 * MIB)
        assert Storage(registry.storage).tags() == {}, "a tag appeared before every blob was there"
        try:
            done = workshop.run(*words)
            assert done.code == 0, done.stderr
            for image in workshop.corpus.images:
                assert sha256(skopeo(registry, image.site_name, tmp_path / "certs")) == image.digest
        finally:
            workshop.run("uninstall", *state)
        pushed = [DIGEST.findall(r.path)[-1] for r in registry.uploads() if r.method == "PUT" and "/uploads/" in r.path]
        assert len(pushed) - len(set(pushed)) <= 4  # what the four connections had in hand
    shutil.rmtree(tmp_path / "r")
