"""The rounds: airbundle, the floor and the peers do the same work, in turn, so that a busy machine is busy for all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import Corpus, make_corpus
from benchmarks.cost import Cost, Failed, run
from benchmarks.peers import Job, Peer
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage

FLOOR, OURS = "floor", "airbundle"
NAME = "bench-1.0.0.airbundle"
PASSPHRASE = "bench"
COLD, LOAD = "build, cold", "load, empty registry"
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""What the programs get of the caller's environment."""


@dataclass(frozen=True)
class Row:
    """A line of the table: who did what at what cost, round by round."""

    work: str
    who: str
    costs: tuple[Cost, ...]
    note: str = ""


class Rounds:
    """One directory with all that is measured."""

    def __init__(self, root: Path, megabytes: int, rounds: int, peers: list[Peer]) -> None:
        self._root, self._rounds, self._peers = root, rounds, peers
        self.corpus = make_corpus(root / "upstream", megabytes)
        # Nothing else of the caller's: no proxy, no configuration of theirs, no cluster.
        self._plain = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self._environment = {
            **self._plain,
            "HOME": str(root / "home"),
            "XDG_CACHE_HOME": str(root / "cache"),
            "XDG_STATE_HOME": str(root / "state"),
            "AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE,
        }
        (root / "home").mkdir()
        self._costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
        self._notes: dict[tuple[str, str], str] = {}
        self._failed: set[tuple[str, str]] = set()

    def run(self) -> list[Row]:
        """Do everything, several times; the first round warms up and does not count."""
        with run_registry(self._root / "source", storage=self.corpus.storage) as upstream:
            self._inventories(upstream)
            for number in range(self._rounds + 1):
                self._build(upstream)
                self._again()
                self._verify()
                self._load(number)
                self._bundle.unlink()
                for peer in self._peers:
                    self._peer(peer, upstream, number)
        return [
            Row(work, who, tuple(costs[1:]), self._notes.get((work, who), ""))
            for (work, who), costs in self._costs.items()
            if len(costs) > 1
        ]

    def _airbundle(self, *words: str | Path) -> Cost:
        return run([sys.executable, "-m", "airbundle", *words, "--quiet"], self._environment)[0]

    def _keep(self, work: str, who: str, cost: Cost, note: str = "") -> None:
        self._costs[work, who].append(cost)
        if note:
            self._notes[work, who] = note

    def _floor(self, work: str, kind: str, host: str, corpus: Corpus, *target: Path) -> None:
        listed = self._root / "jobs.json"
        jobs = [(name, blob.digest, blob.size, str(corpus.file(blob.digest))) for name, blob in corpus.blobs]
        listed.write_text(json.dumps(jobs))
        cost, said = run([sys.executable, "-m", "benchmarks.floors", kind, host, listed, *target])
        # Without the start of Python: a floor has none.
        self._keep(work, FLOOR, Cost(float(said), cost.cpu, cost.memory, cost.read, cost.written))

    def _inventories(self, upstream: Registry) -> None:
        mirrors = upstream.registries_yaml("up.test", plain=True)
        mirrors["mirrors"]["up.test"]["default_endpoint"] = False
        self._registries.write_text(json.dumps(mirrors))
        *names, last = (f"up.test/{repository}" for repository in self.corpus.images)
        for night, tag in (("today", 1), ("tonight", 2)):
            directory = self._root / night
            directory.mkdir()
            document = {
                "apiVersion": "airbundle.dev/v1",
                "kind": "Bundle",
                "metadata": {"name": "bench", "version": "1.0.0"},
                "images": [*(f"{name}:1" for name in names), {"ref": f"{last}:{tag}", "as": f"{last}:1"}],
            }
            (directory / "bundle.yaml").write_text(json.dumps(document))
            self._airbundle("lock", directory, "--registries", self._registries)
        self._airbundle("key", "generate", "-o", self._root / "release.key")

    def _build_words(self, night: str) -> tuple[str | Path, ...]:
        key = self._root / "release.key"
        return ("build", self._root / night, "--registries", self._registries, "--key", key)

    @property
    def _registries(self) -> Path:
        return self._root / "registries.yaml"

    @property
    def _bundle(self) -> Path:
        return self._root / NAME

    def _build(self, upstream: Registry) -> None:
        for name, extra in (("airbundle", ()), ("airbundle --no-checksum", ("--no-checksum",))):
            self._bundle.unlink(missing_ok=True)
            shutil.rmtree(self._root / "state", ignore_errors=True)
            cost = self._airbundle(*self._build_words("today"), *extra, "-o", self._bundle)
            self._keep(COLD, name, cost)
        self._floor(COLD, "build", upstream.host, self.corpus, self._root / "floor")
        (self._root / "floor").unlink()

    def _again(self) -> None:
        # The bundle as a user has it: with its checksums, and known to airbundle as its own work.
        self._bundle.unlink()
        self._airbundle(*self._build_words("today"), "-o", self._bundle)
        cost = self._airbundle(*self._build_words("today"), "-o", self._bundle)
        self._keep("build, nothing changed", OURS, cost)
        out = self._root / "tonight.airbundle"
        cost = self._airbundle(*self._build_words("tonight"), "--cache", self._bundle, "-o", out)
        self._keep("build, one small layer changed", OURS, cost, "--cache of the bundle before")
        out.unlink()
        cost, _ = run(["cp", self._bundle, out])
        self._keep("build, one small layer changed", "cp", cost, "of the bundle")
        out.unlink()

    def _verify(self) -> None:
        self._keep("verify", OURS, self._airbundle("verify", self._bundle))
        cost, _ = run(["openssl", "dgst", "-sha256", self._bundle])
        ways = min(len(os.sched_getaffinity(0)), self.corpus.size / self.corpus.largest)
        ideal = Cost(cost.seconds / ways, cost.cpu, cost.memory, cost.read, cost.written)
        self._keep("verify", FLOOR, ideal, f"openssl dgst -sha256 ÷ {ways:.1f}")
        self._keep("inspect", OURS, self._airbundle("inspect", self._bundle))

    def _load(self, number: int) -> None:
        public = self._root / "release.pub"
        with self._empty(f"ours-{number}") as target:
            state = self._root / "site"
            words = ("load", self._bundle, "--registry", target.url, "--key", public, "--state-dir", state)
            self._keep(LOAD, OURS, self._airbundle(*words))
            self._arrived(target, self.corpus.images.values())
            self._keep("load again", OURS, self._airbundle(*words), "HEADs only")
        with self._empty(f"floor-{number}") as target:
            self._floor(LOAD, "push", target.host, self.corpus)
            self._arrived(target)

    def _peer(self, peer: Peer, upstream: Registry, number: int) -> None:
        """Let a peer build and load. What it fails at it is not asked for again, and what needs that neither."""
        file, scratch = self._root / peer.file, self._root / peer.name
        try:
            with self._empty(f"{peer.name}-{number}") as target:
                for work, way, registry in ((COLD, peer.build, upstream), (LOAD, peer.load, target)):
                    if (work, peer.name) in self._failed:
                        break
                    cost = way.run(Job(registry.host, self.corpus.images, file, scratch), self._plain)
                    self._arrived(registry, self.corpus.images.values())
                    self._keep(work, peer.name, cost, way.note)
        except Failed as error:
            self._failed.add((work, peer.name))
            print(f"{peer.name} is left out of {work!r}: {error}", file=sys.stderr)
        finally:
            file.unlink(missing_ok=True)

    def _arrived(self, target: Registry, manifests: Iterable[str] = ()) -> None:
        """Raise Failed unless a registry has every blob, and these manifests."""
        storage = Storage(target.storage)
        wanted = [*manifests, *(blob.digest for _, blob in self.corpus.blobs)]
        missing = [digest for digest in wanted if not storage.blob_path(digest).is_file()]
        if missing:
            raise Failed(f"{len(missing)} of {len(wanted)} manifests and blobs did not arrive")

    @contextmanager
    def _empty(self, name: str) -> Iterator[Registry]:
        try:
            with run_registry(self._root / name) as registry:
                yield registry
        finally:
            shutil.rmtree(self._root / name)
