"""The faults are what they say, seen by httpx in front of a real registry."""

from __future__ import annotations

import uuid

import httpx
import pytest

from tests.support.faults import Fault, faulty
from tests.support.images import noise
from tests.support.registries import Registry
from tests.support.storage import Storage

DATA = noise("faults", 300_000)


@pytest.fixture
def blob(plain_registry: Registry) -> str:
    storage = Storage(plain_registry.storage)
    repository = f"faults/{uuid.uuid4().hex}"
    digest = storage.put_bytes(DATA)
    storage.link_blob(repository, digest)
    return f"/v2/{repository}/blobs/{digest}"


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=10)


def test_nothing_wrong(plain_registry: Registry, blob: str) -> None:
    with faulty(plain_registry.url, []) as proxy:
        assert get(proxy.url + blob).content == DATA
        assert get(proxy.url + blob, Range="bytes=10-19").content == DATA[10:20]
        assert proxy.requests[-1] == ("GET", blob, "bytes=10-19")


@pytest.mark.parametrize(("kind", "error"), [("reset", httpx.ReadError), ("truncate", httpx.RemoteProtocolError)])
def test_ends_early_once(plain_registry: Registry, blob: str, kind: str, error: type[Exception]) -> None:
    fault = Fault("reset" if kind == "reset" else "truncate", path="/blobs/", after=100_000, times=1)
    with faulty(plain_registry.url, [fault]) as proxy:
        with pytest.raises(error):
            get(proxy.url + blob)
        assert get(proxy.url + blob).content == DATA


def test_status_and_retry_after(plain_registry: Registry, blob: str) -> None:
    faults = [Fault("status", status=429, retry_after="3", times=1), Fault("status", status=504, every=2)]
    with faulty(plain_registry.url, faults) as proxy:
        first = get(proxy.url + blob)
        assert (first.status_code, first.headers["retry-after"]) == (429, "3")
        assert [get(proxy.url + blob).status_code for _ in range(4)] == [200, 504, 200, 504]


def test_wrong_bytes_ignored_range_and_stall(plain_registry: Registry, blob: str) -> None:
    faults = [
        Fault("wrong-bytes", after=5, times=1),
        Fault("no-range", times=1),
        Fault("stall", after=9, seconds=0.05, times=1),
    ]
    with faulty(plain_registry.url, faults) as proxy:
        spoiled = get(proxy.url + blob).content
        assert (spoiled[:5], spoiled[5], spoiled[6:]) == (DATA[:5], DATA[5] ^ 1, DATA[6:])
        assert get(proxy.url + blob, Range="bytes=10-19").status_code == 200
        assert get(proxy.url + blob).content == DATA


def test_uploads_pass(plain_registry: Registry) -> None:
    with faulty(plain_registry.url, []) as proxy:
        begun = httpx.post(f"{proxy.url}/v2/faults/up/blobs/uploads/", trust_env=False)
        assert begun.status_code == 202
        place = begun.headers["location"]
        patched = httpx.patch(place, content=iter([b"ab", b"cd"]), trust_env=False)
        assert (patched.status_code, patched.headers["range"]) == (202, "0-3")
