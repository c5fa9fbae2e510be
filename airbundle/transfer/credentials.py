"""Credentials from the places where docker, podman and helm keep them, and from credential helpers.

Files are of docker's form (`auths`, `credHelpers`, `credsStore`; containers-auth.json(5)). The first place that knows
a host wins: what a variable names goes before what lies in the home directory.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airbundle.errors import DocumentError
from airbundle.transfer.helpers import Helpers

logger = logging.getLogger(__name__)

FILE_LIMIT = 1024 * 1024
HUB_KEY = "https://index.docker.io/v1/"
"""What docker calls Docker Hub in its own files and towards helpers."""
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_SCHEME = re.compile(r"^[a-z]+://")


@dataclass(frozen=True)
class Credential:
    """How to log in at one host. Its secrets are never shown, nor is the user name.

    Attributes:
        username, password: for Basic, or for a token server.
        identity_token: a refresh token of OAuth 2, used in place of a password at the token server.
        registry_token: a bearer token that is sent as it is.
        source: where it was found: a file, or a helper.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = field(default="", repr=False, compare=False)

    @property
    def basic(self) -> str | None:
        """The value of an Authorization header, or None without user and password."""
        if not self.username or not self.password:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class CredentialStore:
    """Finds credentials by host and repository; reads files when they are first needed.

    Args:
        files: in the order in which they are asked; those that don't exist are passed over.
        environ: the environment for helpers.
        tell: gets one line when a helper fails.
    """

    def __init__(
        self,
        files: tuple[Path, ...] = (),
        *,
        environ: Mapping[str, str] | None = None,
        tell: Callable[[str], None] = logger.warning,
    ) -> None:
        self._paths = files
        self._helpers = Helpers(os.environ if environ is None else environ, tell)
        self._lock = threading.Lock()
        self._files: list[_File] | None = None

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, tell: Callable[[str], None] = logger.warning
    ) -> CredentialStore:
        """Return the store of the usual places."""
        env = os.environ if environ is None else environ
        return cls(tuple(usual_places(env)), environ=env, tell=tell)

    def find(self, host: str, repository: str = "") -> Credential | None:
        """Return the credentials for a repository of `host[:port]`, or None.

        Raises:
            DocumentError: a file is there, but is not of the form.
        """
        names = _names(host, repository)
        for file in self._read():
            credential = self._in_file(file, host, names)
            if credential is not None:
                return credential
        return None

    @property
    def places(self) -> tuple[Path, ...]:
        """The files that are asked, whether they exist or not."""
        return self._paths

    def _read(self) -> list[_File]:
        with self._lock:
            if self._files is None:
                found = (_read_file(path) for path in self._paths)
                self._files = [file for file in found if file is not None]
            return self._files

    def _in_file(self, file: _File, host: str, names: list[str]) -> Credential | None:
        server = HUB_KEY if host in _HUB_NAMES else host
        helper = next((file.helpers[name] for name in names if name in file.helpers), file.store)
        if helper:
            got = self._helpers.get(helper, server)
            if got is not None:
                username, secret = got
                # docker's convention: this user name says that the secret is a refresh token.
                source = f"docker-credential-{helper} ({file.path})"
                if username == "<token>":
                    return Credential(identity_token=secret, source=source)
                return Credential(username, secret, source=source)
        found = next((file.auths[name] for name in names if name in file.auths), None)
        return None if found is None else replace(found, source=str(file.path))


def usual_places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files to ask, in order: podman's, docker's, helm's; first those that variables name."""
    home = Path(environ.get("HOME") or "/nonexistent")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    podman, docker, helm = (
        environ.get(name) for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "HELM_REGISTRY_CONFIG")
    )
    if podman:
        yield Path(podman)
    if docker:
        yield Path(docker) / "config.json"
    if helm:
        yield Path(helm)
    if not podman:
        runtime = environ.get("XDG_RUNTIME_DIR")
        yield Path(runtime or f"/run/containers/{os.getuid()}") / ("containers/auth.json" if runtime else "auth.json")
        yield config / "containers" / "auth.json"
    if not docker:
        yield home / ".docker" / "config.json"
    if not helm:
        yield Path(environ.get("HELM_CONFIG_HOME") or config / "helm") / "registry" / "config.json"


@dataclass(frozen=True)
class _File:
    path: Path
    auths: Mapping[str, Credential] = field(repr=False)
    helpers: Mapping[str, str]
    store: str


def _read_file(path: Path) -> _File | None:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        logger.warning("credentials in %s are not used: %s", path, error.strerror)
        return None
    if len(raw) > FILE_LIMIT:
        raise DocumentError(
            f"{path}: more than {FILE_LIMIT} bytes; not a file of credentials as docker writes it",
            hint="mend it, or log in again",
        )
    try:
        return _parse_file(path, json.loads(raw) if raw.strip() else {})
    except (ValueError, RecursionError, TypeError, AttributeError):
        # What json or we would quote from the file may be a secret.
        raise DocumentError(
            f"{path}: not a file of credentials as docker writes it", hint="mend it, or log in again"
        ) from None


def _parse_file(path: Path, body: Any) -> _File:
    auths = {_normal(key): _entry(entry) for key, entry in (body.get("auths") or {}).items()}
    return _File(
        path,
        auths={name: entry for name, entry in auths.items() if entry is not None},
        helpers={_normal(key): str(value) for key, value in (body.get("credHelpers") or {}).items() if value},
        store=str(body.get("credsStore") or ""),
    )


def _entry(entry: Mapping[str, Any]) -> Credential | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        username, password = decode_auth(str(entry["auth"])) or (username, password)
    credential = Credential(
        username, password, str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    )
    empty = credential.basic is None and not credential.identity_token and not credential.registry_token
    return None if empty else credential


def decode_auth(text: str) -> tuple[str, str] | None:
    """Return user and password of docker's `auth` (base64 of `user:password`); None when it is none."""
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password.rstrip("\0")) if colon and user else None


def _normal(key: str) -> str:
    """Return the name that a key means: `https://host/v1/` is `host`, Docker Hub's many names are `docker.io`."""
    bare = _SCHEME.sub("", key.strip())
    if bare != key.strip():
        bare = re.sub(r"/v[12](?:/.*)?$", "", bare)
    bare = bare.rstrip("/")
    host, slash, path = bare.partition("/")
    return ("docker.io" if host in _HUB_NAMES else host) + (f"/{path}" if slash and path not in ("v1", "v2") else "")


def _names(host: str, repository: str) -> list[str]:
    """Return the keys under which a repository's credentials may stand, the closest first."""
    parts = repository.split("/") if repository else []
    base = "docker.io" if host in _HUB_NAMES else host
    return ["/".join([base, *parts[:count]]) for count in range(len(parts), -1, -1)]
