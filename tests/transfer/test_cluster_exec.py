"""Commands in containers, at a server that does what the API server's end of the WebSocket may do, and may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airbundle.errors import NotFound, Refused, RemoteError, SiteError, Unauthorized, Unreachable
from airbundle.transfer import cluster_exec
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.kubeconfig import ClusterAccess
from airbundle.transfer.websocket import BINARY, CLOSE, PING, accept_of
from airbundle.transfer.wire import Url
from tests.support.tls import Authority
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server
from tests.transfer.test_websocket import served

STDOUT, STDERR, ERROR = b"\x01", b"\x02", b"\x03"
SUCCESS = ERROR + b'{"metadata":{},"status":"Success"}'
FAREWELL = served(CLOSE, b"\x03\xe8")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def serving(authority: Authority) -> Any:
    @contextmanager
    def run(script: Callable[[Turn, int], None]) -> Iterator[tuple[FaultServer, ClusterWriter]]:
        with fault_server(script, tls=authority) as server:
            access = ClusterAccess("here", Url.parse(server.url), ca=authority.ca_pem, token="t")
            with ClusterWriter(access, settings=FAST) as cluster:
                yield server, cluster

    return run


def upgrade(turn: Turn, protocol: str = "v5.channel.k8s.io") -> None:
    """Answer the handshake."""
    turn.close_connection = True
    key = turn.seen.header("Sec-WebSocket-Key") or ""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Accept: {accept_of(key)}", f"Sec-WebSocket-Protocol: {protocol}", "", ""]
    turn.wfile.write("\r\n".join(lines).encode())


def messages(*payloads: bytes) -> bytes:
    return b"".join(served(BINARY, payload) for payload in payloads)


def saying(*payloads: bytes, ending: bytes = FAREWELL) -> Callable[[Turn, int], None]:
    def script(turn: Turn, _: int) -> None:
        upgrade(turn)
        turn.wfile.write(messages(*payloads) + ending)

    return script


def failure(**fields: Any) -> bytes:
    return ERROR + json.dumps({"status": "Failure", **fields}).encode()


def ended(code: str) -> bytes:
    return failure(reason="NonZeroExitCode", details={"causes": [{"reason": "ExitCode", "message": code}]})


def test_output_and_code_are_returned(serving: Any) -> None:
    script = saying(STDOUT, STDERR, STDOUT + b"one ", STDERR + b"two ", STDOUT + b"three", ended("7"))
    with serving(script) as (server, cluster):
        assert cluster.exec("n", "p", ["sh", "-c", "a b&c"], container="x") == (7, b"one two three")
    seen = server.requests[0]
    parts = urlsplit(seen.path)
    assert parts.path == "/api/v1/namespaces/n/pods/p/exec"
    assert parse_qsl(parts.query) == [
        ("command", "sh"),
        ("command", "-c"),
        ("command", "a b&c"),
        ("stdout", "true"),
        ("stderr", "true"),
        ("container", "x"),
    ]
    assert seen.header("Authorization") == "Bearer t"
    assert seen.header("Sec-WebSocket-Protocol") == "v5.channel.k8s.io, v4.channel.k8s.io"


def test_a_message_may_come_with_the_handshake_and_pings_in_between(serving: Any) -> None:
    def script(turn: Turn, _: int) -> None:
        upgrade(turn)
        turn.wfile.write(served(PING, b"?") + messages(STDOUT + b"a", SUCCESS))
        turn.wfile.write(FAREWELL)

    with serving(script) as (_, cluster):
        assert cluster.exec("n", "p", ["x"]) == (0, b"a")


def read_frame(turn: Turn) -> tuple[int, bytes]:
    """Return kind and payload of what the client sent."""
    head = turn.rfile.read(2)
    assert head[1] & 0x80, "clients mask"
    size = head[1] & 0x7F
    size = int.from_bytes(turn.rfile.read(2 if size == 126 else 8), "big") if size > 125 else size
    mask, payload = turn.rfile.read(4), turn.rfile.read(size)
    return head[0] & 0x0F, bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))


def test_input_is_sent_whole_and_then_closed(serving: Any) -> None:
    sent = bytes(range(256)) * 1000

    def script(turn: Turn, _: int) -> None:
        upgrade(turn)
        got = b""
        while True:
            kind, payload = read_frame(turn)
            assert kind == BINARY
            if payload == b"\xff\x00":
                break
            assert payload[:1] == b"\x00"
            got += payload[1:]
            turn.wfile.write(messages(STDOUT + payload[1:]))  # as cat does: both ways at once
        turn.wfile.write(messages(SUCCESS) + FAREWELL)
        assert got == sent

    with serving(script) as (server, cluster):
        assert cluster.exec("n", "p", ["cat"], stdin=sent) == (0, sent)
    assert server.requests[0].header("Sec-WebSocket-Protocol") == "v5.channel.k8s.io"


@pytest.mark.parametrize(("code", "error"), [(400, Refused), (401, Unauthorized), (403, Unauthorized), (404, NotFound)])
def test_a_refusal_is_told_at_once(serving: Any, code: int, error: type[RemoteError]) -> None:
    body = json.dumps({"kind": "Status", "message": "no such thing"}).encode()
    with serving(lambda turn, _: turn.reply(code, body)) as (server, cluster):
        with pytest.raises(error, match=f"run x in n/p: .* answered {code}: no such thing"):
            cluster.exec("n", "p", ["x"])
    assert len(server.requests) == 1


def test_what_has_not_begun_is_tried_again(serving: Any) -> None:
    def script(turn: Turn, number: int) -> None:
        if number == 1:
            turn.reply(503, b"{}")
        elif number == 2:
            turn.reset()
        else:
            saying(SUCCESS)(turn, number)

    with serving(script) as (server, cluster):
        assert cluster.exec("n", "p", ["x"]) == (0, b"")
    assert len(server.requests) == 3


@pytest.mark.parametrize("ending", [b"", FAREWELL, b"\x82\x7f" + b"\xff" * 8, b"\xff\xff"])
def test_what_has_begun_is_not_run_again(serving: Any, ending: bytes) -> None:
    with serving(saying(STDOUT + b"begun", ending=ending)) as (server, cluster):
        with pytest.raises(SiteError, match="the connection was lost") as caught:
            cluster.exec("n", "p", ["x"])
    assert "not known" in caught.value.hint
    assert len(server.requests) == 1


def test_a_status_counts_though_the_farewell_is_missing(serving: Any) -> None:
    with serving(saying(STDOUT + b"a", SUCCESS, ending=b"")) as (_, cluster):
        assert cluster.exec("n", "p", ["x"]) == (0, b"a")


def test_why_it_could_not_be_run_is_told_though_it_had_input(serving: Any) -> None:
    refusal = failure(reason="InternalError", message='exec: "x": not found', code=500)
    with serving(saying(refusal)) as (_, cluster):
        with pytest.raises(Refused, match='could not be run: exec: "x": not found'):
            cluster.exec("n", "p", ["x"], stdin=b"1" * 3_000_000)


@pytest.mark.parametrize(
    "status", [ended("x"), ended("-1"), ended(""), failure(details={"causes": [1, None]}), failure()]
)
def test_an_odd_status_is_no_code(serving: Any, status: bytes) -> None:
    with serving(saying(status)) as (_, cluster):
        with pytest.raises(Refused, match="could not be run"):
            cluster.exec("n", "p", ["x"])


def test_a_status_that_is_none_is_refused(serving: Any) -> None:
    with serving(saying(ERROR + b"nonsense")) as (_, cluster):
        with pytest.raises(RemoteError, match="not JSON"):
            cluster.exec("n", "p", ["x"])


def test_it_is_given_up_in_time(serving: Any) -> None:
    def script(turn: Turn, _: int) -> None:
        upgrade(turn)
        turn.rfile.read(1)

    with serving(script) as (_, cluster):
        with pytest.raises(SiteError, match="did not end within 0 s"):
            cluster.exec("n", "p", ["x"], timeout=0.05)


def test_there_is_an_end_to_what_is_read(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_exec, "OUTPUT_LIMIT", 10)
    with serving(saying(STDOUT + b"12345", STDOUT + b"67890", STDOUT + b"1", SUCCESS)) as (_, cluster):
        with pytest.raises(SiteError, match="more than the 10 bytes"):
            cluster.exec("n", "p", ["x"])


def test_an_answer_to_another_handshake_is_refused(serving: Any) -> None:
    def script(turn: Turn, _: int) -> None:
        turn.close_connection = True
        turn.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n")

    with serving(script) as (_, cluster):
        with pytest.raises(Unreachable, match="handshake"):
            cluster.exec("n", "p", ["x"])


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200\r\n", b"", b"\r\n\r\n", b"x" * 200_000])
def test_what_is_no_http_is_no_answer(serving: Any, answer: bytes) -> None:
    def script(turn: Turn, number: int) -> None:
        turn.close_connection = True
        if number == 1:
            turn.wfile.write(answer)
        else:
            saying(SUCCESS)(turn, number)

    with serving(script) as (server, cluster):
        assert cluster.exec("n", "p", ["x"]) == (0, b"")
    assert len(server.requests) == 2
