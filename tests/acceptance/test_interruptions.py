"""Cut off and run again, and networks as they are: the same bytes come out, and what was done is not done twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.store.reader import open_bundle
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.test_install import skopeo
from tests.acceptance.workshop import AIRBUNDLE, Workshop
from tests.support.faults import Fault, faulty
from tests.support.process import free_port
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage
from tests.support.tls import Authority

DIGEST = re.compile(r"digest=sha256%3A([0-9a-f]{64})")
BLOB = re.compile("/blobs/sha256:([0-9a-f]{64})")
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


@dataclass(frozen=True)
class Remains:
    """What a killed build has left: digests of whole blobs, and how many bytes of others its journal answers for."""

    done: frozenset[str]
    parts: dict[str, int]

    @classmethod
    def of(cls, journal: Path) -> Remains:
        """Read a journal."""
        records = [line.split() for line in journal.read_text().splitlines()]
        parts = {f"sha256:{words[1]}": int(words[2]) for words in records if words[:1] == ["part"]}
        done = frozenset(f"sha256:{words[1]}" for words in records if words[:1] == ["done"])
        return cls(done, {digest: count for digest, count in parts.items() if digest not in done})


def written(partial: Path, whole: Path, digest: str) -> int:
    """Return how many bytes of a blob, from its start, stand in a bundle that is not finished."""
    with open_bundle([whole]) as bundle, partial.open("rb") as some, whole.open("rb") as every:
        member = bundle.table[digest]
        for stream in (some, every):
            stream.seek(member.offset)
        count = 0
        while count < member.size:
            wanted = min(64 * 1024, member.size - count)
            one, other = some.read(wanted), every.read(wanted)
            if one != other:
                return count + next((at for at, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), len(one))
            count += wanted
        return count


def test_a_build_that_was_killed_goes_on(
    workshop: Workshop, built: BuiltCorpus, authority: Authority, tmp_path: Path
) -> None:
    """Exactly what the journal does not answer for is fetched, and of what was written it lacks little.

    What a registry has sent is no measure: tens of megabytes of it may lie in the kernel's buffers when a process is
    killed, and its log tells of broken requests at any later time. So each run has a registry of its own.
    """
    output = tmp_path / "out" / built.path.name
    partial, journal = (output.with_name(output.name + end) for end in (".partial", ".partial.journal"))
    output.parent.mkdir()

    def words(registry: Registry) -> list[str | Path]:
        registries = tmp_path / "registries.yaml"
        document = json.loads(workshop.registries.read_text())
        own = registry.registries_yaml(*workshop.corpus.hosts)
        document["mirrors"].update(own["mirrors"])
        document["configs"].update(own["configs"])
        registries.write_text(json.dumps(document))
        return ["build", built.inventory, "--registries", registries, "--key", workshop.key, "-o", output]

    def far_enough() -> bool:
        return journal.exists() and sum(Remains.of(journal).parts.values()) >= 60 * MIB

    with run_registry(tmp_path / "1", tls=authority, storage=workshop.corpus.storage, read_only=True) as registry:
        kill_when(words(registry), workshop, far_enough)
    assert not output.exists()
    left = Remains.of(journal)
    begun = {digest: written(partial, built.path, digest) for digest in left.parts}
    # A connection's share of the journal is 1 MiB behind at most, and one buffer of 256 KiB.
    assert all(0 <= begun[digest] - noted < 1.25 * MIB for digest, noted in left.parts.items()), (begun, left.parts)

    with run_registry(tmp_path / "2", tls=authority, storage=workshop.corpus.storage, read_only=True) as registry:
        done = workshop.run(*words(registry))
        assert done.code == 0, done.stderr
    sent = {f"sha256:{m[1]}": r.sent for r in registry.requests() if r.method == "GET" and (m := BLOB.search(r.path))}
    assert not set(sent) & left.done
    with open_bundle([built.path]) as bundle:
        expected = {digest: bundle.blob_size(digest) - count for digest, count in left.parts.items()}
    assert {digest: sent.get(digest, 0) for digest in expected} == expected
    assert subprocess.run(["cmp", built.path, output], check=False).returncode == 0
    shutil.rmtree(output.parent)


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
