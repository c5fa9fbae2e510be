"""One question to a token server, and its answer (distribution `auth/token.md`, `auth/oauth.md`)."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airbundle.errors import RemoteError, Unauthorized
from airbundle.transfer.credentials import Credential
from airbundle.transfer.problems import Response, said
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Url

if TYPE_CHECKING:
    from airbundle.transfer.http import HttpClient

TOKEN_LIMIT = 64 * 1024
"""Longest token in characters; clouds give some of 16 KiB."""

_BODY_LIMIT = 1024 * 1024
_DEFAULT_LIFETIME = 60
_TOKEN = re.compile(r"[\x21-\x7e]+")
_STATUSES = (200, 400, 401, 403, 404, 405)


@dataclass(frozen=True)
class Token:
    """A bearer token, and when to ask for another (`time.monotonic`)."""

    value: str = field(repr=False)
    renew_at: float

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        return f"Bearer {self.value}"


@dataclass(frozen=True)
class TokenWish:
    """What to ask a token server for.

    Attributes:
        what: thing and operation, for errors.
        realm: its URL, which may be asked (`realms.check_realm`).
        service: as the registry named itself; may be empty.
        scopes: such as `repository:library/redis:pull`.
        credential: None for an anonymous token.
        login_hint: the next step where the server refuses; says whose it is.
        trust: how to trust the server.
    """

    what: str
    realm: Url
    service: str
    scopes: tuple[str, ...]
    credential: Credential | None
    login_hint: str
    trust: TlsSettings | None


def fetch_token(http: HttpClient, wish: TokenWish) -> Token:
    """Ask for a token: by POST with a refresh token, else by GET with user and password, or with nothing.

    Raises:
        Unauthorized: the server refuses.
        RemoteError: it fails, or what it gives is no token.
    """
    refresh = wish.credential is not None and wish.credential.identity_token
    response = _post(http, wish, refresh) if refresh else _get(http, wish)
    if response.status != 200:
        words = said(response)
        raise Unauthorized(
            f"{wish.what}: answered {response.status}" + (f" {words}" if words else ""),
            side=http.side,
            status=response.status,
            hint=wish.login_hint,
        )
    token = _parse(response)
    if token is None:
        raise RemoteError(
            f"{wish.what}: the answer has no usable token",
            side=http.side,
            hint=f"expected JSON with `token` or `access_token` of at most {TOKEN_LIMIT} characters",
        )
    return token


def _get(http: HttpClient, wish: TokenWish) -> Response:
    pairs = [("service", wish.service)] if wish.service else []
    pairs += [("scope", scope) for scope in wish.scopes]
    url = wish.realm.with_query(*pairs) if pairs else wish.realm
    basic = None if wish.credential is None else wish.credential.basic
    return http.request(
        "GET",
        url,
        what=wish.what,
        expect=_STATUSES,
        headers={} if basic is None else {"Authorization": basic},
        limit=_BODY_LIMIT,
        bare=True,
        trust=wish.trust,
    )


def _post(http: HttpClient, wish: TokenWish, refresh_token: str) -> Response:
    form = {
        "grant_type": "refresh_token",
        "service": wish.service,
        "client_id": "airbundle",
        "scope": " ".join(wish.scopes),
        "refresh_token": refresh_token,
    }
    return http.request(
        "POST",
        wish.realm,
        what=wish.what,
        expect=_STATUSES,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        content=urlencode(form).encode(),
        limit=_BODY_LIMIT,
        bare=True,
        trust=wish.trust,
    )


def _parse(response: Response) -> Token | None:
    try:
        body: Any = json.loads(response.body)
        value = body.get("token") or body.get("access_token")
        lifetime = body.get("expires_in")
    except (ValueError, RecursionError, AttributeError):
        return None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or len(value) > TOKEN_LIMIT:
        return None
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)) or not 0 < lifetime < 1e9:
        lifetime = _DEFAULT_LIFETIME
    # The clocks of others are not asked: the time runs from here. A tenth of it is kept for the way.
    return Token(value, time.monotonic() + lifetime * 0.9)
