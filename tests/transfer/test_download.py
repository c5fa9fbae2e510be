from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, NotFound, RemoteError, Unreachable
from airbundle.transfer.credentials import CredentialStore
from airbundle.transfer.download import BUFFER_SIZE, Download
from airbundle.transfer.http import HttpClient
from airbundle.transfer.proxies import Proxies
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.wire import Url
from tests.transfer.servers import FAST, Seen, Turn, fault_server

DATA = bytes(range(256)) * 12_000  # almost 3 MiB, so that it does not fit into one buffer


def descriptor(data: bytes) -> Descriptor:
    return Descriptor("application/x", "sha256:" + hashlib.sha256(data).hexdigest(), len(data))


class Target:
    """Where bytes go; keeps the offsets in the order in which they came."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.offsets: list[int] = []

    def __call__(self, offset: int, data: memoryview) -> None:
        assert offset <= len(self.data)
        self.offsets.append(offset)
        self.data[offset : offset + len(data)] = data


@contextmanager
def http_client(patience: HttpSettings = FAST) -> Iterator[HttpClient]:
    with HttpClient(patience, credentials=CredentialStore(), proxies=Proxies()) as http:
        yield http


def fetch(
    script: Callable[[Turn, int], None],
    data: bytes = DATA,
    *,
    start: int = 0,
    patience: HttpSettings = FAST,
    target: Target | None = None,
) -> list[Seen]:
    """Fetch `data` from a server that does as `script` says; return the requests."""
    target = target or Target(data[:start])
    with fault_server(script) as server, http_client(patience) as http:
        hasher = hashlib.sha256(data[:start])
        Download(http, "thing: fetch", descriptor(data), target, start, hasher).run(Url.parse(f"{server.url}/blob"))
    assert bytes(target.data) == data
    return server.requests


def ranges(requests: list[Seen]) -> list[str | None]:
    return [seen.header("Range") for seen in requests]


@pytest.mark.parametrize("size", [0, 1, 65535, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 3 * BUFFER_SIZE + 7])
def test_sizes(size: int) -> None:
    data = (DATA * 2)[:size]
    requests = fetch(lambda turn, n: turn.blob(data), data)
    assert ranges(requests) == ([None] if size else [])


def test_goes_on_in_the_middle() -> None:
    requests = fetch(lambda turn, n: turn.blob(DATA, short=1_500_000 if n == 1 else 1000 if n == 2 else 0))
    first, second, third = ranges(requests)
    assert first is None
    assert second == f"bytes={len(DATA) - 1_500_000}-"
    assert third == f"bytes={len(DATA) - 1000}-"


def test_a_reset_in_the_middle() -> None:
    def script(turn: Turn, n: int) -> None:
        if n == 1:
            turn.send_response(200)
            turn.send_header("Content-Length", str(len(DATA)))
            turn.end_headers()
            turn.wfile.write(DATA[:2_000_000])
            turn.wfile.flush()
            turn.reset()
        else:
            turn.blob(DATA)

    assert len(fetch(script)) == 2


def test_no_ranges_means_from_the_start() -> None:
    target = Target()
    requests = fetch(lambda turn, n: turn.blob(DATA, ranges=False, short=1000 if n == 1 else 0), target=target)
    assert ranges(requests)[1] is not None
    assert target.offsets.count(0) == 2


def test_a_server_without_ranges_that_always_breaks_off_is_given_up() -> None:
    patience = replace(FAST, retry_time=0.1)
    with pytest.raises(Unreachable, match="bytes too early"):
        fetch(lambda turn, n: turn.blob(DATA, ranges=False, short=1000), patience=patience)


def test_a_server_that_gives_a_little_each_time_is_not_given_up() -> None:
    """Progress fills the budget: thirty breaks in one blob, with a budget for hardly one."""
    data = DATA[:300_000]

    def script(turn: Turn, n: int) -> None:
        first = int(str(turn.headers.get("Range", "bytes=0-"))[6:-1])
        turn.blob(data, short=max(0, len(data) - first - 10_000))

    assert len(fetch(script, data, patience=replace(FAST, retry_time=1, backoff_limit=0.001))) == 30


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 5-9/10"},
        {"Content-Range": "nonsense"},
        {},
        {"Content-Range": f"bytes {len(DATA) - 1000}-{len(DATA) - 1}/{len(DATA) + 1}"},
    ],
)
def test_another_range_than_asked_for(headers: dict[str, str]) -> None:
    def script(turn: Turn, n: int) -> None:
        if n == 1:
            turn.blob(DATA, short=1000)
        elif n == 2:
            turn.reply(206, DATA[-1000:], headers)
        else:
            turn.blob(DATA)

    requests = fetch(script)
    assert ranges(requests)[2] is None


def test_416_begins_again() -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(416) if n == 2 else turn.blob(DATA, short=1000 if n == 1 else 0)

    assert ranges(fetch(script))[2] is None


def test_a_start_given_by_the_caller() -> None:
    target = Target(DATA[:1_000_000])
    requests = fetch(lambda turn, n: turn.blob(DATA), start=1_000_000, target=target)
    assert ranges(requests) == ["bytes=1000000-"]
    assert target.offsets[0] == 1_000_000


def test_everything_there_already() -> None:
    assert fetch(lambda turn, n: turn.blob(DATA), start=len(DATA)) == []


def test_wrong_bytes_before_the_start_are_found_and_replaced() -> None:
    target = Target(b"x" * 1000)
    with fault_server(lambda turn, n: turn.blob(DATA)) as server, http_client() as http:
        hasher = hashlib.sha256(b"x" * 1000)
        Download(http, "thing", descriptor(DATA), target, 1000, hasher).run(Url.parse(server.url))
    assert ranges(server.requests) == ["bytes=1000-", None]
    assert bytes(target.data) == DATA


def test_wrong_bytes_once() -> None:
    wrong = b"X" + DATA[1:]
    assert len(fetch(lambda turn, n: turn.blob(wrong if n == 1 else DATA))) == 2


@pytest.mark.parametrize(
    ("served", "found"),
    [
        (b"X" + DATA[1:], "bytes of digest sha256:"),
        (DATA[:-1] + b"X", "bytes of digest sha256:"),
        (DATA[:-1], f"{len(DATA) - 1} bytes, expected {len(DATA)}"),
        (DATA + b"X", f"{len(DATA) + 1} bytes, expected {len(DATA)}"),
    ],
    ids=["first byte", "last byte", "shorter", "longer"],
)
def test_wrong_bytes_always(served: bytes, found: str) -> None:
    with pytest.raises(DigestMismatch, match=re.escape(found)) as caught:
        fetch(lambda turn, n: turn.blob(served))
    assert caught.value.problem.startswith("thing: fetch: 127.0.0.1:")
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("extra", [0, 1, 100_000])
def test_chunked_bodies(extra: int) -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(200, b"", {"Transfer-Encoding": "chunked"})
        body = DATA + b"x" * extra
        for offset in range(0, len(body), 70_000):
            piece = body[offset : offset + 70_000]
            turn.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        turn.wfile.write(b"0\r\n\r\n")

    if extra:
        with pytest.raises(DigestMismatch, match="more than the expected"):
            fetch(script)
    else:
        fetch(script)


def test_a_body_until_the_connection_ends() -> None:
    def script(turn: Turn, n: int) -> None:
        turn.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + (DATA[:1_200_000] if n == 1 else DATA))
        turn.close_connection = True

    assert ranges(fetch(script))[1] is not None


def test_an_encoding_nobody_asked_for_is_not_decoded() -> None:
    fetch(lambda turn, n: turn.reply(200, DATA, {"Content-Encoding": "gzip"}))


def test_5xx_bursts() -> None:
    assert len(fetch(lambda turn, n: turn.blob(DATA) if n > 8 else turn.reply([500, 502, 503, 504][n % 4]))) >= 9


def test_not_there() -> None:
    body = b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    with pytest.raises(NotFound, match="answered 404 BLOB_UNKNOWN: blob unknown to registry; expected the blob"):
        fetch(lambda turn, n: turn.reply(404, body))


def test_an_odd_answer() -> None:
    with pytest.raises(RemoteError, match="answered 204"):
        fetch(lambda turn, n: turn.reply(204))


def test_errors_of_the_target_are_its_own() -> None:
    def full(offset: int, data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    with fault_server(lambda turn, n: turn.blob(DATA)) as server, http_client() as http:
        with pytest.raises(OSError, match="No space left"):
            Download(http, "thing", descriptor(DATA), full).run(Url.parse(server.url))
    assert len(server.requests) == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["cut", "ignore", "refuse", "busy", "416"]), st.integers(1, 5000)), max_size=6)
)
def test_whatever_happens_the_bytes_are_right(faults: list[tuple[str, int]]) -> None:
    data = DATA[:5000]

    def script(turn: Turn, n: int) -> None:
        kind, count = faults[n - 1] if n <= len(faults) else ("", 0)
        if kind == "busy":
            turn.reply(503)
        elif kind == "416" and turn.headers.get("Range"):
            turn.reply(416)
        elif kind == "refuse":
            turn.reset()
        elif kind == "ignore":
            turn.blob(data, ranges=False, short=count)
        else:
            first = int(str(turn.headers.get("Range", "bytes=0-"))[6:-1])
            turn.blob(data, short=min(count, len(data) - first) if kind else 0)

    fetch(script, data)
