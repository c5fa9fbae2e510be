"""Commands in containers of a cluster, by the API's WebSocket: one connection, with channels for input and output.

Source: k8s.io/apimachinery/pkg/util/remotecommand/constants.go; KEP 4006.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from airbundle.bundle.oci import parse_json
from airbundle.deploy.dig import items, text, value
from airbundle.errors import Refused, RemoteError, SiteError, VerificationError
from airbundle.transfer.cluster import Cluster
from airbundle.transfer.problems import Response, clean
from airbundle.transfer.retry import Attempts
from airbundle.transfer.upgrade import BadFrame, Channel, shake_hands
from airbundle.transfer.websocket import new_key

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
OUTPUT_LIMIT = 4 << 20
_STDIN, _STDOUT, _STDERR, _ERROR = range(4)
_CLOSE = 255
_PIECE = 32 * 1024
_AHEAD = 256 * 1024
"""Most bytes of input that wait in memory to be sent, framed."""


class ExecCalls(Cluster):
    """A cluster's API, to read from and to run commands in its containers."""

    def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str = "",
        stdin: bytes = b"",
        stderr: bool = True,
        timeout: float = 60.0,
    ) -> tuple[int, bytes]:
        """Run a command in a container; return its exit code and what it wrote, at most 4 MiB, which may hold secrets.

        It is run once: where the connection is lost after it began, it is not run again.

        Args:
            namespace, pod: where.
            command: program and arguments; no shell looks at them, but the API server's audit log keeps them: secrets
                belong into `stdin`.
            container: by default the first one.
            stdin: what the command reads; clusters before 1.30 can't tell it where that ends, and are refused.
            stderr: return what it wrote there, too, in the order it came.
            timeout: seconds after which it is given up; whether it ends then is not known.

        Raises:
            SiteError: it was given up, the connection was lost, or it wrote more.
            Refused: it could not be started: no such program or container.
            NotFound, Unauthorized, Unreachable, RemoteError: no good answer.
        """
        what = f"cluster {self.name}: run {command[0]} in {namespace}/{pod}"
        query = [("command", word) for word in command] + [("stdout", "true")]
        query += [("stderr", "true")] if stderr else []
        query += [("stdin", "true")] if stdin else []
        query += [("container", container)] if container else []
        key = new_key()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
        headers.update({"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"})
        headers["Sec-WebSocket-Protocol"] = V5 if stdin else f"{V5}, {V4}"
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec"
        request = self._request("GET", path, query, headers)

        def once(attempts: Attempts) -> tuple[int, bytes]:
            with self._http.connection(request) as connection:
                response, rest = shake_hands(connection, request, key)
                if response.status != 101:
                    raise self.fault_of(response, what) or self._refusal(response, what)
                attempts.succeeded()
                channel = Channel(connection.sock, rest, OUTPUT_LIMIT)
                return _Run(what, channel, stdin, timeout).result()

        return self._http.run(request.url, what, once)

    def _refusal(self, response: Response, what: str) -> RemoteError:
        error = self.refusal(response, what, forbidden="ask for a role that may create pods/exec")
        error.hint = "name a container that the pod has" if response.status == 400 else error.hint
        return error


class _Run:
    """A command under way."""

    def __init__(self, what: str, channel: Channel, stdin: bytes, timeout: float) -> None:
        self._what = what
        self._channel = channel
        self._stdin = memoryview(stdin)
        self._open = bool(stdin)
        self._timeout = timeout
        self._output = bytearray()
        self._status: bytes | None = None

    def result(self) -> tuple[int, bytes]:
        try:
            self._send()
            for message in self._channel.receive(time.monotonic() + self._timeout):
                self._take(message)
                self._send()
        except TimeoutError:
            self._channel.close()
            raise SiteError(
                f"{self._what}: it did not end within {self._timeout:.0f} s", hint="whether it ends later is not known"
            ) from None
        except OSError as error:
            if self._status is None:
                raise self._lost(error.strerror or str(error)) from None
        except BadFrame as error:
            raise self._lost(str(error)) from None
        if self._status is None:
            raise self._lost("the server closed it")
        return self._code(self._status), bytes(self._output)

    def _lost(self, why: str) -> SiteError:
        hint = "the command had begun; whether it ended is not known: look, then run again"
        return SiteError(f"{self._what}: the connection was lost: {why}", hint=hint)

    def _send(self) -> None:
        """Hand over more of the input, and its end."""
        while self._open and self._channel.waiting < _AHEAD:
            if not self._stdin:
                self._channel.send(bytes((_CLOSE, _STDIN)))
                self._open = False
                return
            self._channel.send(bytes((_STDIN,)) + self._stdin[:_PIECE])
            self._stdin = self._stdin[_PIECE:]

    def _take(self, message: bytes) -> None:
        if len(message) < 2:
            return  # each channel says once that it is there
        if message[0] == _ERROR:
            self._status = message[1:]
        elif message[0] in (_STDOUT, _STDERR):
            self._output += message[1:]
            if len(self._output) > OUTPUT_LIMIT:
                raise SiteError(f"{self._what}: it writes more than the {OUTPUT_LIMIT} bytes that are read")

    def _code(self, raw: bytes) -> int:
        """Return the exit code that a Status tells."""
        try:
            status: Any = parse_json(raw, what=self._what)
        except VerificationError as error:
            raise RemoteError(error.problem, side="site") from None
        if value(status, "status") == "Success":
            return 0
        for cause in items(status, "details", "causes"):
            code = text(cause, "message")
            if cause.get("reason") == "ExitCode" and code.isascii() and code.isdigit() and len(code) < 6:
                return int(code)
        words = clean(text(status, "message"), 600) or "without a reason"
        raise Refused(f"{self._what}: it could not be run: {words}", side="site", hint="check the pod and the program")
