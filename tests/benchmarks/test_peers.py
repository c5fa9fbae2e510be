"""Every peer on this machine does the whole job over plain HTTP: what it is measured at is the work that we do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.corpus import make_corpus
from benchmarks.cost import Failed
from benchmarks.peers import ADAPTERS, TOOLS, Job, Way, find_peers
from tests.support.registries import run_registry
from tests.support.storage import Storage

PATH = f"{TOOLS}:{os.environ['PATH']}"
ENVIRONMENT = {"PATH": os.environ["PATH"]}


def _peer(name: str) -> object:
    # scripts/test sees to the first two; who has the others tests them, too.
    there = name in {"skopeo", "regctl"} or shutil.which(name, path=PATH)
    return pytest.param(name, marks=() if there else pytest.mark.skip(reason=f"no {name} on the PATH"))


@pytest.mark.parametrize("name", [_peer(name) for name in ADAPTERS])
def test_all_images_get_through(name: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "upstream", 1)
    images = dict(list(corpus.images.items())[:3])
    blobs = [blob for repository, blob in corpus.blobs if repository in images]
    (peer,) = (peer for peer in find_peers(PATH) if peer.name == name)
    file, scratch = tmp_path / peer.file, tmp_path / "scratch"
    with run_registry(tmp_path / "source", storage=corpus.storage) as source:
        built = peer.build.run(Job(source.host, images, file, scratch), ENVIRONMENT)
    with run_registry(tmp_path / "target") as target:
        loaded = peer.load.run(Job(target.host, images, file, scratch), ENVIRONMENT)
    assert min(built.cpu, loaded.cpu) > 0
    wanted = [*images.values(), *(blob.digest for blob in blobs)]
    there = Storage(target.storage)
    assert [digest for digest in wanted if not there.blob_path(digest).is_file()] == []
    assert not scratch.exists()


def test_who_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "imgpkg").write_text("#!/bin/sh\n")
    (tmp_path / "imgpkg").chmod(0o755)
    assert [peer.name for peer in find_peers(str(tmp_path))] == ["imgpkg"]
    assert capsys.readouterr().err == "not on the PATH, and left out: skopeo, regctl, hauler, zarf\n"


def test_a_failure_tells_what_the_program_said_and_leaves_nothing(tmp_path: Path) -> None:
    way = Way(lambda job: [["touch", job.scratch / "x"], ["sh", "-c", "echo one >&2; echo two >&2; exit 3"]], "")
    with pytest.raises(Failed, match=r"^sh -c .* ended with 3: two$"):
        way.run(Job("127.0.0.1:1", {}, tmp_path / "file", tmp_path / "scratch"), ENVIRONMENT)
    assert list(tmp_path.iterdir()) == []
