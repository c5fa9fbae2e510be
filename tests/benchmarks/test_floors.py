"""The floors do what they are measured at, or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import floors
from benchmarks.corpus import make_corpus
from tests.support.registries import run_registry
from tests.support.storage import Storage


def test_a_floor_does_all_or_fails(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "upstream", 1)
    jobs = [(name, blob.digest, blob.size, str(corpus.file(blob.digest))) for name, blob in corpus.blobs]
    target = tmp_path / "floor"
    with run_registry(tmp_path / "source", storage=corpus.storage) as source:
        floors.build(source.host, jobs, str(target))
        assert target.read_bytes() == b"".join(corpus.file(digest).read_bytes() for _, digest, _, _ in jobs)
        corpus.file(jobs[-1][1]).unlink()
        with pytest.raises(AssertionError):
            floors.build(source.host, jobs, str(target))
    with run_registry(tmp_path / "target") as registry:
        floors.push(registry.host, jobs[:-1])
        assert all(Storage(registry.storage).blob_path(digest).is_file() for _, digest, _, _ in jobs[:-1])
        with pytest.raises(FileNotFoundError):
            floors.push(registry.host, jobs[-1:])
