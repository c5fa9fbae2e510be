"""Images, containers and volumes of a Docker engine, as far as a registry in a container needs them.

What is here asks the engine and tells what it says; what to do about it is decided by the installer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airbundle.bundle.oci import Platform
from airbundle.bundle.serving import join_host
from airbundle.errors import NotFound, RemoteError, Side, SiteError
from airbundle.transfer.docker_engine import engine_errors, open_engine
from airbundle.transfer.listeners import who_listens
from airbundle.transfer.problems import clean

_ZSTD_SINCE = 23  # the first major version whose `docker load` unpacks zstd layers
_LOG_SIZE, _LOG_FILES = "10m", "3"  # of one container, at most
_LOG_LIMIT = 64 * 1024
_SIDE: Side = "site"
# As engines put it: docker-proxy's, libnetwork's and the kernel's words.
_PORT_BUSY = re.compile(r"port is already allocated|address already in use|ports are not available")
_NO_ADDRESS = re.compile(r"cannot assign requested address")


@dataclass(frozen=True)
class ContainerSpec:
    """A container to make.

    Attributes:
        name: in the engine.
        image: name or ID of an image that the engine has.
        command: arguments of the image's entrypoint.
        environment: besides the image's own.
        labels: of the container.
        volume: name of a volume, which lies at `volume_path` in the container.
        port: TCP port in the container, published at `host`:`host_port`.
        files: a tar of what lies in the container before it starts, from `/`. Files are copied and not mounted:
            so an engine on another host, or one without root, has them, too.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    volume: str
    volume_path: str
    port: int
    host: str
    host_port: int
    files: bytes = field(repr=False)


@dataclass(frozen=True)
class Container:
    """A container as the engine tells of it.

    Attributes:
        status: the engine's word: `created`, `running`, `restarting`, `exited`, `paused`, `removing`, `dead`.
        restarts: how often the engine has restarted it since it was started.
        exit_code: of its last end; 0 while it has not ended.
        error: why the engine could not start it.
        labels: its own and those of its image.
        image: the name that it was made from.
        started: when, RFC 3339; empty when it never was.
        ports: of the host, where it is published.
    """

    id: str
    name: str
    status: str
    restarts: int
    exit_code: int
    error: str
    labels: Mapping[str, str]
    image: str
    started: str
    ports: tuple[int, ...] = ()


@contextmanager
def open_containers(environ: Mapping[str, str] | None = None) -> Iterator[ContainerEngine]:
    """Give the engine of the site (see `open_engine`).

    Raises:
        HostError: the docker SDK is not installed.
        NoPermission: this user may not use the engine's socket.
        Unreachable: no engine answers.
    """
    with open_engine(side=_SIDE, environ=environ) as client:
        yield ContainerEngine(client)


class ContainerEngine:
    """A Docker engine that answers.

    Every method raises RemoteError (Unreachable, NoSpace, …) when the engine fails or refuses.
    """

    def __init__(self, client: Any) -> None:
        """Take an open `docker.DockerClient`."""
        self._client = client

    @cached_property
    def _version(self) -> Mapping[str, Any]:
        with engine_errors("the Docker engine's version", _SIDE):
            return dict(self._client.version())

    @property
    def version(self) -> str:
        """The engine's version."""
        return clean(str(self._version.get("Version", "")), 60)

    @property
    def platform(self) -> Platform:
        """What its containers run on."""
        return Platform(str(self._version.get("Os", "linux")), str(self._version.get("Arch", "")))

    @property
    def takes_zstd(self) -> bool:
        """Whether it loads images with zstd layers. Podman, which speaks the same protocol, does."""
        components = self._version.get("Components") or ()
        if any("podman" in str(component.get("Name", "")).lower() for component in components):
            return True
        major = self.version.partition(".")[0]
        return major.isdigit() and int(major) >= _ZSTD_SINCE

    def image_layers(self, name: str) -> tuple[str, ...] | None:
        """Return the diff IDs of an image's layers; None when the engine does not have it."""
        try:
            with engine_errors(f"image {name}", _SIDE):
                attributes = self._client.images.get(name).attrs
        except NotFound:
            return None
        return tuple(map(str, (attributes.get("RootFS") or {}).get("Layers") or ()))

    def load_image(self, archive: Iterable[bytes], *, what: str) -> None:
        """Stream a docker-archive into the engine. When `archive` raises, the engine keeps nothing of it.

        Raises:
            RemoteError: the engine refuses it, with its own words.
        """
        with engine_errors(what, _SIDE):
            for line in self._client.api.load_image(_Archive(archive)):
                # Errors before the first layer come as a `message`, later ones as an `error`.
                problem = (line.get("error") or line.get("message")) if isinstance(line, dict) else None
                if problem:
                    from docker.errors import APIError

                    raise APIError(what, explanation=str(problem))

    def remove_image(self, name: str) -> bool:
        """Remove an image's name, and the image when it has no other; tell whether it was there and unused."""
        from docker.errors import APIError

        try:
            with engine_errors(f"remove image {name}", _SIDE):
                try:
                    self._client.images.remove(name)
                except APIError as error:
                    if error.status_code == 409:  # another container uses it
                        return False
                    raise
        except NotFound:
            return False
        return True

    def find(self, name: str) -> Container | None:
        """Return the container of that name; None when there is none."""
        try:
            with engine_errors(f"container {name}", _SIDE):
                found = self._client.api.inspect_container(name)
        except NotFound:
            return None
        return _container(found) if found.get("Name") == f"/{name}" else None

    def create(self, spec: ContainerSpec) -> Container:
        """Make a container; it does not run yet. One that could not be made whole is gone again."""
        from docker.types import LogConfig

        with engine_errors(f"create container {spec.name}", _SIDE):
            made = self._client.containers.create(
                spec.image,
                list(spec.command),
                name=spec.name,
                environment=dict(spec.environment),
                labels=dict(spec.labels),
                ports={f"{spec.port}/tcp": (spec.host, spec.host_port)},
                volumes={spec.volume: {"bind": spec.volume_path, "mode": "rw"}},
                # Not `always`: what an operator stopped stays stopped, also after a reboot.
                restart_policy={"Name": "unless-stopped"},
                log_config=LogConfig(type="json-file", config={"max-size": _LOG_SIZE, "max-file": _LOG_FILES}),
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
            )
            try:
                made.put_archive("/", spec.files)
                return _container(self._client.api.inspect_container(made.id))
            except BaseException:
                made.remove(force=True, v=True)
                raise

    def start(self, container: Container, *, host: str, port: int) -> None:
        """Start a container.

        Args:
            container: that is made, or has ended.
            host, port: where it is published, for errors.

        Raises:
            SiteError: another program listens there, or the host has no such address.
        """
        try:
            with engine_errors(f"start container {container.name}", _SIDE):
                self._client.api.start(container.id)
        except RemoteError as error:
            where = join_host(host, port)
            if _PORT_BUSY.search(error.problem):
                listener = who_listens(port)
                raise SiteError(
                    f"container {container.name} can't be published at {where}: "
                    f"{listener or 'another program'} listens there",
                    hint="stop that program, or name another port with --container-port",
                ) from None
            if _NO_ADDRESS.search(error.problem):
                raise SiteError(
                    f"container {container.name} can't be published at {where}: this host has no address {host}",
                    hint="name an address of this host, or 0.0.0.0 for all",
                ) from None
            raise

    def unpause(self, container: Container) -> None:
        """Let a paused container go on."""
        with engine_errors(f"unpause container {container.name}", _SIDE):
            self._client.api.unpause(container.id)

    def stop(self, container: Container) -> None:
        """Ask a container to end; after 10 seconds it is made to."""
        with engine_errors(f"stop container {container.name}", _SIDE):
            self._client.api.stop(container.id, timeout=10)

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name."""
        with engine_errors(f"rename container {container.name}", _SIDE):
            self._client.api.rename(container.id, name)

    def remove(self, container: Container) -> None:
        """Remove a container, running or not, with its unnamed volumes; those that have a name stay."""
        try:
            with engine_errors(f"remove container {container.name}", _SIDE):
                self._client.api.remove_container(container.id, force=True, v=True)
        except NotFound:
            pass

    def log(self, container: Container, lines: int) -> list[str]:
        """Return the last lines that a container printed, cleaned."""
        with engine_errors(f"log of container {container.name}", _SIDE):
            raw: bytes = self._client.api.logs(container.id, stdout=True, stderr=True, tail=lines)
        if len(raw) > _LOG_LIMIT:
            raw = raw[-_LOG_LIMIT:].partition(b"\n")[2]
        text = raw.decode("utf-8", "replace")
        return [line for line in map(clean, text.splitlines()) if line]

    def volume_labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels of a volume; None when there is none of that name."""
        try:
            with engine_errors(f"volume {name}", _SIDE):
                found = self._client.api.inspect_volume(name)
        except NotFound:
            return None
        return dict(found.get("Labels") or {})

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume."""
        with engine_errors(f"create volume {name}", _SIDE):
            self._client.api.create_volume(name, labels=dict(labels))

    def remove_volume(self, name: str) -> bool:
        """Remove a volume with all that is in it; tell whether there was one."""
        try:
            with engine_errors(f"remove volume {name}", _SIDE):
                self._client.api.remove_volume(name)
        except NotFound:
            return False
        return True


class _Archive:
    """A body without a known length: requests sends it in chunks, and never asks for its size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        # In a chunked body an empty piece would be its end.
        return filter(None, self._pieces)


def _container(found: Mapping[str, Any]) -> Container:
    state, config = found["State"], found["Config"]
    started = str(state.get("StartedAt") or "")
    return Container(
        id=str(found["Id"]),
        name=str(found["Name"]).lstrip("/"),
        status=str(state["Status"]),
        restarts=int(found.get("RestartCount") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        error=clean(str(state.get("Error") or "")),
        labels=dict(config.get("Labels") or {}),
        image=str(config.get("Image") or ""),
        started="" if started.startswith("0001-") else started,
        ports=tuple(_ports(found)),
    )


def _ports(found: Mapping[str, Any]) -> Iterator[int]:
    for bindings in ((found.get("HostConfig") or {}).get("PortBindings") or {}).values():
        for binding in bindings or ():
            if str(binding.get("HostPort") or "").isdigit():
                yield int(binding["HostPort"])
