"""From an answer to an error a person can act on: what the registry said, cleaned and bounded, and the next step."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from airbundle.errors import NotFound, Refused, RemoteError, Side, Unauthorized
from airbundle.transfer.retry import parse_retry_after
from airbundle.transfer.wire import Fault, Headers, Url

SHOWN_LIMIT = 300
"""Most characters of a server's own words in an error."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 530})
_TLS_WANTED = re.compile(r"http request (?:to an https server|was sent to https port)")  # Go's words, nginx's
_QUERY = re.compile(r"(?<=\S)\?[^\s=\"'<>]+=[^\s\"'<>]*")  # of a URL: it may be a signature that opens a storage
_USER = re.compile(r"(?<=://)[^\s/@]*@")
_XML_WORDS = re.compile(r"<(?:Code|Message)>([^<]+)</")
_FULL = ("no space left", "disk quota", "insufficient storage", "quota exceeded")


@dataclass(frozen=True)
class Response:
    """An answer whose (bounded) body has been read. `too_long`: the body was longer than allowed, and is left out."""

    status: int
    url: Url
    headers: Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    too_long: bool = False


def clean(text: str, limit: int = SHOWN_LIMIT) -> str:
    """Return foreign text fit for a terminal and a log: one line, printable, bounded, and no secrets in its URLs."""
    shown = " ".join("".join(char if char.isprintable() else " " for char in text[: limit * 4]).split())
    shown = _USER.sub("…@", _QUERY.sub("?…", shown))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def said(response: Response) -> str:
    """Return the server's own words: codes and messages of a registry's error JSON (distribution spec, "Error codes").

    Of a blob storage's XML the same: the rest of it repeats the signed request that was refused.
    """
    try:
        body = json.loads(response.body)
        errors = body["errors"] if isinstance(body, dict) else []
        parts = [f"{e.get('code', '')}: {e.get('message', '')}{_detail(e.get('detail'))}" for e in errors[:3]]
        return clean("; ".join(parts))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    if "html" in response.headers.get("content-type", "").lower():
        return ""
    if response.body.lstrip()[:1] == b"<":
        return clean(": ".join(_XML_WORDS.findall(response.body[: SHOWN_LIMIT * 16].decode("utf-8", "replace"))))
    return clean(response.body[: SHOWN_LIMIT * 4].decode("utf-8", "replace"))


def _detail(detail: object) -> str:
    if not detail:
        return ""
    text = detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False)
    return f" ({clean(text, 160)})"


def status_fault(response: Response, *, what: str, side: Side) -> Fault | None:
    """Return a Fault when another attempt may end better (429, 5xx), else None."""
    if response.status not in _PASSING or _is_full(response):
        return None
    wait = parse_retry_after(response.headers.get("retry-after", ""))
    error = refusal(response, what=what, side=side)
    return Fault(f"answered {response.status}", wait=wait, error=error)


def _is_full(response: Response) -> bool:
    return response.status >= 500 and any(words in said(response).lower() for words in _FULL)


def refusal(response: Response, *, what: str, side: Side, expected: str = "") -> RemoteError:
    """Return the error for an answer that is not what was asked for.

    Args:
        response: the answer.
        what: thing and operation, such as `docker.io/library/redis:7: fetch manifest`.
        side: whose registry it is.
        expected: what would have been right; a status, or words.
    """
    words = said(response)
    problem = f"{what}: {response.url.host} answered {response.status}" + (f" {words}" if words else "")
    if expected:
        problem += f"; expected {expected}"
    kind, hint = _kind(response, words.lower())
    return kind(problem, side=side, status=response.status, hint=hint)


def _kind(response: Response, words: str) -> tuple[type[RemoteError], str]:
    status = response.status
    if status in (401, 403):
        return Unauthorized, ""
    if status == 404:
        return NotFound, "check the name; some registries say so, too, when a login is missing"
    if status == 405:
        return Refused, "it is read-only, or no registry: check the URL"
    if status == 413:
        return Refused, "raise the body limit of the proxy before the registry (nginx: client_max_body_size)"
    if status == 429:
        return RemoteError, "log in, or use a mirror (registries.yaml), or try again later"
    if status == 507 or _is_full(response):
        return Refused, "free space in the registry's storage, then run again: what is there is kept"
    if status == 400 and (_TLS_WANTED.search(words) or _TLS_WANTED.search(response.body.decode("latin-1").lower())):
        return Refused, "the server speaks TLS: name it with https://"
    if 400 <= status < 500:
        return Refused, ""
    return RemoteError, ""
