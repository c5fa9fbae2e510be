"""The server's configuration document: written by the installer, read by the server (docs/serve.md).

It lies in this layer because neither side may import the other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airbundle.errors import DocumentError, Finding

API_VERSION = "airbundle.dev/v1"
KIND = "Server"
CONFIG_LIMIT = 16 * 1024 * 1024
"""Largest configuration in bytes that is read."""

REGISTRY, CHARTS, FILES, CLAMAV = "registry", "charts", "files", "clamav"
PARTS = (REGISTRY, CHARTS, FILES, CLAMAV)
"""What can be served. A site whose registry is another one leaves `registry` out: then `/v2/` isn't there."""

DEFAULT_HOST, DEFAULT_PORT, SITE_PORT = "127.0.0.1", 5000, 5443

BUNDLE, PARTLY, BASE, SUPPLEMENT = "bundle", "partly", "base", "supplement"
HOLDS = (BUNDLE, PARTLY, BASE, SUPPLEMENT)
"""What a served file holds: a bundle; one with holes where blobs are that only another registry needs; a bundle that is
served for its blobs alone, not for its names; blobs that a delta leaves out, which is no bundle."""

Fingerprint = tuple[int, int, int, int]
"""Inode, size in bytes, mtime and ctime in nanoseconds: with the same four a file holds the same bytes (design §6)."""

_PREFIX = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*")


def fingerprint(stat: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file from what `os.stat` or `os.fstat` says of it."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@dataclass(frozen=True)
class ServedBundle:
    """A bundle to serve.

    Attributes:
        volumes: its one file, its volumes, or directories of volumes.
        verified: fingerprints of its files, in the order of the bundle, from when all blobs had verified. While they
            hold, blobs are served at once; else each is hashed before it is served for the first time.
        holds: which of HOLDS.
    """

    volumes: tuple[Path, ...]
    verified: tuple[Fingerprint, ...] = ()
    holds: str = BUNDLE

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "volumes": [str(path) for path in self.volumes],
            "verified": [list(each) for each in self.verified],
            "holds": self.holds,
        }


@dataclass(frozen=True)
class ServerConfig:
    """How the embedded server runs.

    Attributes:
        bundles: the first one wins where two say different things of one name.
        host, port: where it listens; port 0 takes a free one.
        tls_cert, tls_key: PEM files, both or neither. They are read again when they change.
        ca: PEM file of the CA that clients are to trust, for the page that tells people how; None without that page.
        prefix: what repositories begin with, as in `registry.prefix`.
        serves: which of PARTS.
        url: the URL clients use, for pages and commands; by default made of host and port.
        access_log: a file, `-` for standard output, or empty for none. One line per request.
        workers: processes; 0 takes one per core, four at most.
        threads: concurrent transfers of each worker.
        header_seconds: how long a client may take to send a request's header, with the TLS handshake before it.
    """

    bundles: tuple[ServedBundle, ...]
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ca: Path | None = None
    prefix: str = ""
    serves: tuple[str, ...] = PARTS
    url: str = ""
    access_log: str = ""
    workers: int = 0
    threads: int = 64
    header_seconds: int = 20

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "https" if self.tls_cert else "http"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "bundles": [bundle.to_json() for bundle in self.bundles],
            "host": self.host,
            "port": self.port,
            "tlsCert": str(self.tls_cert or ""),
            "tlsKey": str(self.tls_key or ""),
            "ca": str(self.ca or ""),
            "prefix": self.prefix,
            "serves": list(self.serves),
            "url": self.url,
            "accessLog": self.access_log,
            "workers": self.workers,
            "threads": self.threads,
            "headerSeconds": self.header_seconds,
        }

    def to_bytes(self) -> bytes:
        """Return the file; equal values give equal bytes, so that a changed file means a changed configuration."""
        return (json.dumps(self.to_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_config(raw: bytes, *, where: str) -> ServerConfig:
    """Read a configuration.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: it doesn't parse; every finding is listed.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: not JSON: {error}") from None
    reader = _Reader(where)
    config = reader.config(body)
    if reader.findings:
        raise DocumentError(
            f"{where}: {len(reader.findings)} fields are not as the server's configuration has them",
            hint="run `airbundle install` again, which writes it",
            findings=reader.findings,
        )
    return config


class _Reader:
    """Reads fields and collects what is wrong with them."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.findings: list[Finding] = []

    def wrong(self, field: str, found: object, expected: str) -> None:
        self.findings.append(
            Finding("wrong field", where=f"{self.where} {field}", found=repr(found)[:80], expected=expected)
        )

    def text(self, body: Mapping[str, Any], name: str, default: str = "") -> str:
        value = body.get(name, default)
        if isinstance(value, str) and value.isprintable():
            return value
        self.wrong(name, value, "text")
        return default

    def number(self, body: Mapping[str, Any], name: str, default: int, most: int) -> int:
        value = body.get(name, default)
        if type(value) is int and 0 <= value <= most:
            return value
        self.wrong(name, value, f"a whole number up to {most}")
        return default

    def path(self, field: str, value: object) -> Path | None:
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            return Path(value)
        if value != "":
            self.wrong(field, value, "an absolute path")
        return None

    def fingerprints(self, value: object, field: str) -> tuple[Fingerprint, ...]:
        items = value if isinstance(value, list) else [value]
        if all(isinstance(item, list) and [type(number) for number in item] == [int] * 4 for item in items):
            return tuple((item[0], item[1], item[2], item[3]) for item in items)
        self.wrong(field, value, "a list of [inode, size, mtime, ctime]")
        return ()

    def bundle(self, value: object, field: str) -> ServedBundle:
        body = value if isinstance(value, dict) else {}
        names = body.get("volumes")
        found = [self.path(f"{field}.volumes", name) for name in names] if isinstance(names, list) else []
        paths = tuple(path for path in found if path is not None)
        if not paths:
            self.wrong(field, value, "an object with volumes, a list of absolute paths")
        holds = self.text(body, "holds", BUNDLE)
        if holds not in HOLDS:
            self.wrong(f"{field}.holds", holds, f"one of {', '.join(HOLDS)}")
        return ServedBundle(paths, self.fingerprints(body.get("verified", []), f"{field}.verified"), holds)

    def bundles(self, value: object) -> tuple[ServedBundle, ...]:
        if not isinstance(value, list):
            self.wrong("bundles", value, "a list")
            return ()
        return tuple(self.bundle(item, f"bundles[{i}]") for i, item in enumerate(value))

    def serves(self, value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(item in PARTS for item in value):
            return tuple(part for part in PARTS if part in value)
        self.wrong("serves", value, f"some of {', '.join(PARTS)}")
        return ()

    def config(self, value: object) -> ServerConfig:
        body = value if isinstance(value, dict) else {}
        if body.get("apiVersion") != API_VERSION or body.get("kind") != KIND:
            self.wrong("apiVersion, kind", (body.get("apiVersion"), body.get("kind")), f"{API_VERSION}, {KIND}")
            return ServerConfig(())
        known = ServerConfig(()).to_json().keys()
        for name in sorted(set(body) - set(known)):
            self.wrong(str(name), body[name], "no such field")
        cert, key = (self.path(name, body.get(name, "")) for name in ("tlsCert", "tlsKey"))
        if (cert is None) != (key is None):
            self.wrong("tlsCert, tlsKey", (str(cert), str(key)), "both or neither")
        prefix = self.text(body, "prefix")
        if prefix and not _PREFIX.fullmatch(prefix):
            self.wrong("prefix", prefix, "lower-case words joined by '.', '_', '-' and '/'")
        return ServerConfig(
            bundles=self.bundles(body.get("bundles", [])),
            host=self.text(body, "host", DEFAULT_HOST),
            port=self.number(body, "port", DEFAULT_PORT, 65535),
            tls_cert=cert,
            tls_key=key,
            ca=self.path("ca", body.get("ca", "")),
            prefix=prefix,
            serves=self.serves(body.get("serves", list(PARTS))),
            url=self.text(body, "url"),
            access_log=self.text(body, "accessLog"),
            workers=self.number(body, "workers", 0, 256),
            threads=self.number(body, "threads", 64, 1024) or 1,
            header_seconds=self.number(body, "headerSeconds", 20, 3600) or 1,
        )


def parse_listen(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, `[IPV6]:PORT`, `:PORT` (all addresses) or `PORT` (this host only).

    Raises:
        ValueError: another form; says what was expected.
    """
    host, colon, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(
            f"{text!r} is no address to listen on; expected HOST:PORT, such as {DEFAULT_HOST}:{DEFAULT_PORT}"
        )
    if not colon:
        return DEFAULT_HOST, int(port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, such as [::1]:{port}")
    return host or "0.0.0.0", int(port)  # noqa: S104 - asked for by leaving the host out


def join_host(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
