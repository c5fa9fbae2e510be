"""Authorisation: Basic and bearer tokens (distribution spec `auth/token.md`, `auth/oauth.md`; RFC 9110 §11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.transfer.credentials import CredentialStore
from airbundle.transfer.hosts import Registries
from airbundle.transfer.wire import Headers, Url

if TYPE_CHECKING:
    from airbundle.transfer.http import HttpClient


class Authorizer:
    """Knows what each origin wants, and keeps tokens."""

    def __init__(self, http: HttpClient, registries: Registries, store: CredentialStore) -> None:
        self._http = http

    def header(self, url: Url, scopes: tuple[str, ...]) -> str | None:
        """Return the Authorization header for a request, or None."""
        return None

    def challenged(self, url: Url, headers: Headers, scopes: tuple[str, ...], *, used: str | None) -> bool:
        """Take in a 401. Return whether another attempt with a new header is worth making."""
        return False
