"""The push half of a registry, in a few lines that a test can spoil, and a source to push from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from airbundle.bundle.oci import Descriptor
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.upload_session import UploadRecord
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

LARGE = bytes(range(256)) * 9_000  # over 2 MiB: PATCH and PUT
SMALL = b"small" * 100  # PUT alone


def described(data: bytes) -> Descriptor:
    return Descriptor("application/x", "sha256:" + hashlib.sha256(data).hexdigest(), len(data))


class Source:
    """Bytes as a BlobReader; gives at most 100,000 bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        piece = self.data[offset : offset + min(len(buffer), 100_000)]
        buffer[: len(piece)] = piece
        return len(piece)


@dataclass
class Pushee:
    """The push half of a registry, which does what it should unless `fault` answers in its place."""

    fault: Callable[[Turn, str], bool] = lambda turn, step: False
    blobs: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    moves: int = 0
    answer_ranges: bool = True
    extra: dict[str, str] = field(default_factory=dict)

    def script(self, turn: Turn, n: int) -> None:
        path, _, query = turn.path.partition("?")
        step = turn.command if turn.command != "HEAD" else "HEAD"
        if self.fault(turn, step):
            return
        if turn.command == "HEAD":
            digest = path.rpartition("/")[2]
            turn.reply(200 if digest in self.blobs else 404)
        elif turn.command == "POST":
            identifier = f"s{len(self.sessions)}"
            self.sessions[identifier] = bytearray()
            turn.reply(202, b"", {**self._location(identifier), **self.extra})
        else:
            self._session(turn, path, query)

    def _location(self, identifier: str) -> dict[str, str]:
        self.moves += 1
        return {"Location": f"/v2/x/blobs/uploads/{identifier}?_state={self.moves}%3D"}

    def _session(self, turn: Turn, path: str, query: str) -> None:
        identifier = path.rpartition("/")[2]
        session = self.sessions.get(identifier)
        if session is None or f"_state={self.moves}%3D" not in query:
            turn.reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        elif turn.command == "DELETE":
            del self.sessions[identifier]
            turn.reply(204)
        elif turn.command == "GET":
            turn.reply(204, b"", {**self._location(identifier), "Range": f"0-{max(0, len(session) - 1)}"})
        elif turn.command == "PATCH":
            self._patch(turn, identifier, session)
        else:
            session += turn.seen.body
            digest = "sha256:" + hashlib.sha256(session).hexdigest()
            if f"digest={digest.replace(':', '%3A')}" not in query:
                turn.reply(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.blobs[digest] = bytes(session)
            del self.sessions[identifier]
            turn.reply(201)

    def _patch(self, turn: Turn, identifier: str, session: bytearray) -> None:
        first = int(str(turn.headers["Content-Range"]).partition("-")[0])
        if first != len(session):
            turn.reply(416, b"", {**self._location(identifier), "Range": f"0-{max(0, len(session) - 1)}"})
            return
        session += turn.seen.body
        headers = self._location(identifier)
        if self.answer_ranges:
            headers["Range"] = f"0-{len(session) - 1}"
        turn.reply(202, b"", headers)


@contextmanager
def pushing(
    pushee: Pushee, patience: HttpSettings = FAST, uploads: UploadRecord | None = None
) -> Iterator[tuple[Repository, FaultServer]]:
    with fault_server(pushee.script) as server:
        registries = Registries().with_registry(server.url)
        with RegistryClient(registries, side="site", settings=patience, uploads=uploads) as client:
            yield client.repository(f"{server.host}/x"), server


def once(step: str, action: Callable[[Turn], None], *, times: int = 1) -> Callable[[Turn, str], bool]:
    left = [times]

    def fault(turn: Turn, at: str) -> bool:
        if at == step and left[0]:
            left[0] -= 1
            action(turn)
            return True
        return False

    return fault


def always(step: str, status: int, body: bytes = b"") -> Callable[[Turn, str], bool]:
    return once(step, lambda turn: turn.reply(status, body), times=1_000_000)


def steps(server: FaultServer) -> list[str]:
    return [seen.method for seen in server.requests]
