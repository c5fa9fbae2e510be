from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.errors import DigestMismatch, NotFound, RemoteError, Unreachable
from airbundle.store.cache import Cache
from airbundle.transfer import files
from airbundle.transfer.credentials import CredentialStore
from airbundle.transfer.files import fetch_file
from airbundle.transfer.http import HttpClient
from tests.support.images import noise
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

DATA = noise("file", 3_000_000)
DIGEST = sha256(DATA)
TYPE = "application/octet-stream"

Script = Callable[[Turn, int], None]


def serving(turn: Turn, number: int) -> None:
    turn.blob(DATA)


def broken_twice(turn: Turn, number: int) -> None:
    turn.blob(DATA, short=1_500_000 if turn.command == "GET" and number < 4 else 0)


def broken_without_ranges(turn: Turn, number: int) -> None:
    turn.blob(DATA, ranges=False, short=1_500_000 if turn.command == "GET" and number < 4 else 0)


def without_head(turn: Turn, number: int) -> None:
    if turn.command == "HEAD":
        turn.reply(405)
    else:
        turn.blob(DATA, short=1_000_000 if number == 2 else 0)


def chunked(turn: Turn, number: int) -> None:
    turn.reply(200, b"", {"Transfer-Encoding": "chunked"})
    if turn.command == "GET":
        # The first answer breaks off in the middle of a chunk.
        for start in range(0, len(DATA), 500_000):
            piece = DATA[start : start + 500_000]
            if number == 2 and start:
                turn.wfile.write(b"%x\r\n" % len(piece) + piece[:1000])
                turn.close_connection = True
                return
            turn.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        turn.wfile.write(b"0\r\n\r\n")


def until_the_end(turn: Turn, number: int) -> None:
    """As HTTP/1.0: the end of the connection is the end of the file, also when it comes too early."""
    turn.protocol_version = "HTTP/1.0"
    turn.send_response(200)
    turn.end_headers()
    if turn.command == "GET":
        turn.wfile.write(DATA[:1000] if number == 2 else DATA)
    turn.close_connection = True


def fetched(script: Script, cache: Cache, digest: str = DIGEST) -> FaultServer:
    with fault_server(script) as server, HttpClient(FAST, credentials=CredentialStore()) as http:
        blob = fetch_file(http, f"{server.url}/dir/tool.tar.gz?v=1", digest, cache, TYPE)
    assert (blob.digest, blob.size, blob.media_type) == (DIGEST, len(DATA), TYPE)
    assert cache.read(DIGEST, len(DATA)) == DATA
    assert list((cache.root / "tmp").iterdir()) == []
    return server


@pytest.mark.parametrize("script", [serving, broken_twice, broken_without_ranges, without_head, chunked, until_the_end])
def test_a_file_arrives(tmp_path: Path, script: Script) -> None:
    fetched(script, Cache(tmp_path))


def test_a_fault_is_continued_in_the_middle(tmp_path: Path) -> None:
    server = fetched(broken_twice, Cache(tmp_path))
    ranges = [seen.header("Range") for seen in server.requests if seen.method == "GET"]
    # The second answer holds no byte before it breaks off: 1500000 bytes are left, and as many are cut.
    assert ranges == [None, "bytes=1500000-", "bytes=1500000-"]


def test_a_file_that_the_cache_has_is_not_asked_for(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.add(DATA, TYPE)
    assert fetched(serving, cache).requests == []


@pytest.mark.parametrize("script", [serving, without_head, until_the_end])
def test_other_bytes_are_refused(tmp_path: Path, script: Script) -> None:
    cache = Cache(tmp_path)
    wanted = sha256(b"other")
    with pytest.raises(DigestMismatch, match=rf"tool\.tar\.gz.*digest {DIGEST}, expected {wanted}, twice") as caught:
        fetched(script, cache, wanted)
    assert "new sha256" in caught.value.hint
    assert not cache.has(wanted)
    assert not cache.has(DIGEST)
    assert list((cache.root / "tmp").iterdir()) == []


def test_what_is_not_there(tmp_path: Path) -> None:
    def missing(turn: Turn, number: int) -> None:
        turn.reply(404, b"no")

    with pytest.raises(NotFound, match="answered 404"):
        fetched(missing, Cache(tmp_path))
    with HttpClient(FAST, credentials=CredentialStore()) as http:
        with pytest.raises(Unreachable):
            fetch_file(http, "http://127.0.0.1:1/x", DIGEST, Cache(tmp_path), TYPE)
        with pytest.raises(RemoteError) as caught:
            fetch_file(http, "https://user:s3cret@host\n/x", DIGEST, Cache(tmp_path), TYPE)
        assert "s3cret" not in str(caught.value)


def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(tmp_path: Path) -> None:
    def broken(turn: Turn, number: int) -> None:
        if turn.command == "HEAD":
            turn.reply(405)
        else:
            turn.blob(DATA, short=1_000_000)

    patience = replace(FAST, retry_time=0.5)
    with fault_server(broken) as server, HttpClient(patience, credentials=CredentialStore()) as http:
        with pytest.raises(Unreachable, match=r"too early \(after \d+ attempts\)"):
            fetch_file(http, f"{server.url}/x", DIGEST, Cache(tmp_path), TYPE)


def test_endless_files_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILE_LIMIT", 1_000_000)
    with pytest.raises(RemoteError, match="claims 3000000 bytes"):
        fetched(serving, Cache(tmp_path))
    with pytest.raises(RemoteError, match="sends more than 1000000 bytes"):
        fetched(chunked, Cache(tmp_path))
    assert list((tmp_path / "tmp").iterdir()) == []
