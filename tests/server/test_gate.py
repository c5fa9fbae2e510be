"""No blob before its digest has verified: one worker, several, damage, and files that change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airbundle.bundle.serving import fingerprint
from airbundle.errors import DigestMismatch
from airbundle.server.gate import Gate
from airbundle.store.reader import BundleFile, open_bundle
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = make_images({f"docker.io/team/x{i}:1": tiny_image(f"x{i}", sizes=(5000, 70000)) for i in range(3)})
    write_bundle(tmp_path / "x.airbundle", made)
    return tmp_path / "x.airbundle"


@contextmanager
def gate_of(path: Path, *, verified: bool = False) -> Iterator[tuple[Gate, BundleFile]]:
    with open_bundle([path]) as bundle:
        gate = Gate(bundle, [fingerprint(path.stat())] if verified else ())
        yield gate, bundle
        gate.close()


def damage(path: Path, digest: str) -> None:
    with open_bundle([path]) as bundle:
        (_, offset, _), *_ = bundle.segments(digest)
    with path.open("r+b") as stream:
        stream.seek(offset + 10)
        byte = stream.read(1)[0]
        stream.seek(offset + 10)
        stream.write(bytes([byte ^ 1]))


def test_a_blob_is_hashed_when_it_is_asked_for(path: Path) -> None:
    with gate_of(path) as (gate, bundle):
        assert gate.counts() == (0, 0)
        gate.admit(bundle.toc.blobs[0][0])
        assert gate.counts() == (1, 0)


def test_all_are_hashed_in_the_background(path: Path) -> None:
    with gate_of(path) as (gate, bundle):
        gate.prove_all(threading.Event())
        assert gate.counts() == (len(bundle.toc.blobs), 0)


def test_a_stop_ends_the_background_pass(path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with gate_of(path) as (gate, _):
        gate.prove_all(stop)
        assert gate.counts() == (0, 0)


def test_a_damaged_blob_is_never_admitted(path: Path) -> None:
    with open_bundle([path]) as bundle:
        digest = bundle.toc.blobs[-1][0]
    damage(path, digest)
    with gate_of(path) as (gate, bundle):
        for _ in range(2):
            with pytest.raises(DigestMismatch, match=digest):
                gate.admit(digest)
        gate.prove_all(threading.Event())
        assert gate.counts() == (len(bundle.toc.blobs) - 1, 1)
        assert list(gate.damaged()) == [digest]


def test_an_installers_word_is_taken_while_the_file_is_the_same(path: Path) -> None:
    with gate_of(path, verified=True) as (gate, bundle):
        assert gate.counts() == (len(bundle.toc.blobs), 0)
        assert gate.is_proven


def test_an_installers_word_is_not_taken_for_another_file(path: Path) -> None:
    old = fingerprint(path.stat())
    os.utime(path)
    with open_bundle([path]) as bundle:
        gate = Gate(bundle, [old])
        assert gate.counts() == (0, 0)
        assert not gate.is_proven
        gate.close()


def test_a_change_under_the_open_file_is_noticed(path: Path) -> None:
    with gate_of(path, verified=True) as (gate, bundle):
        digest, other = bundle.toc.blobs[-1][0], bundle.toc.blobs[-2][0]
        gate.admit(digest)
        damage(path, digest)
        with pytest.raises(DigestMismatch):
            gate.admit(digest)
        assert gate.counts() == (0, 1)
        gate.admit(other)
        # And mended again.
        damage(path, digest)
        gate.admit(digest)
        assert list(gate.damaged()) == []


def test_a_file_that_was_cut_off_is_damaged(path: Path) -> None:
    with gate_of(path, verified=True) as (gate, bundle):
        digest = bundle.toc.blobs[-1][0]
        os.truncate(path, bundle.segments(digest)[0][1] + 5)
        with pytest.raises(DigestMismatch):
            gate.admit(digest)


def test_threads_and_processes_share_what_is_proven(path: Path) -> None:
    with gate_of(path) as (gate, bundle):
        digests = [digest for digest, _ in bundle.toc.blobs]
        child = os.fork()
        if child == 0:
            try:
                gate.prove_all(threading.Event())
            finally:
                os._exit(0)
        threads = [threading.Thread(target=gate.admit, args=(digest,)) for digest in digests * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert os.waitpid(child, 0)[1] == 0
        assert gate.counts() == (len(digests), 0)


def test_a_child_that_dies_while_it_hashes_leaves_no_lock(path: Path) -> None:
    with gate_of(path) as (gate, bundle):
        digest = bundle.toc.blobs[0][0]
        child = os.fork()
        if child == 0:
            with gate._locked(0, True):
                os._exit(0)
        os.waitpid(child, 0)
        gate.admit(digest)
        assert gate.counts() == (1, 0)
