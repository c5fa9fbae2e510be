"""SIGKILL at many random moments: the same file and the same registry in the end, and little is fetched twice."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from airbundle.bundle.digest import sha256
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.test_install import skopeo
from tests.acceptance.workshop import AIRBUNDLE, Workshop
from tests.support.faults import faulty
from tests.support.process import free_port
from tests.support.registries import run_registry
from tests.support.storage import Storage
from tests.support.tls import Authority

KILLS = 30
MB = 1_000_000


def kill_after(seconds: float, command: Sequence[str | Path], workshop: Workshop, log: Path) -> bool:
    """Run `airbundle` for a while and kill it; tell whether it was still running."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in (AIRBUNDLE, *command)],
            cwd=workshop.root,
            env=workshop.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        time.sleep(seconds)
        ended = process.poll()
        process.kill()
        process.wait()
    # What it says of itself before it is killed is no failure.
    assert ended in (None, 0), log.read_text()[-4000:]
    return ended is None


def test_a_build(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    moments = random.Random()
    output = tmp_path / "out" / built.path.name
    output.parent.mkdir()
    log = tmp_path / "log"
    with run_registry(tmp_path / "r", storage=workshop.corpus.storage, read_only=True) as registry:
        with faulty(registry.url, rate=20 * MB) as proxy:
            document = json.loads(workshop.registries.read_text())
            for host in workshop.corpus.hosts:
                document["mirrors"][host]["endpoint"] = [proxy.url]
            registries = tmp_path / "registries.yaml"
            registries.write_text(json.dumps(document))
            words: list[str | Path] = ["build", built.inventory, "--registries", registries, "--key", workshop.key]
            words += ["-o", output]
            kills = 0
            while kills < KILLS and not output.exists():
                kills += kill_after(moments.uniform(0.1, 2.0), words, workshop, log)
            assert kills == KILLS, f"it was done after {kills} kills"
            proxy.rate = 0.0
            done = workshop.run(*words)
            assert done.code == 0, done.stderr
    assert subprocess.run(["cmp", built.path, output], check=False).returncode == 0
    assert proxy.sent < 1.2 * built.path.stat().st_size, f"{proxy.sent} bytes were fetched after {kills} kills"
    shutil.rmtree(output.parent)


def test_an_install_into_a_registry(
    workshop: Workshop, built: BuiltCorpus, authority: Authority, tmp_path: Path
) -> None:
    moments = random.Random()
    state = ["--state-dir", str(tmp_path / "state"), "--yes"]
    with run_registry(tmp_path / "r", tls=authority) as registry:
        words: list[str | Path] = ["install", built.path, "--key", workshop.public_key, *state]
        words += ["--registry", registry.url, "--registry-ca", str(registry.ca_file)]
        words += ["--listen", f"127.0.0.1:{free_port()}"]
        try:
            for _ in range(KILLS):
                kill_after(moments.uniform(0.1, 1.8), words, workshop, tmp_path / "log")
                images = {image.site_name: image.digest for image in workshop.corpus.images}
                there = Storage(registry.storage).tags()
                assert all(there[name] == digest for name, digest in images.items() if name in there)
            done = workshop.run(*words)
            assert done.code == 0, done.stderr
            for image in workshop.corpus.images:
                assert sha256(skopeo(registry, image.site_name, tmp_path / "certs")) == image.digest
            again = workshop.do(*words)
            assert again["changed"] is False
        finally:
            workshop.run("uninstall", *state)
    shutil.rmtree(tmp_path / "r")


def test_an_install_of_its_own_server(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    moments = random.Random()
    state = ["--state-dir", str(tmp_path / "state"), "--yes"]
    words: list[str | Path] = ["install", built.path, "--key", workshop.public_key, *state]
    words += ["--listen", f"127.0.0.1:{free_port()}"]
    try:
        for _ in range(KILLS // 4):
            kill_after(moments.uniform(0.1, 4.0), words, workshop, tmp_path / "log")
        done = workshop.run(*words)
        assert done.code == 0, done.stderr
        status = workshop.do("status", *state[:2])
        assert status["healthy"], status["findings"]
    finally:
        workshop.run("uninstall", *state)
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
