"""`airbundle serve`: its messages, exit codes, signals, and that it runs from the zip on every bare Python."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.builder.installer_zip import write_installer
from airbundle.cli.serve import group_volumes
from airbundle.errors import UsageError
from airbundle.store.cache import Cache
from airbundle.store.plan import plan_bundle
from tests.server.site import newer
from tests.support.bundles import Made, locked, make, make_images, write_bundle
from tests.support.corpus import cache_root
from tests.support.images import Artifact, tiny_image
from tests.support.keys import FIRST, key_files, signature
from tests.support.locks import once_per_machine
from tests.support.process import Running, running
from tests.support.pythons import pythons
from tests.support.serving import run_server
from tests.support.tls import Authority

REDIS = "docker.io/library/redis:7.2"


@pytest.fixture(scope="module")
def redis() -> Artifact:
    return tiny_image("redis")


@pytest.fixture(scope="module")
def made(redis: Artifact) -> Made:
    return make_images({REDIS: redis})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle"
    statement = plan_bundle(made.content, installer=b"PK the zip").statement
    write_bundle(path, made, signatures=[signature(FIRST, statement)])
    return path


def serve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end, which comes at once where something is wrong."""
    command = [sys.executable, "-m", "airbundle", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_of_several_the_newest_has_a_tag_in_whatever_order_they_are_named(
    tmp_path: Path, bundle: Path, redis: Artifact
) -> None:
    other = tiny_image("newer", family="docker")
    lock = newer(make_images({REDIS: other}))
    write_bundle(tmp_path / "newer.airbundle", make([other], [locked(REDIS, other)], lock=lock))
    for number, order in enumerate(([bundle, tmp_path / "newer.airbundle"], [tmp_path / "newer.airbundle", bundle])):
        with run_server(tmp_path / str(number), order) as server:
            assert server.get("/v2/docker.io/library/redis/manifests/7.2").content == other.raw
            assert server.get(f"/v2/docker.io/library/redis/manifests/{redis.digest}").content == redis.raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_tells_its_url_and_ends_cleanly(tmp_path: Path, bundle: Path, redis: Artifact, number: int) -> None:
    with run_server(tmp_path, [bundle]) as server:
        assert server.get("/v2/docker.io/library/redis/manifests/7.2").content == redis.raw
        os.kill(server.process.pid, number)
        server.process._process.wait(60)
        assert server.process.returncode == 0
        text = server.process.text()
    assert "registry: 1 tag in 1 repository" in text
    assert "Traceback" not in text
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_without_a_key_it_says_that_the_origin_is_not_proven(tmp_path: Path, bundle: Path) -> None:
    with run_server(tmp_path, [bundle]) as server:
        assert "its origin is not proven" in server.process.text()


def test_with_the_right_key_it_serves(tmp_path: Path, bundle: Path) -> None:
    _, public = key_files(tmp_path)
    with run_server(tmp_path / "log", [bundle], "--key", str(public)) as server:
        assert server.get("/v2/").status_code == 200
        assert "not proven" not in server.process.text()


def test_with_another_key_it_does_not(tmp_path: Path, bundle: Path) -> None:
    _, public = key_files(tmp_path, 0x777)
    done = serve(bundle, "--key", public, "--listen", "127.0.0.1:0")
    assert done.returncode == 5, done.stderr
    assert "ready" not in done.stdout


def test_expiry_does_not_stop_it(tmp_path: Path, redis: Artifact) -> None:
    old = make_images({REDIS: redis}, expires="2026-01-02T00:00:00Z")
    statement = plan_bundle(old.content, installer=b"PK the zip").statement
    write_bundle(tmp_path / "old.airbundle", old, signatures=[signature(FIRST, statement)])
    _, public = key_files(tmp_path)
    with run_server(tmp_path / "log", [tmp_path / "old.airbundle"], "--key", str(public)) as server:
        assert server.get("/v2/").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["/no/such.airbundle"], 2, "there is no such file"),
        (["BUNDLE", "--tls-cert", "/x"], 2, "go together"),
        (["BUNDLE", "--tls-cert", "/no", "--tls-key", "/no"], 2, "--tls-cert /no"),
        (["BUNDLE", "--listen", "nonsense"], 2, "no address to listen on"),
        (["BUNDLE", "--listen", "192.0.2.1:0"], 2, "--listen 192.0.2.1:0"),
        (["BUNDLE", "--prefix", "UPPER"], 2, "--prefix 'UPPER'"),
        (["BUNDLE", "--key", "/no"], 2, "--key /no"),
        (["BUNDLE", "--access-log", "/no/such/log", "--listen", "127.0.0.1:0"], 7, "access log"),
        (["--config", "/no"], 2, "/no"),
    ],
)
def test_what_can_not_be_served_is_told(bundle: Path, arguments: list[str], code: int, says: str) -> None:
    done = serve(*(str(bundle) if word == "BUNDLE" else word for word in arguments))
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "next: " in done.stderr or code == 2


def test_what_is_no_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "x").write_bytes(b"no bundle" * 1000)
    assert serve(tmp_path / "x").returncode == 5
    raw = bytearray(bundle.read_bytes())
    raw[3000] ^= 1
    (tmp_path / "y").write_bytes(raw)
    assert serve(tmp_path / "y").returncode == 5


def test_a_taken_port_is_told_with_the_program_that_has_it(bundle: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        done = serve(bundle, "--listen", f"127.0.0.1:{other.getsockname()[1]}")
    assert done.returncode == 6, done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert "--listen" in done.stderr


def test_a_key_with_a_passphrase_is_refused_at_once(tmp_path: Path, bundle: Path, authority: Authority) -> None:
    certificate = authority.issue()
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    done = serve(bundle, "--listen", "127.0.0.1:0", "--tls-cert", certificate.cert, "--tls-key", locked)
    assert done.returncode == 2
    assert "without a passphrase" in done.stderr


def test_volumes_of_one_bundle_belong_together(tmp_path: Path) -> None:
    names = ["/a/x.airbundle.001", "/b/x.airbundle.002", "/a/y.airbundle", "/b/y.airbundle"]
    groups = [bundle.volumes for bundle in group_volumes([Path(name) for name in names])]
    assert groups == [(Path(names[0]), Path(names[1])), (Path(names[2]),), (Path(names[3]),)]
    assert len(group_volumes([Path("/a/bundle.1"), Path("/b/bundle.1")])) == 2  # so no volume is called
    assert [bundle.volumes for bundle in group_volumes([Path(names[0]), tmp_path])] == [(Path(names[0]), tmp_path)]
    with pytest.raises(UsageError):
        group_volumes([Path(names[2]), Path(names[3]), tmp_path])


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = Cache(cache_root() / "installer-parts")
    with once_per_machine("installer-parts"):
        ensure_parts(pinned_parts(), cache)
    return write_installer(tmp_path_factory.mktemp("zip") / "airbundle.pyz", cache).path


@contextmanager
def from_zip(python: Path, installer: Path, bundle: Path, log: Path) -> Iterator[tuple[Running, str]]:
    command: list[str | Path] = [python, "-I", installer, "serve", bundle, "--listen", "127.0.0.1:0"]
    bare = {"PATH": os.environ["PATH"], "HOME": str(log.parent)}
    with running(command, log, env=bare) as process:
        yield process, process.wait_for_line(r"^ready: (\S+)$", what=python.name)[1]


@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.name)
def test_it_runs_from_the_zip_also_when_the_zip_is_replaced(
    tmp_path: Path, python: Path, installer: Path, bundle: Path, redis: Artifact
) -> None:
    mine = tmp_path / "airbundle.pyz"
    mine.write_bytes(installer.read_bytes())
    url = "/v2/docker.io/library/redis/manifests/7.2"
    with from_zip(python, mine, bundle, tmp_path / "log") as (process, base):
        assert httpx.get(base + url, trust_env=False).content == redis.raw
        mine.write_bytes(b"an update under way")
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for worker in workers:
            os.kill(int(worker), signal.SIGKILL)

        def answers() -> bool | None:
            try:
                return httpx.get(base + url, trust_env=False).content == redis.raw or None
            except httpx.TransportError:
                return None

        process.wait_for(answers, what="new workers")
        assert "Traceback" not in process.text()
