"""Authorisation towards each origin: Basic, or bearer tokens from a token server (distribution `auth/token.md`,
`auth/oauth.md`). Nothing is sent before the origin asks for it; tokens are kept per scope and renewed in time.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from airbundle.errors import Unauthorized
from airbundle.transfer.challenges import Challenge, parse_challenges
from airbundle.transfer.credentials import Credential, CredentialStore
from airbundle.transfer.hosts import Registries
from airbundle.transfer.problems import clean
from airbundle.transfer.realms import RealmRefused, check_realm
from airbundle.transfer.tokens import Token, TokenWish, fetch_token
from airbundle.transfer.wire import Headers, Url

if TYPE_CHECKING:
    from airbundle.transfer.http import HttpClient

_OWN_KEPT = 3600.0
"""Seconds after which a token that the user gave is read again from where it is kept."""

_REPOSITORY = re.compile(r"/v2/(.+?)/(?:manifests|blobs|tags|referrers)/")

Origin = tuple[str, str, int]
Scopes = tuple[str, ...]


class Authorizer:
    """Knows what each origin asked for, and keeps tokens. For many threads at once.

    Args:
        http: fetches tokens.
        registries: credentials and `token_hosts` per host.
        store: further credentials.
    """

    def __init__(self, http: HttpClient, registries: Registries, store: CredentialStore) -> None:
        self._http = http
        self._registries = registries
        self._store = store
        self._challenges: dict[Origin, Challenge] = {}
        self._tokens: dict[tuple[Origin, Scopes], Token] = {}
        self._wanted: dict[tuple[Origin, Scopes], Scopes] = {}
        self._locks: dict[tuple[Origin, Scopes], threading.Lock] = {}
        self._lock = threading.Lock()

    def header(self, url: Url, scopes: Scopes) -> str | None:
        """Return the Authorization header for a request, or None.

        Raises:
            Unauthorized: the token server may not be asked, or refuses the credentials.
            RemoteError: it failed.
        """
        challenge = self._challenges.get(url.origin)
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            credential = self._credential(url, scopes)
            return None if credential is None else credential.basic
        return self._bearer(url, challenge, scopes, refused=None)

    def challenged(self, url: Url, headers: Headers, scopes: Scopes, *, used: str | None) -> bool:
        """Take in a 401.

        Args:
            url, scopes: of the request.
            headers: of the answer.
            used: the Authorization header that was refused, if any.

        Returns:
            Whether `header` now gives another one, so that trying again makes sense.
        """
        offered = {
            challenge.scheme: challenge for challenge in reversed(parse_challenges(headers.all("www-authenticate")))
        }
        bearer = offered.get("bearer")
        if bearer is not None and bearer.parameters.get("realm"):
            self._challenges[url.origin] = bearer
            asked = bearer.parameters.get("scope", "").split()
            self._wanted[url.origin, scopes] = merged([*scopes, *asked])
            return self._bearer(url, bearer, scopes, refused=used) != used
        if "basic" in offered:
            self._challenges[url.origin] = offered["basic"]
            return self.header(url, scopes) not in (None, used)
        return False

    def login_hint(self, url: Url, status: int | None) -> str:
        """Return the next step after a 401 or 403 for `url`: whose account, from where, or where none was found."""
        name = "docker.io" if url.host == "registry-1.docker.io" else url.host
        login = f"with `docker login {name}`, or put auth for {name} into registries.yaml; or the name does not exist"
        found = _REPOSITORY.match(url.path)
        credential = self._find(url, found[1] if found else "")
        if credential is None:
            places = ", ".join(["registries.yaml", *map(str, self._store.places)])
            return f"log in {login}. No credentials for {name} were found in {places}"
        user = f"user {clean(credential.username, 100)!r}" if credential.username else "the token"
        account = f"{user} from {credential.source}" if credential.source else user
        if status == 403:
            return f"{account} may not do this at {name}: use another account, or have it allowed"
        return f"{account} was refused: log in again {login}"

    def _credential(self, url: Url, scopes: Scopes) -> Credential | None:
        repository = next((scope.split(":")[1] for scope in scopes if scope.startswith("repository:")), "")
        return self._find(url, repository)

    def _find(self, url: Url, repository: str) -> Credential | None:
        return self._registries.auth(url.host) or self._store.find(url.host, repository)

    def _bearer(self, url: Url, challenge: Challenge, scopes: Scopes, *, refused: str | None) -> str:
        """Return the header with a token that is not `refused`; one thread fetches, the others wait for it."""
        wanted = self._wanted.get((url.origin, scopes), scopes)
        key = (url.origin, wanted)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            for scope_set in (wanted, with_push(wanted)):
                token = self._tokens.get((url.origin, scope_set))
                if token is not None and token.header != refused and time.monotonic() < token.renew_at:
                    return token.header
            token = self._fetch(url, challenge, wanted)
            self._tokens[key] = token
            return token.header

    def _fetch(self, url: Url, challenge: Challenge, scopes: Scopes) -> Token:
        credential = self._credential(url, scopes)
        if credential is not None and credential.registry_token:
            return Token(credential.registry_token, time.monotonic() + _OWN_KEPT)
        realm = self._realm(url, challenge, credential)
        wish = TokenWish(
            what=f"{url.host}: get a token from {realm.host}",
            realm=realm,
            service=challenge.parameters.get("service", ""),
            scopes=scopes,
            credential=credential,
            login_hint=self.login_hint(url, 401),
            trust=self._http.trust_after(url, None, realm),
        )
        return fetch_token(self._http, wish)

    def _realm(self, url: Url, challenge: Challenge, credential: Credential | None) -> Url:
        text = challenge.parameters["realm"]
        try:
            host = Url.parse(text).host
        except ValueError:
            host = ""
        try:
            return check_realm(
                url,
                text,
                credentials=credential is not None,
                verified=url.scheme == "https" and not self._http.tls(url).insecure_skip_verify,
                listed=self._registries.token_hosts(url.host),
                plain=self._registries.allows_http(host),
            )
        except RealmRefused as refused:
            hint = ""
            if refused.listing:
                hint = f'if {host} is its token server, add it to configs."{url.host}".token_hosts in registries.yaml'
            elif host:
                hint = f"if that is meant, name http://{host} as an endpoint in registries.yaml"
            raise Unauthorized(
                f"{url.host}: its token server {clean(host or text, 100)} is not asked: {refused.reason}",
                side=self._http.side,
                status=401,
                hint=hint,
            ) from None


def merged(scopes: Iterable[str]) -> Scopes:
    """Return scopes with each resource once and the union of its actions: what token servers expect."""
    actions: dict[str, list[str]] = {}
    for scope in scopes:
        resource, colon, names = scope.rpartition(":")
        found = actions.setdefault(resource if colon else scope, [])
        found.extend(name for name in names.split(",") if colon and name not in found)
    return tuple(f"{resource}:{','.join(sorted(names))}" if names else resource for resource, names in actions.items())


def with_push(scopes: Scopes) -> Scopes:
    """Return the scopes of a push to the same repositories: its token serves a pull, too."""
    return tuple(f"{scope},push" if scope.endswith(":pull") else scope for scope in scopes)
