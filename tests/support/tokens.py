"""A real token server (distribution spec: token authentication, `jwt.md`, `oauth2.md`), small enough to read.

It signs ES256 tokens with a certificate that docker-registry trusts through `rootcertbundle`; the chain travels in
`x5c`. It grants what the account may do, not what was asked, as the specification wants.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.tls import Authority

SERVICE = "airbundle-test-registry"
ISSUER = "airbundle-test-issuer"
_HANDSHAKE_SECONDS = 60.0


@dataclass(frozen=True)
class TokenRequest:
    """One request for a token: which way, who (empty: anonymous), for what, and the status given."""

    method: str
    account: str
    scopes: tuple[str, ...]
    status: int


@dataclass
class TokenServer:
    """A token server under way.

    Attributes:
        realm: the URL for `WWW-Authenticate`.
        root_bundle: PEM file for docker-registry's `rootcertbundle`.
        requests: what was asked, in order.
        lifetime: seconds that new tokens are valid; change it to test expiry.
        issued: every token that was given out, as text.
    """

    realm: str
    root_bundle: Path
    accounts: Mapping[str, str]
    anonymous_pull: bool
    requests: list[TokenRequest] = field(default_factory=list)
    lifetime: int = 300
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    issued: list[str] = field(default_factory=list)

    def permits(self, account: str, actions: list[str]) -> list[str]:
        """Return those of `actions` that `account` may do: accounts all, nobody pulls only where that is allowed."""
        if account:
            return actions
        return [action for action in actions if action == "pull" and self.anonymous_pull]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: TokenServer
    key_pem: bytes
    chain: list[str]

    def setup(self) -> None:
        # In this connection's own thread: a client that is slow here, or never comes, keeps nobody else waiting.
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(_HANDSHAKE_SECONDS)
            self.request.do_handshake()
            self.request.settimeout(None)
        super().setup()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        account = self._basic_account()
        if account is None:
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user name or password"}]})
            return
        offline = query.get("offline_token", [""])[0] == "true"
        self._grant(account, query.get("scope", []), refresh=offline)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", "0")), 65536)
        form = parse_qs(self.rfile.read(length).decode())
        account = self._form_account({name: values[0] for name, values in form.items()})
        if account is None:
            self._answer(401, {"error": "invalid_grant"})
            return
        self._grant(account, form.get("scope", [""])[0].split(), refresh=True)

    def _basic_account(self) -> str | None:
        header = self.headers.get("Authorization", "")
        if not header:
            return ""
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        name, _, password = base64.b64decode(value).decode().partition(":")
        return name if self.state.accounts.get(name) == password else None

    def _form_account(self, form: Mapping[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            return self.state.refresh_tokens.get(form.get("refresh_token", ""))
        name = form.get("username", "")
        return name if name and self.state.accounts.get(name) == form.get("password") else None

    def _grant(self, account: str, scopes: list[str], *, refresh: bool) -> None:
        access = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = self.state.permits(account, actions.split(","))
            if allowed:
                access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": account,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.state.lifetime,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        token = jwt.encode(claims, self.key_pem.decode(), algorithm="ES256", headers={"x5c": self.chain})
        self.state.issued.append(token)
        body = {"token": token, "access_token": token, "expires_in": self.state.lifetime}
        if refresh:
            refresh_token = secrets.token_hex(16)
            self.state.refresh_tokens[refresh_token] = account
            body["refresh_token"] = refresh_token
        self._answer(200, body, account=account, scopes=tuple(scopes))

    def _answer(self, status: int, body: object, *, account: str = "", scopes: tuple[str, ...] = ()) -> None:
        self.state.requests.append(TokenRequest(self.command, account, scopes, status))
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def token_server(
    directory: Path, accounts: Mapping[str, str], *, tls: Authority | None = None, anonymous_pull: bool = False
) -> Iterator[TokenServer]:
    """Run a token server on a free loopback port.

    Args:
        directory: where its certificate bundle is written.
        accounts: user names and passwords.
        tls: serve HTTPS with a certificate of this CA.
        anonymous_pull: nobody in particular may pull.
    """
    issuer = trustme.CA()
    leaf = issuer.issue_cert("token.test")
    chain = [
        base64.b64encode(x509.load_pem_x509_certificate(pem.bytes()).public_bytes(Encoding.DER)).decode()
        for pem in leaf.cert_chain_pems
    ]
    root_bundle = directory / "token-root.crt"
    issuer.cert_pem.write_to_path(str(root_bundle))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    scheme = "http"
    if tls is not None:
        server.socket = (
            tls.issue().context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        )
        scheme = "https"
    realm = f"{scheme}://127.0.0.1:{server.server_address[1]}/token"
    state = TokenServer(realm, root_bundle, dict(accounts), anonymous_pull)
    server.RequestHandlerClass = type(
        "Handler", (_Handler,), {"state": state, "key_pem": leaf.private_key_pem.bytes(), "chain": chain}
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
