"""Images of the Docker engine (`docker-daemon:NAME`), streamed: what `docker save` sends becomes an OCI image.

The docker SDK is imported when it is needed: only some users have it (`pip install airbundle[docker]`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from airbundle.bundle.content import BlobSink, Materialised
from airbundle.bundle.digest import is_digest
from airbundle.bundle.docker_save import CONFIG_LIMIT, config_diff_ids, image_of, read_save
from airbundle.bundle.oci import OCI_LAYER, Descriptor
from airbundle.errors import HostError, NoPermission, NoSpace, NotFound, RemoteError, Side, Unreachable
from airbundle.transfer.local import resolves_here
from airbundle.transfer.problems import clean

_CHUNK = 1024 * 1024
_TIMEOUT = 600.0  # seconds in which the engine must send something; it prepares a while before the first byte
_SDK_HINT = {
    "upstream": "pip install 'airbundle[docker]'",
    # Nothing can be fetched there: what the distribution's media have, or what needs no engine.
    "site": "run the bundle itself, which carries it, or install the distribution's python3-docker",
}
_FULL_HINT = "free space below its data directory (`docker info` names it), then run the same command again"


def engine_host(environ: Mapping[str, str] | None = None) -> str:
    """Return the host of the engine that DOCKER_HOST names; empty when that is this host, or none is named."""
    named = (os.environ if environ is None else environ).get("DOCKER_HOST", "").strip()
    if not named or named.startswith(("unix:", "fd:", "/")):
        return ""
    try:
        host = urlsplit(named if "://" in named else f"tcp://{named}").hostname or ""
    except ValueError:
        return ""  # what it is, the engine's client will say
    return "" if not host or resolves_here(host) else host


@contextmanager
def open_engine(*, side: Side = "upstream", environ: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Give a `docker.DockerClient` for the engine that DOCKER_HOST names, else the host's own.

    Args:
        side: whose engine it is; decides the exit code of errors.
        environ: the environment, for DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.

    Raises:
        HostError: the docker SDK is not installed.
        NoPermission: this user may not use the engine's socket.
        Unreachable: no engine answers.
    """
    env = os.environ if environ is None else environ
    where = env.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        raise HostError(
            "the Docker engine is used through the docker SDK for Python, which is not installed", hint=_SDK_HINT[side]
        ) from None
    try:
        # Older SDKs would not ask the engine anything yet, nor which version of the protocol it speaks.
        client = docker.DockerClient.from_env(version="auto", environment=dict(env), timeout=_TIMEOUT)
    except DockerException as error:
        raise _no_engine(error, where, side) from None
    try:
        yield client
    finally:
        client.close()


def materialise_engine_image(
    name: str, sink: BlobSink, *, side: Side = "upstream", environ: Mapping[str, str] | None = None
) -> Materialised:
    """Put an image of the Docker engine into `sink`: layers unpacked, under their diff IDs; the config as it is.

    Args:
        name: as the engine knows it: a name with a tag, or an ID.
        sink: takes the image. When it has all its parts, nothing is streamed.
        side: whose engine it is.
        environ: the environment, for DOCKER_HOST.

    Raises:
        NotFound: the engine has no such image.
        Unreachable, NoPermission, RemoteError: the engine can't be used, or fails.
        VerificationError: what it sent is not what it says.
        HostError: the sink can't take it.
    """
    what = f"docker-daemon:{name}"
    with open_engine(side=side, environ=environ) as client, engine_errors(what, side):
        image = client.images.get(name)
        known = _from_sink(image, sink, what)
        if known is not None:
            return known
        # By its ID, so that the name can't move between the two calls.
        stream = client.api.get_image(image.id, chunk_size=_CHUNK)
        return read_save(_Chunks(stream), sink, name="", what=what)


def engine_image_id(name: str, *, side: Side = "upstream", environ: Mapping[str, str] | None = None) -> str:
    """Return the ID of an image of the Docker engine, the digest of its config; raises as above."""
    with open_engine(side=side, environ=environ) as client, engine_errors(f"docker-daemon:{name}", side):
        return str(client.images.get(name).id)


def _from_sink(image: Any, sink: BlobSink, what: str) -> Materialised | None:
    """Return the image when `sink` has its config, whose digest is the engine's ID, and all its layers."""
    identity = str(image.id)
    if not is_digest(identity) or not sink.has(identity):
        return None
    config = sink.read(identity, CONFIG_LIMIT)
    layers = []
    for diff_id in config_diff_ids(config, what=what):
        size = sink.size(diff_id)
        if size is None:
            return None
        layers.append(Descriptor(OCI_LAYER, diff_id, size))
    return image_of(config, layers, sink, what=what)


class _Chunks:
    """The engine's chunks as a `Readable`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            self._rest = next(self._chunks, b"")
            if not self._rest:
                return b""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


@contextmanager
def engine_errors(what: str, side: Side) -> Iterator[None]:
    """Translate what the docker SDK raises.

    Args:
        what: thing and operation, for errors.
        side: whose engine it is.

    Raises:
        NotFound: the engine has no such image, container or volume.
        NoSpace: the engine's disk is full.
        RemoteError: the engine refuses, with its own words.
        Unreachable: it went away.
    """
    import requests
    from docker.errors import APIError, DockerException, ImageNotFound
    from docker.errors import NotFound as NothingThere

    try:
        yield
    except ImageNotFound:
        raise NotFound(
            f"{what}: the Docker engine has no such image",
            side=side,
            hint="`docker images` lists what it has; build or pull it first",
        ) from None
    except NothingThere as error:
        raise NotFound(f"{what}: the Docker engine says: {clean(str(error.explanation))}", side=side) from None
    except APIError as error:
        said = clean(str(error.explanation or error))
        if "no space left" in said:
            raise NoSpace(f"{what}: the Docker engine's disk is full: {said}", hint=_FULL_HINT) from None
        raise RemoteError(f"{what}: the Docker engine says: {said}", side=side, status=error.status_code) from None
    except (DockerException, requests.RequestException) as error:
        raise Unreachable(f"{what}: the Docker engine failed: {clean(str(error))}", side=side) from None


def _no_engine(error: BaseException, where: str, side: Side) -> HostError | Unreachable:
    cause = _cause(error)
    if cause is not None and cause.errno in (errno.EACCES, errno.EPERM):
        return NoPermission(
            f"this user may not use the Docker engine at {where}",
            hint="run as root, or add the user to the group `docker` and log in again",
        )
    reason = cause.strerror if cause is not None and cause.strerror else clean(str(error))
    return Unreachable(
        f"no Docker engine answers at {where}: {reason}",
        side=side,
        hint="start it (`systemctl start docker`), or name another one in DOCKER_HOST",
    )


def _cause(error: BaseException | None) -> OSError | None:
    """Return the system's error at the bottom of the SDK's, which is wrapped in three libraries' own."""
    seen = 0
    while error is not None and seen < 10:
        seen += 1
        if isinstance(error, OSError) and error.errno is not None:
            return error
        inner = next((item for item in _flat(error.args) if isinstance(item, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
    return None


def _flat(items: object) -> Iterator[object]:
    for item in items if isinstance(items, tuple) else ():
        yield from _flat(item) if isinstance(item, tuple) else (item,)
