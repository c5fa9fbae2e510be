"""An upload session: where it is now, and the record from which a later run can take it up.

A session's location may hold a token that lets its owner write: it is in no log, error or `repr`, and it is only ever
sent to the origin that gave it. What a record has is believed no more than what a registry says.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from airbundle.transfer.problems import Response
from airbundle.transfer.wire import BadUrl, Fault, Url

logger = logging.getLogger(__name__)

WORTH_KEEPING = 32 * 1024 * 1024
"""Sessions of blobs from this many bytes on are recorded: sending less again costs no more than a durable record."""


class UploadPlace(NamedTuple):
    """What a session is for.

    Attributes:
        origin: `scheme://host:port` of the registry, as it is sent to.
        repository: its name there.
        digest: of the blob.
    """

    origin: str
    repository: str
    digest: str


class UploadRecord(Protocol):
    """Remembers sessions from one run to the next. Called from many threads."""

    def find(self, place: UploadPlace) -> str | None:
        """Return the path with query where the session was, as it was kept; None when nothing is known."""

    def keep(self, place: UploadPlace, target: str) -> None:
        """Remember that the session is at `target`, the path with query."""

    def forget(self, place: UploadPlace) -> None:
        """Let go of the session, which has ended."""


@dataclass
class Session:
    """The session of one upload.

    Attributes:
        base: URL that begins uploads of this repository.
        place: what it is for.
        size: bytes of the blob.
        record: where it is remembered; None for nowhere.
        location: where it is; None when there is none.
        earlier: whether an earlier run began it: how far it got is for the registry to say.
    """

    base: Url
    place: UploadPlace
    size: int
    record: UploadRecord | None = None
    location: Url | None = field(default=None, repr=False)
    earlier: bool = False

    def take_up(self) -> None:
        """Take over the session that an earlier run left, where one is remembered for this very place."""
        target = self._remembered.find(self.place) if self._remembered is not None else None
        if target is None:
            return
        try:
            url = Url.parse(self.place.origin + target) if target.startswith("/") else None
        except BadUrl:
            url = None
        if url is None or url.origin != self.base.origin:
            self.lost()
            return
        self.location, self.earlier = replace(self.base, target=url.target), True

    def move(self, response: Response) -> bool:
        """Go to where an answer says; tell whether it says so. Raises Fault."""
        location = upload_location(response)
        if location is not None:
            self.location = location
        return location is not None

    def keep(self) -> None:
        """Remember where it is."""
        if self._remembered is not None and self.location is not None:
            self._remembered.keep(self.place, self.location.target)

    def lost(self) -> None:
        """Begin without one the next time; it has ended, or is good for nothing."""
        self.location, self.earlier = None, False
        if self._remembered is not None:
            self._remembered.forget(self.place)

    @property
    def _remembered(self) -> UploadRecord | None:
        return self.record if self.size >= WORTH_KEEPING else None


def upload_location(response: Response) -> Url | None:
    """Return the newest upload location; None when the answer has none.

    It must be on the same host, and keeps the scheme and port that we use: registries behind proxies often answer
    with `http://` and their inner port. Another host is refused, because the bytes would go to someone whom nobody
    named.

    Raises:
        Fault: no attempt will end better.
    """
    text = response.headers.get("location", "")
    if not text:
        return None
    try:
        url = response.url.join(text)
    except BadUrl as error:
        raise Fault(f"its upload location is no URL: {error}", passing=False) from None
    if url.hostname != response.url.hostname:
        raise Fault(
            f"sends the upload to another host, {url.host}",
            passing=False,
            hint="set the registry's own address (registry:2: http.host), or push to it by that name",
        )
    return replace(response.url, target=url.target)
