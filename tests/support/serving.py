"""The embedded server as a program of its own, with the gunicorn that is installed or the oldest that is supported.

with run_server(tmp_path, [bundle], tls=authority) as server:
    httpx.get(server.url + "/v2/", verify=server.context())
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import httpx

from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.store.cache import Cache
from tests.support.corpus import cache_root
from tests.support.locks import once_per_machine
from tests.support.process import Running, running
from tests.support.tls import Authority, ServerCertificate


def pinned_gunicorn() -> Path:
    """Return the wheel of the gunicorn that installers carry; Python imports from it as it is."""
    (part,) = (part for part in pinned_parts() if part.name.startswith("gunicorn-"))
    cache = Cache(cache_root() / "installer-parts")
    with once_per_machine("installer-parts"):
        ensure_parts([part], cache)
    path = cache.path(part.digest)
    assert ZipFile(path).testzip() is None
    return path


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        url: scheme, host and port.
        ca_file: the CA to trust; None over plain HTTP.
        log: its access log.
    """

    url: str
    process: Running
    ca_file: Path | None
    log: Path
    certificate: ServerCertificate | None

    @property
    def host(self) -> str:
        """Host and port, the first part of image names."""
        return self.url.partition("://")[2]

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.host.rpartition(":")[2])

    def context(self) -> ssl.SSLContext | bool:
        """Return what httpx takes as `verify`."""
        return True if self.ca_file is None else ssl.create_default_context(cafile=str(self.ca_file))

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a path."""
        with httpx.Client(verify=self.context(), trust_env=False, timeout=30) as client:
            return client.get(self.url + path, headers=headers)


@contextmanager
def run_server(
    directory: Path,
    bundles: Sequence[Path],
    *arguments: str,
    tls: Authority | None = None,
    gunicorn: Path | None = None,
    env: Mapping[str, str] | None = None,
    errors: int = subprocess.STDOUT,
) -> Iterator[Server]:
    """Run `airbundle serve` for the length of a `with` block, on a free loopback port.

    Args:
        directory: for its logs.
        bundles: what to serve.
        arguments: further ones.
        tls: serve HTTPS with a certificate of this CA.
        gunicorn: the wheel to use instead of what is installed.
        env: further variables of its environment.
        errors: a descriptor for its standard error, which goes to its log by default.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "access.log"
    command: list[str | Path] = [sys.executable, "-m", "airbundle", "serve", *bundles, "--listen", "127.0.0.1:0"]
    command += ["--access-log", log, *arguments]
    certificate = tls.issue() if tls else None
    if certificate:
        command += ["--tls-cert", certificate.cert, "--tls-key", certificate.key]
    path = os.pathsep.join([str(gunicorn)] if gunicorn else [])
    # Buffers as on a site, whatever this environment says.
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "", **(env or {})}
    with running(command, directory / "server.log", env=environment, errors=errors) as process:
        line = process.wait_for_line(r"^ready: (\S+)$", what="airbundle serve")
        yield Server(line[1], process, tls.ca_file if tls else None, log, certificate)
