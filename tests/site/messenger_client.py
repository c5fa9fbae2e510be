"""Two people with a Matrix messenger, who trust the site's CA and nothing else. Standard library only.

messenger_client.py meet BASE CA STATE    two accounts are registered; one writes, the other reads; kept in STATE
messenger_client.py again BASE CA STATE   they log in anew, read what was written before, and write on
"""

from __future__ import annotations

import json
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LIMIT = 1 << 20
SECONDS = 60


class Person:
    """Somebody with an account."""

    def __init__(self, base: str, context: ssl.SSLContext, name: str, password: str) -> None:
        self.base, self.context, self.name, self.password = base, context, name, password
        self.token = self.user = ""

    def register(self) -> None:
        """Get an account; the server's only condition is that somebody asks."""
        body = {"username": self.name, "password": self.password, "auth": {"type": "m.login.dummy"}}
        self._is(self.ask("POST", "v3/register", body))

    def login(self) -> None:
        """Come back with the password."""
        who = {"type": "m.id.user", "user": self.name}
        self._is(
            self.ask("POST", "v3/login", {"type": "m.login.password", "identifier": who, "password": self.password})
        )

    def open_room(self, guest: Person) -> str:
        """Make a room for two and return its id."""
        return str(self.ask("POST", "v3/createRoom", {"preset": "private_chat", "invite": [guest.user]})["room_id"])

    def join(self, room: str) -> None:
        """Come in."""
        self.ask("POST", f"v3/join/{urllib.parse.quote(room)}", {})

    def write(self, room: str, text: str) -> None:
        """Send a message."""
        path = f"v3/rooms/{urllib.parse.quote(room)}/send/m.room.message/{secrets.token_hex(8)}"
        self.ask("PUT", path, {"msgtype": "m.text", "body": text})

    def read(self, room: str) -> list[str]:
        """Return the room's messages, oldest first."""
        events = self.ask("GET", f"v3/rooms/{urllib.parse.quote(room)}/messages?dir=b&limit=50")["chunk"]
        return [each["content"]["body"] for each in reversed(events) if each["type"] == "m.room.message"]

    def upload_limit(self) -> int:
        """Return how large a file may be, in bytes."""
        return int(self.ask("GET", "v1/media/config")["m.upload.size"])

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request to the client API and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}/_matrix/client/{path}", data, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        end = time.monotonic() + SECONDS
        while True:
            try:
                with opener.open(request, timeout=SECONDS) as answer:
                    said: dict[str, Any] = json.loads(answer.read(LIMIT))
                return said
            except urllib.error.HTTPError as error:
                # As clients do: a server that restarts is asked again.
                if error.code not in {502, 503, 504} or time.monotonic() > end:
                    raise SystemExit(f"{method} {path.partition('?')[0]}: {error.code} {error.read(500)!r}") from None
            time.sleep(1)

    def _is(self, answer: dict[str, Any]) -> None:
        self.token, self.user = answer["access_token"], answer["user_id"]


def meet(base: str, context: ssl.SSLContext, state: Path) -> list[str]:
    """Register two people and let them talk; return what the second reads."""
    kept = {f"{name}-{secrets.token_hex(3)}": secrets.token_urlsafe(12) for name in ("ada", "bert")}
    ada, bert = (Person(base, context, name, password) for name, password in kept.items())
    ada.register()
    bert.register()
    room = ada.open_room(bert)
    bert.join(room)
    ada.write(room, "Nobody outside reads this.")
    state.touch(0o600)
    state.write_text(json.dumps({"people": kept, "room": room}))
    return [f"{ada.user} and {bert.user} registered", *_told(bert, room)]


def again(base: str, context: ssl.SSLContext, state: Path) -> list[str]:
    """Let both log in anew; return what the first reads after the second wrote."""
    kept = json.loads(state.read_text())
    ada, bert = (Person(base, context, name, password) for name, password in kept["people"].items())
    ada.login()
    bert.login()
    bert.write(kept["room"], f"Message {len(bert.read(kept['room'])) + 1}, after all that.")
    return [f"{ada.user} and {bert.user} logged in", *_told(ada, kept["room"])]


def _told(reader: Person, room: str) -> list[str]:
    told = [f"{reader.user} reads: {text}" for text in reader.read(room)]
    return [*told, f"files may have {reader.upload_limit() >> 20} MiB"]


def main(words: list[str]) -> None:
    """Do what the command line says."""
    if len(words) != 4 or words[0] not in {"meet", "again"}:
        raise SystemExit(__doc__)
    context = ssl.create_default_context(cafile=words[2])  # with a file, no other CA is trusted
    act = meet if words[0] == "meet" else again
    print("\n".join(act(words[1], context, Path(words[3]))))


if __name__ == "__main__":
    main(sys.argv[1:])
