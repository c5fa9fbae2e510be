"""A Docker engine of the tests' own, started as root: the host's engine, if any, is not touched.

It runs with its own data, exec root, socket and bridge, without iptables rules: ports are published by the userland
proxy (`-p 127.0.0.1::5000` works, containers reach only the host). No image can be pulled; load or import them.
Engines of several workers and several runs live side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import docker

from tests.support import images
from tests.support.images import Artifact
from tests.support.process import NotStarted, Running, program, start
from tests.support.registries import PASSWORD, USER, Registry, answers, htpasswd_line
from tests.support.tls import Authority

REGISTRY_IMAGE = "registry:2"
_ENTRY = ["/bin/registry"]
_COMMAND = ["serve", "/etc/docker/registry/config.yml"]


@dataclass
class Engine:
    """An engine that answers.

    Attributes:
        socket: its API socket.
        bridge_address: the host's address on its bridge; containers reach the host there.
        command_line: how dockerd is started; `log`: where its output goes.
    """

    socket: Path
    bridge_address: str
    process: Running
    command_line: Sequence[str | Path]
    log: Path

    @property
    def url(self) -> str:
        """`unix://…`, the value of DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def env(self) -> dict[str, str]:
        """The environment with DOCKER_HOST set, for programs that are to use this engine."""
        return {**os.environ, "DOCKER_HOST": self.url}

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Give a docker SDK client."""
        client = docker.DockerClient(base_url=self.url)
        try:
            yield client
        finally:
            client.close()

    def restart(self) -> None:
        """Stop the engine, which stops its containers, and start it again over the same data."""
        self.process.stop(40)
        self.log.rename(self.log.with_suffix(".before.log"))
        self.process = _start(self.command_line, self.log)

    def command(self, *arguments: str) -> str:
        """Run the docker command line and return its output.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = subprocess.run(
            [program("docker", "docker.io"), *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def import_registry(self) -> None:
        """Make the image `registry:2` from Debian's docker-registry, unless the engine has it."""
        with self.client() as client:
            if not client.images.list(name=REGISTRY_IMAGE):
                changes = [f"ENTRYPOINT {json.dumps(_ENTRY)}", f"CMD {json.dumps(_COMMAND)}"]
                changes += ["EXPOSE 5000", 'VOLUME ["/var/lib/registry"]']
                client.api.import_image_from_data(_rootfs(), repository="registry", tag="2", changes=changes)


def registry_files() -> dict[str, bytes]:
    """Return the files of the image `registry:2`, laid out as in the official one: path to content."""
    binary = Path(program("docker-registry", "docker-registry"))
    linked = subprocess.run(["ldd", str(binary)], check=True, capture_output=True, text=True).stdout
    files = {path.lstrip("/"): Path(path).read_bytes() for path in re.findall(r"(/\S+) \(0x", linked)}
    files["bin/registry"] = binary.read_bytes()
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}, "delete": {"enabled": True}},
        "http": {"addr": ":5000"},
    }
    files["etc/docker/registry/config.yml"] = json.dumps(config).encode()
    return files


@lru_cache(maxsize=1)
def registry_image() -> Artifact:
    """Return a runnable image of registry:2 (8 MB), for bundles that bring their own registry."""
    files = images.layer(registry_files(), level=1)
    volumes: dict[str, dict[str, str]] = {"/var/lib/registry": {}}
    return images.image([files], Volumes=volumes, ExposedPorts={"5000/tcp": {}}, Entrypoint=_ENTRY, Cmd=_COMMAND)


def _rootfs() -> bytes | None:
    return images.layer(registry_files(), compression="none").data


@contextmanager
def run_engine(directory: Path) -> Iterator[Engine]:
    """Run dockerd for the length of a `with` block.

    Args:
        directory: for its log; data goes to a directory of its own that is removed at the end.

    Raises:
        NotStarted: not root, or dockerd ended; with its log.
    """
    if os.geteuid() != 0:
        raise NotStarted("the tests' Docker engine needs root: run scripts/test as root or with sudo")
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="ab-engine-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        bridge, address = stack.enter_context(_bridge())
        command: list[str | Path] = [
            program("dockerd", "docker.io"),
            *("--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid"),
            *("--host", f"unix://{home / 'docker.sock'}", "--bridge", bridge),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        ]
        log = directory / "dockerd.log"
        engine = Engine(home / "docker.sock", address, _start(command, log), command, log)
        stack.callback(lambda: engine.process.stop(40))
        stack.callback(_remove_containers, engine)
        yield engine


def _start(command: Sequence[str | Path], log: Path) -> Running:
    # TERM, not KILL, when this process dies: the engine then stops its containers and its containerd.
    process = start(command, log, death_signal="TERM")
    try:
        process.wait_for_line(r"API listen on", what="dockerd")
    except BaseException:
        process.stop(40)
        raise
    return process


def _remove_containers(engine: Engine) -> None:
    with engine.client() as client:
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)


@contextmanager
def _bridge() -> Iterator[tuple[str, str]]:
    """Make a network bridge with a subnet that no interface of this host has."""
    ip = program("ip", "iproute2")
    with Path(tempfile.gettempdir(), "airbundle-tests-bridge.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        used = subprocess.run([ip, "-4", "addr"], check=True, capture_output=True, text=True).stdout
        address = next(f"10.213.{i}.1" for i in range(256) if f" 10.213.{i}.1/" not in used)
        name = f"abt{secrets.token_hex(4)}"
        subprocess.run([ip, "link", "add", name, "type", "bridge"], check=True)
        subprocess.run([ip, "addr", "add", f"{address}/24", "dev", name], check=True)
        subprocess.run([ip, "link", "set", name, "up"], check=True)
    try:
        yield name, address
    finally:
        subprocess.run([ip, "link", "del", name], check=False)


@contextmanager
def run_registry_container(
    engine: Engine, directory: Path, *, tls: Authority | None = None, basic_auth: bool = False
) -> Iterator[Registry]:
    """Run `registry:2` in a container, its port published on a free loopback port."""
    engine.import_registry()
    directory.mkdir(parents=True, exist_ok=True)
    environment: dict[str, str] = {}
    if tls is not None:
        certificate = tls.issue()
        (directory / "tls.crt").write_bytes(certificate.cert.read_bytes())
        (directory / "tls.key").write_bytes(certificate.key.read_bytes())
        environment["REGISTRY_HTTP_TLS_CERTIFICATE"] = "/config/tls.crt"
        environment["REGISTRY_HTTP_TLS_KEY"] = "/config/tls.key"
    if basic_auth:
        (directory / "htpasswd").write_bytes(htpasswd_line())
        environment["REGISTRY_AUTH_HTPASSWD_REALM"] = "test"
        environment["REGISTRY_AUTH_HTPASSWD_PATH"] = "/config/htpasswd"
    storage = directory / "storage"
    storage.mkdir()
    with engine.client() as client:
        container = client.containers.run(
            REGISTRY_IMAGE,
            detach=True,
            environment=environment,
            ports={"5000/tcp": ("127.0.0.1", None)},
            volumes={
                str(directory): {"bind": "/config", "mode": "ro"},
                str(storage): {"bind": "/var/lib/registry", "mode": "rw"},
            },
        )
        try:
            container.reload()
            port = container.ports["5000/tcp"][0]["HostPort"]
            registry = Registry(
                f"127.0.0.1:{port}",
                storage,
                None if tls is None else tls.ca_file,
                USER if basic_auth else "",
                PASSWORD if basic_auth else "",
                lambda: container.logs().decode(errors="replace"),
            )
            engine.process.wait_for(lambda: answers(registry), what="registry:2 in a container")
            yield registry
        finally:
            container.remove(force=True, v=True)
