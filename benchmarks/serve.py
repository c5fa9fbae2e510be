"""Serving large blobs, against nginx sending the same bytes: at least 0.8 of its rate (design §10).

Both run two processes on loopback; rounds are taken in turns, and each figure is the best of its rounds. The client is
curl, one and four at once.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.bundles import make_images, write_bundle
from tests.support.images import image, layer
from tests.support.process import program, running
from tests.support.serving import run_server
from tests.support.tls import Authority

CLIENTS = (1, 4)


@dataclass(frozen=True)
class Rate:
    """Megabytes a second that both reached; `kind` is `plain` or `TLS`."""

    kind: str
    clients: int
    own: float
    other: float


def rates(directory: Path, size: int, rounds: int) -> Iterator[Rate]:
    """Serve a blob of `size` bytes with both, over plain HTTP and TLS."""
    big = image([layer({"blob": _noise(size)}, compression="none")])
    blob = big.blobs[1]
    assert blob.data is not None
    bundle, raw = directory / "x.airbundle", directory / "blob"
    write_bundle(bundle, make_images({"docker.io/bench/big:1": big}), checksum=False)
    raw.write_bytes(blob.data)
    authority = Authority(directory / "ca")
    path = f"/v2/docker.io/bench/big/blobs/{blob.descriptor.digest}"
    for tls in (None, authority):
        with nginx(directory, tls) as other, run_server(directory / "server", [bundle], tls=tls) as server:
            urls = (server.url + path, other + "/blob")
            for clients in CLIENTS:
                # In turns, so that a busy machine is busy for both.
                rounds_of_both = [[rate(url, tls, clients, size) for url in urls] for _ in range(rounds)]
                own, theirs = (max(rates) for rates in zip(*rounds_of_both))
                yield Rate("TLS" if tls else "plain", clients, own, theirs)
        (directory / "server" / "server.log").unlink()


def _noise(size: int) -> bytes:
    piece = random.Random(1).randbytes(1 << 20)
    return piece * (size >> 20)


def rate(url: str, tls: Authority | None, clients: int, size: int) -> float:
    """Fetch `url` by several clients at once; return the rate in MB/s over all of them."""
    command = [program("curl", "curl"), "-sSf", "-o", "/dev/null", url]
    if tls is not None:
        command += ["--cacert", str(tls.ca_file)]
    began = time.monotonic()
    processes = [subprocess.Popen(command) for _ in range(clients)]
    assert [process.wait() for process in processes] == [0] * clients
    return clients * size / 1e6 / (time.monotonic() - began)


@contextmanager
def nginx(directory: Path, tls: Authority | None) -> Iterator[str]:
    """Run nginx over `directory` with two workers and sendfile, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    certificate = tls.issue() if tls else None
    ssl = f"ssl_certificate {certificate.cert}; ssl_certificate_key {certificate.key};" if certificate else ""
    temporary = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(
        f"{user} daemon off; worker_processes 2; pid {directory}/nginx.pid; error_log stderr notice; events {{}}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port} {'ssl' if tls else ''}; root {directory}; {ssl} }} }}\n"
    )
    command: list[str | Path] = [program("nginx", "nginx-light"), "-p", directory, "-c", config]
    with running(command, directory / f"nginx-{port}.log") as process:
        process.wait_for_line("start worker process", what="nginx")
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
