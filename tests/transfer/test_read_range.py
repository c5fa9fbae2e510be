"""A range of a blob, from registries as they are: some know ranges, some don't, and some break off."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import Descriptor
from airbundle.errors import NotFound, RemoteError
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registry import RegistryClient
from tests.support.faults import Fault, faulty
from tests.support.images import noise
from tests.support.registries import Registry
from tests.support.storage import Storage

DATA = noise("range", 500_000)
BLOB = Descriptor("application/octet-stream", sha256(DATA), len(DATA))


@pytest.fixture(scope="module", autouse=True)
def _stored(plain_registry: Registry) -> None:
    storage = Storage(plain_registry.storage)
    storage.put_bytes(DATA)
    storage.link_blob("ranges/x", BLOB.digest)


def read(url: str, start: int, count: int, blob: Descriptor = BLOB) -> bytes:
    with RegistryClient(Registries().with_registry(url)) as client:
        return client.repository(f"{url.partition('://')[2]}/ranges/x").read_range(blob, start, count)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, len(DATA)), (1000, 70_000), (len(DATA) - 1, 1)])
@pytest.mark.parametrize(
    "faults",
    [[], [Fault("no-range")], [Fault("reset", after=500, times=1)], [Fault("status", times=2)]],
    ids=["range", "no-range", "reset", "busy"],
)
def test_the_bytes_asked_for(plain_registry: Registry, start: int, count: int, faults: list[Fault]) -> None:
    for fault in faults:
        fault.done = fault.seen = 0
    with faulty(plain_registry.url, faults) as proxy:
        assert read(f"http://{proxy.host}", start, count) == DATA[start : start + count]


def test_a_blob_that_is_shorter_than_said(plain_registry: Registry) -> None:
    longer = Descriptor("", BLOB.digest, len(DATA) + 1000)
    with pytest.raises(RemoteError):
        read(plain_registry.url, len(DATA) - 10, 20, longer)
    with pytest.raises(RemoteError):
        read(plain_registry.url, len(DATA) + 10, 20, longer)


def test_a_blob_that_is_not_there(plain_registry: Registry) -> None:
    with pytest.raises(NotFound):
        read(plain_registry.url, 0, 10, Descriptor("", "sha256:" + "ab" * 32, 100))


@pytest.mark.parametrize("status", ["200 OK", "206 Partial Content"])
def test_a_body_without_end_is_not_taken(status: str) -> None:
    endless = Descriptor("", BLOB.digest, 1 << 40)

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(f"HTTP/1.1 {status}\r\nContent-Length: {1 << 40}\r\n\r\n".encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RemoteError, match="sent a body of more than"):
            read(f"http://127.0.0.1:{server.server_port}", 0, 10, endless)
        server.shutdown()
