"""How the registry's container is to run: what is asked for, and the files and the fingerprint that follow from it.

The configuration is a file of our own, not variables on top of the image's: so it is the same with every registry
image, and one digest tells whether a container runs with it. Spec: distribution `docs/configuration.md`.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import canonical_json
from airbundle.bundle.serving import join_host
from airbundle.errors import UsageError
from airbundle.installer.files import read_file
from airbundle.installer.state import SYSTEM

NAME = "airbundle-registry"
CONTAINER_PORT = 5000
"""Where the registry listens inside its container."""

VOLUME_PATH = "/var/lib/registry"
INSTANCE = "X-Airbundle-Instance"
"""Header of every answer: digest of the configuration that the registry runs with."""

_VERSION = 1  # of what a container is made like: raise it, and existing ones are made anew
_HOME = "airbundle"
_PEM_LIMIT = 1024 * 1024
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class ContainerConfig:
    """How the registry's container is to run.

    Attributes:
        certificate, key: its TLS certificate (with chain) and key, PEM files on this host.
        ca_file: by which this host checks that it answers.
        host, port: address and port at which the engine publishes it.
        name: of the container; its volume is called the same, with `-data`.
        image: which image of the bundle; empty: the registry's image is found.
        url: at which this host reaches it; by default made of `host` and `port`. Needed where the engine is another
            host's.
    """

    certificate: Path
    key: Path
    ca_file: Path
    host: str = "0.0.0.0"  # noqa: S104 - nodes pull from it
    port: int = 5000
    name: str = NAME
    image: str = ""
    url: str = ""

    @property
    def volume(self) -> str:
        """The name of the volume with its data."""
        return volume_name(self.name)

    @property
    def here(self) -> str:
        """URL at which this host reaches it."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - compared
        return self.url.rstrip("/") or f"https://{join_host(local, self.port)}"


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that answers.

    Attributes:
        url: at which this host reaches it.
        changed: whether anything had to be done.
        image: name in the bundle of the image that it runs.
        container, volume: their names in the engine.
    """

    url: str
    changed: bool
    image: str
    container: str
    volume: str


@dataclass(frozen=True)
class Setup:
    """What a container gets.

    Attributes:
        instance: digest of all that it runs with, image included; a container with another one is made anew.
        files: tar of its files, from `/`.
        command: arguments of the image's entrypoint.
        environment: variables besides the image's own.
    """

    instance: str
    files: bytes = field(repr=False)
    command: tuple[str, ...] = ("serve", f"/{_HOME}/config.yml")
    # registry:3 would look for a collector of traces otherwise, and complain that there is none.
    environment: tuple[tuple[str, str], ...] = (("OTEL_TRACES_EXPORTER", "none"),)


def container_name(root: Path) -> str:
    """Return the container's name for a state directory: each has its own, so that they can share an engine."""
    if root == SYSTEM:
        return NAME
    return f"{NAME}-{hex_of(sha256(str(root.absolute()).encode()))[:8]}"


def volume_name(name: str) -> str:
    """Return the name of the volume that belongs to a container."""
    return f"{name}-data"


def make_setup(config: ContainerConfig, *, image: str, user: str) -> Setup:
    """Return what the container gets.

    Args:
        config: how it is to run.
        image: digest of the image's manifest.
        user: whom the image runs as; empty for root.

    Raises:
        UsageError: the certificate or key isn't there.
        HostError: they can't be read.
    """
    certificate, key = _read(config.certificate), _read(config.key)
    # Stays the same when the container is made anew: uploads under way can go on.
    secret = hmac.new(key, b"airbundle registry http secret", hashlib.sha256).hexdigest()
    everything = {
        "version": _VERSION,
        "image": image,
        "host": config.host,
        "port": config.port,
        "config": _registry_config("", secret),
        "files": [sha256(certificate), sha256(key)],
    }
    instance = sha256(canonical_json(everything))
    files = {
        # JSON is YAML.
        "config.yml": canonical_json(_registry_config(instance, secret)),
        "tls.crt": certificate,
        "tls.key": key,
    }
    return Setup(instance, _tar(files, user))


def _read(path: Path) -> bytes:
    data = read_file(path, limit=_PEM_LIMIT)
    if data is None:
        raise UsageError(f"{path}: there is no such file", hint="`airbundle ca issue` makes certificate and key")
    return data


def _registry_config(instance: str, secret: str) -> dict[str, Any]:
    return {
        "version": "0.1",
        "log": {"level": "info", "fields": {"service": "registry"}},
        "storage": {
            "filesystem": {"rootdirectory": VOLUME_PATH},
            "delete": {"enabled": True},
            # No cache of blobs in memory: it would go on promising blobs that a garbage collection took away.
        },
        "http": {
            "addr": f":{CONTAINER_PORT}",
            "secret": secret,
            "headers": {"X-Content-Type-Options": ["nosniff"], INSTANCE: [instance]},
            "tls": {
                "certificate": f"/{_HOME}/tls.crt",
                "key": f"/{_HOME}/tls.key",
                "minimumtls": "tls1.2",
            },
        },
        # registry:3 takes sparse indexes with this; registry:2 does not know it, and passes over it.
        "validation": {"manifests": {"indexes": {"platforms": "none"}}},
    }


def _tar(files: dict[str, bytes], user: str) -> bytes:
    """Return a tar of `files` that only the registry's user can read, as far as its number is known."""
    number, group = _numbers(user)
    owned = number is not None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directory = tarfile.TarInfo(_HOME)
        directory.type, directory.mode = tarfile.DIRTYPE, 0o500 if owned else 0o755
        entries = [(directory, b"")]
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(f"{_HOME}/{name}")
            info.size, info.mode = len(data), 0o400 if owned else 0o444
            entries.append((info, data))
        for info, data in entries:
            info.uid, info.gid = number or 0, group
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _numbers(user: str) -> tuple[int | None, int]:
    """Return user and group number; None where an image names its user, whom only the image knows."""
    name, _, group = user.partition(":")
    if name in ("", "root"):
        return 0, 0
    if not _NUMBER.fullmatch(name):
        return None, 0
    return int(name), int(group) if _NUMBER.fullmatch(group) else 0
