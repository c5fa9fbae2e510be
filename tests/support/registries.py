"""Real registries for tests: Debian's docker-registry, which is `registry:2`, on a free loopback port.

    with run_registry(tmp_path, tls=authority, auth="basic") as registry:
        RegistryClient(...).repository(f"{registry.host}/library/redis")

`auth` is `none`, `basic` (htpasswd) or `token` (a real token server beside it). The port is chosen by the kernel and
read from the log, so that any number of registries can run at once.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.support.process import program, running
from tests.support.tls import Authority
from tests.support.tokens import ISSUER, SERVICE, TokenServer, token_server

Auth = Literal["none", "basic", "token"]

USER = "robot"
PASSWORD = "s3cret-Passw0rd"


@dataclass(frozen=True)
class Request:
    """One line of the registry's access log. `sent` is the number of body bytes it answered with."""

    method: str
    path: str
    status: int
    sent: int
    agent: str


@dataclass(frozen=True)
class Registry:
    """A registry that answers.

    Attributes:
        host: `127.0.0.1:<port>`, the first part of image names.
        storage: its storage directory (`docker/registry/v2/…` below it).
        ca_file: the CA to trust; None over plain HTTP.
        username, password: the one account; empty without auth.
        log: gives its log so far.
        tokens: the token server beside it, for `auth="token"`.
    """

    host: str
    storage: Path
    ca_file: Path | None
    username: str
    password: str
    log: Callable[[], str]
    tokens: TokenServer | None = None

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.host.rpartition(":")[2])

    @property
    def url(self) -> str:
        """Scheme and host."""
        return f"{'http' if self.ca_file is None else 'https'}://{self.host}"

    def requests(self) -> list[Request]:
        """Return the access log so far."""
        return [
            Request(m["method"], m["path"], int(m["status"]), int(m["sent"]), m["agent"])
            for m in _ACCESS.finditer(self.log())
        ]

    def stored(self, ending: str) -> list[Path]:
        """Return what its storage has whose path ends with `ending`; what goes away meanwhile (uploads) is no harm."""
        found = (Path(top, name) for top, names, files in os.walk(self.storage) for name in (*names, *files))
        return [path for path in found if path.parts[-ending.count("/") - 1 :] == tuple(ending.split("/"))]

    def uploads(self) -> list[Request]:
        """Return the requests that began or made content: what a second, idle run must not send."""
        return [request for request in self.requests() if request.method in {"POST", "PATCH", "PUT"}]

    def registries_yaml(self, *mirrored: str, plain: bool = False) -> dict[str, Any]:
        """Return a `registries.yaml` document that makes this registry the mirror of hosts.

        Args:
            mirrored: upstream hosts, such as `docker.io`, which are not asked themselves; their repositories lie here
                below `<host>/` (`docker.io/library/redis`; `h:5000/x` below `h_5000/`).
            plain: their repositories lie at the root instead.
        """
        mirrors: dict[str, Any] = {}
        for host in mirrored:
            mirrors[host] = {"endpoint": [self.url], "default_endpoint": False}
            if not plain:
                mirrors[host]["rewrite"] = {"^(.*)$": f"{host.replace(':', '_')}/$1"}
        mirrors[self.host] = {"endpoint": [self.url]}
        config: dict[str, Any] = {}
        if self.ca_file is not None:
            config["tls"] = {"ca_file": str(self.ca_file)}
        if self.username:
            config["auth"] = {"username": self.username, "password": self.password}
        return {"mirrors": mirrors, "configs": {self.host: config} if config else {}}

    def docker_config(self, directory: Path) -> Path:
        """Write `config.json` with this registry's credentials into `directory` (a DOCKER_CONFIG) and return it."""
        import base64

        directory.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        path = directory / "config.json"
        path.write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return path


_ACCESS = re.compile(
    r'^[\d.]+ - \S+ \[[^\]]+\] "(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) (?P<sent>\d+)'
    r' "[^"]*" "(?P<agent>[^"]*)"',
    re.MULTILINE,
)


@contextmanager
def run_registry(
    directory: Path,
    *,
    tls: Authority | None = None,
    auth: Auth = "none",
    storage: Path | None = None,
    read_only: bool = False,
    delete: bool = True,
    anonymous_pull: bool = False,
    binary: Path | None = None,
) -> Iterator[Registry]:
    """Run docker-registry for the length of a `with` block; it answers `/v2/` when the block begins.

    Args:
        directory: for configuration, log and (by default) storage; must be the caller's own.
        tls: serve HTTPS with a certificate of this CA for localhost, 127.0.0.1 and registry.internal.
        auth: who may come in; see the module.
        storage: an existing storage directory, such as the corpus's.
        read_only: refuse every change (405); the storage is not touched, so that many may share it.
        delete: allow deleting.
        anonymous_pull: with `token`, let everyone pull.
        binary: another registry of the same family, such as registry:3.
    """
    directory.mkdir(parents=True, exist_ok=True)
    storage = storage or directory / "storage"
    username, password = ("", "") if auth == "none" else (USER, PASSWORD)
    with ExitStack() as stack:
        tokens = None
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info"},  # "listening on" is told at this level
            "storage": {
                "filesystem": {"rootdirectory": str(storage), "maxthreads": 100},
                "delete": {"enabled": delete},
                "maintenance": {"readonly": {"enabled": read_only}, "uploadpurging": {"enabled": False}},
            },
            "http": {"addr": "127.0.0.1:0", "secret": "of-no-use-here"},
        }
        if tls is not None:
            certificate = tls.issue()
            config["http"]["tls"] = {"certificate": str(certificate.cert), "key": str(certificate.key)}
        if auth == "basic":
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(_htpasswd(directory))}}
        elif auth == "token":
            tokens = stack.enter_context(
                token_server(directory, {USER: PASSWORD}, tls=tls, anonymous_pull=anonymous_pull)
            )
            config["auth"] = {
                "token": {
                    "realm": tokens.realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(tokens.root_bundle),
                }
            }
        path = directory / "registry.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        command = [str(binary or program("docker-registry", "docker-registry")), "serve", str(path)]
        process = stack.enter_context(running(command, directory / "registry.log"))
        line = process.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)", what="docker-registry")
        ca_file = None if tls is None else tls.ca_file
        registry = Registry(f"127.0.0.1:{line[1]}", storage, ca_file, username, password, process.text, tokens)
        process.wait_for(lambda: answers(registry), what="docker-registry")
        yield registry


def _htpasswd(directory: Path) -> Path:
    path = directory / "htpasswd"
    path.write_bytes(htpasswd_line())
    return path


def htpasswd_line() -> bytes:
    """Return an htpasswd file with the one account."""
    # bcrypt, which is all that the registry accepts; cost 4 keeps each request fast.
    command = [program("htpasswd", "apache2-utils"), "-nbB", "-C", "4", USER, PASSWORD]
    return subprocess.run(command, check=True, capture_output=True).stdout


def answers(registry: Registry) -> bool | None:
    """Tell (True, or None for not yet) whether `/v2/` is answered, be it by 401."""
    context = None if registry.ca_file is None else ssl.create_default_context(cafile=str(registry.ca_file))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    try:
        with opener.open(f"{registry.url}/v2/", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return True if error.code == 401 else None
    except OSError:
        return None
