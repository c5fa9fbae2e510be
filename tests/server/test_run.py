"""The running server: real clients, TLS, both gunicorns, reload, slow clients, and its end."""

from __future__ import annotations

import importlib
import json
import linecache
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import ServedBundle, ServerConfig
from airbundle.server.run import print_no_sources
from tests.server.site import APP, BIG, FILE, REDIS, SPARSE, Site, make_site
from tests.support.bundles import make_images, write_bundle
from tests.support.engine import Engine
from tests.support.helm import LOOPBACK, helm
from tests.support.images import image, layer, noise, tiny_image
from tests.support.process import program
from tests.support.serving import Server, pinned_gunicorn, run_server
from tests.support.tls import Authority

BIG_PATH = "/v2/registry.example_5000/team/big/blobs/"


@pytest.fixture(scope="module", params=["installed", "pinned"])
def gunicorn(request: pytest.FixtureRequest) -> Path | None:
    """The gunicorn of this environment, and the one that installers carry, imported from its wheel."""
    return pinned_gunicorn() if request.param == "pinned" else None


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, site: Site, gunicorn: Path | None) -> Iterator[Server]:
    """A server over plain HTTP."""
    with run_server(tmp_path_factory.mktemp("plain"), [site.path], gunicorn=gunicorn) as server:
        yield server


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, site: Site, authority: Authority, gunicorn: Path | None
) -> Iterator[Server]:
    """A server over TLS."""
    with run_server(tmp_path_factory.mktemp("tls"), [site.path], tls=authority, gunicorn=gunicorn) as server:
        yield server


@pytest.fixture(scope="module", params=["plain", "secure"])
def server(request: pytest.FixtureRequest, plain: Server, secure: Server) -> Server:
    """Both of them."""
    return plain if request.param == "plain" else secure


def skopeo(server: Server, *arguments: str | Path) -> str:
    """Run skopeo against a server; `{}` in arguments is the server's host."""
    command: list[str | Path] = [program("skopeo", "skopeo"), arguments[0]]
    if arguments[0] == "copy":
        command += _trust(server, "--src-cert-dir", "--src-tls-verify=false")
    else:
        command += _trust(server, "--cert-dir", "--tls-verify=false")
    command += [str(word).replace("{}", server.host) for word in arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _trust(server: Server, option: str, plain: str) -> list[str]:
    if server.ca_file is None:
        return [plain]
    directory = server.ca_file.parent / "certs.d"
    directory.mkdir(exist_ok=True)
    shutil.copy(server.ca_file, directory / "ca.crt")
    return [option, str(directory)]


def test_skopeo_sees_the_digests_of_upstream(server: Server, site: Site) -> None:
    for ref in (REDIS, APP, SPARSE, BIG):
        name = ref.replace("example:5000", "example_5000")
        raw = skopeo(server, "inspect", "--raw", f"docker://{{}}/{name}")
        assert sha256(raw.encode()) == site.images[ref].digest
    inspected = json.loads(skopeo(server, "inspect", f"docker://{{}}/{APP}"))
    assert inspected["Digest"] == site.images[APP].digest
    assert inspected["RepoTags"] == ["v1"]


def test_skopeo_copies_all_platforms(server: Server, site: Site, tmp_path: Path) -> None:
    skopeo(server, "copy", "--all", f"docker://{{}}/{APP}", f"oci:{tmp_path / 'all'}:app")
    blobs = tmp_path / "all" / "blobs" / "sha256"
    for digest, raw in site.images[APP].manifests().items():
        assert (blobs / digest[7:]).read_bytes() == raw
    skopeo(server, "copy", f"docker://{{}}/{SPARSE}", f"oci:{tmp_path / 'one'}:sparse")
    skopeo(server, "copy", "docker://{}/registry.example_5000/team/big:1", f"dir:{tmp_path / 'big'}")
    assert (tmp_path / "big" / sha256(site.big)[7:]).read_bytes() == site.big


def test_helm_pulls_from_the_chart_repository(server: Server, site: Site, tmp_path: Path) -> None:
    flags = ["--ca-file", str(server.ca_file)] if server.ca_file else []
    for name, version, directory in (
        ("web", "1.2.3", "charts.example.com/stable"),
        ("db", "2.0.0+build.5", "ghcr.io/team/charts"),
        ("mine", "0.1.0", "local"),
    ):
        for number, repository in enumerate((f"{server.url}/charts/{directory}", f"{server.url}/charts")):
            into = tmp_path / f"{name}{number}"
            into.mkdir()
            helm("pull", name, "--version", version, "--repo", repository, "-d", into, *flags, home=tmp_path / "h")
            archive = f"{name}-{version}.tgz"
            assert (into / archive).read_bytes() == site.charts[archive]


def test_helm_pulls_from_the_registry(server: Server, site: Site, tmp_path: Path) -> None:
    host = f"{LOOPBACK}:{server.port}" if server.ca_file else server.host
    flags = ["--ca-file", str(server.ca_file)] if server.ca_file else ["--plain-http"]
    for path, version in (("charts.example.com/stable/web", "1.2.3"), ("ghcr.io/team/charts/db", "2.0.0+build.5")):
        helm("pull", f"oci://{host}/{path}", "--version", version, "-d", tmp_path, *flags, home=tmp_path / "h")
    for archive in ("web-1.2.3.tgz", "db-2.0.0+build.5.tgz"):
        assert (tmp_path / archive).read_bytes() == site.charts[archive]


def test_curl_resumes_a_download(server: Server, site: Site, tmp_path: Path) -> None:
    target = tmp_path / "big"
    target.write_bytes(site.big[:1_234_567])
    url = server.url + BIG_PATH + sha256(site.big)
    command = [program("curl", "curl"), "-sSf", "-C", "-", "-o", str(target), url]
    if server.ca_file:
        command += ["--cacert", str(server.ca_file)]
    subprocess.run(command, check=True)
    assert target.read_bytes() == site.big


def test_many_clients_at_once_get_their_own_ranges(server: Server, site: Site) -> None:
    data, path = site.big, server.url + BIG_PATH + sha256(site.big)
    limits = httpx.Limits(max_connections=16)
    with httpx.Client(verify=server.context(), trust_env=False, limits=limits, timeout=60) as client:

        def fetch(number: int) -> bool:
            start = number * 7919 % len(data)
            answer = client.get(path, headers={"Range": f"bytes={start}-{start + 200_000}"})
            return answer.status_code == 206 and answer.content == data[start : start + 200_001]

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(fetch, range(200)))


def test_one_connection_serves_many_requests(server: Server, site: Site) -> None:
    with httpx.Client(verify=server.context(), trust_env=False, base_url=server.url) as client:
        path = BIG_PATH + sha256(site.big)
        for _ in range(3):
            assert client.head(path).headers["Content-Length"] == str(len(site.big))
            assert client.get(path, headers={"Range": "bytes=-7"}).content == site.big[-7:]
            assert client.post("/v2/x/blobs/uploads/", content=b"x" * 10_000).status_code == 405
            assert client.get("/files/tool", headers={"If-None-Match": f'"{sha256(FILE)}"'}).status_code == 304
            assert client.get("/v2/none/x/tags/list").json()["errors"][0]["code"] == "NAME_UNKNOWN"


def test_paths_are_not_paths_of_a_disk(server: Server) -> None:
    for path in ("/files/../../../../etc/passwd", "/files/%2e%2e/%2e%2e/etc/passwd", "/v2/..%2f..%2fetc/tags/list"):
        assert _raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())[9:12] == b"404"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
    ids=["long field", "long line", "many fields", "not UTF-8", "no HTTP", "unknown version"],
)
def test_malformed_requests_are_refused(server: Server, request_bytes: bytes) -> None:
    answer = _raw(server, request_bytes)
    assert answer == b"" or answer[9:10] in b"45"
    assert server.get("/healthz").status_code == 200


def test_head_never_has_a_body(server: Server, site: Site) -> None:
    for path in ("/", "/v2/", "/files/tool", BIG_PATH + sha256(site.big), "/nothing", "/charts/"):
        answer = _raw(server, f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.endswith(b"\r\n\r\n")
        assert answer.count(b"\r\n\r\n") == 1


def test_each_request_is_one_line_of_the_log(server: Server, site: Site) -> None:
    path = f"{BIG_PATH}{sha256(site.big)}?x={time.monotonic_ns()}"
    server.get(path)
    lines = server.process.wait_for(
        lambda: [line for line in server.log.read_text().splitlines() if path in line] or None, what="access log"
    )
    assert len(lines) == 1
    assert re.search(rf'"GET \S+ HTTP/1\.1" 200 {len(site.big)} \d+ms "python-httpx', lines[0])


def test_freshclam_updates_from_it(plain: Server, site: Site, tmp_path: Path) -> None:
    """It asks for what is there and gets as far as the signature, which nobody but ClamAV's makers can give."""
    (tmp_path / "db").mkdir()
    config = tmp_path / "freshclam.conf"
    lines = [f"PrivateMirror {plain.url}/clamav", f"DatabaseDirectory {tmp_path / 'db'}", "DatabaseOwner root"]
    config.write_text("\n".join([*lines, "MaxAttempts 1", "TestDatabases no", ""]))
    command = [program("freshclam", "clamav-freshclam"), f"--config-file={config}", "--stdout", "--verbose"]
    done = subprocess.run([*command, "--no-warnings"], capture_output=True, text=True, check=False, timeout=120)
    said = done.stdout + done.stderr
    assert "daily.cvd" in said
    log = plain.log.read_text()
    assert re.search(r'"GET /clamav/daily\.cld[^"]*" 404', log)
    assert re.search(r'"GET /clamav/daily\.cvd[^"]*" 206 512', log)
    assert re.search(rf'"GET /clamav/daily\.cvd[^"]*" 200 {len(site.databases["daily.cvd"])}', log), said


def test_the_docker_engine_pulls_from_it(plain: Server, site: Site, docker_engine: Engine) -> None:
    name = f"{plain.host}/docker.io/library/redis:7.2"
    try:
        assert f"Digest: {site.images[REDIS].digest}" in docker_engine.command("pull", name)
    finally:
        docker_engine.command("rmi", "-f", name)


def test_forwarded_headers_mean_nothing(plain: Server) -> None:
    answer = plain.get("/v2/", **{"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9", "SCRIPT_NAME": "/x"})
    assert answer.status_code in {200, 400}
    assert "192.0.2.9" not in plain.log.read_text()


def test_a_plain_client_at_the_tls_port_is_told(secure: Server) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = _read_all(client)
    assert b"200" not in received[:15]
    assert secure.get("/healthz").status_code == 200


def test_a_tls_client_at_the_plain_port_is_told(plain: Server) -> None:
    with pytest.raises(ssl.SSLError, match=r"WRONG_VERSION|HTTP|record layer"):
        with socket.create_connection(("127.0.0.1", plain.port), timeout=30) as client:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.wrap_socket(client)


def test_tls_is_modern(secure: Server) -> None:
    with socket.create_connection(("127.0.0.1", secure.port)) as client:
        assert secure.ca_file is not None
        context = ssl.create_default_context(cafile=str(secure.ca_file))
        with context.wrap_socket(client, server_hostname="127.0.0.1") as wrapped:
            assert wrapped.version() == "TLSv1.3"


def _raw(server: Server, request_bytes: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        if server.ca_file:
            context = ssl.create_default_context(cafile=str(server.ca_file))
            client = context.wrap_socket(client, server_hostname="127.0.0.1")
        try:
            client.sendall(request_bytes)
        except OSError:  # refused while still being sent
            pass
        return _read_all(client)


def _read_all(client: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            chunk = client.recv(65536)
        except OSError:
            return received
        if not chunk:
            return received
        received += chunk


def test_slow_and_silent_clients_are_dropped(
    tmp_path: Path, site: Site, authority: Authority, gunicorn: Path | None
) -> None:
    certificate = authority.issue()
    settings = ServerConfig(
        (site.served,), port=0, tls_cert=certificate.cert, tls_key=certificate.key, header_seconds=1
    )
    with _configured(tmp_path, settings, gunicorn, authority) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(3)]
        half = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        half.sendall(b"\x16\x03\x01")
        context = ssl.create_default_context(cafile=str(server.ca_file))
        slow = context.wrap_socket(
            socket.create_connection(("127.0.0.1", server.port), timeout=60), server_hostname="127.0.0.1"
        )
        slow.sendall(b"GET /v2/ HTTP/1.1\r\n")
        for client in (*silent, half, slow):
            # Ends by itself, long before the client's own patience.
            assert b"200 OK" not in _read_all(client)
            client.close()
        assert server.get("/healthz").status_code == 200


def test_a_blob_across_volumes(tmp_path: Path, gunicorn: Path | None) -> None:
    cut = make_site(tmp_path, volume_size=700_000)
    volumes = sorted(tmp_path.glob("*.airbundle.0*"))
    assert len(volumes) > 3
    with run_server(tmp_path / "server", volumes[1:2], gunicorn=gunicorn) as server:
        path = BIG_PATH + sha256(cut.big)
        assert server.get(path).content == cut.big
        assert server.get(path, range="bytes=600000-2100000").content == cut.big[600000:2100001]


def test_a_damaged_blob_is_refused_and_all_others_are_served(tmp_path: Path, site: Site, gunicorn: Path | None) -> None:
    data = bytearray(site.path.read_bytes())
    data[data.index(site.big) + 1_000_000] ^= 1
    path = tmp_path / "x.airbundle"
    path.write_bytes(data)
    with run_server(tmp_path, [path], gunicorn=gunicorn) as server:
        answer = server.get(BIG_PATH + sha256(site.big))
        assert answer.status_code == 500
        assert sha256(site.big) in answer.json()["errors"][0]["message"]
        assert server.get("/files/tool").content == FILE
        assert server.get("/healthz").json()["bundles"][0]["damaged"] == [sha256(site.big)]


def test_it_goes_on_when_the_bundle_loses_its_name(tmp_path: Path, site: Site, gunicorn: Path | None) -> None:
    path = tmp_path / "x.airbundle"
    shutil.copy(site.path, path)
    with run_server(tmp_path, [path], gunicorn=gunicorn) as server:
        path.unlink()
        assert server.get(BIG_PATH + sha256(site.big)).content == site.big


def test_a_reload_takes_new_bundles_and_keeps_old_ones_when_they_are_bad(
    tmp_path: Path, site: Site, gunicorn: Path | None
) -> None:
    second = tmp_path / "second.airbundle"
    write_bundle(second, make_images({"docker.io/team/second:1": tiny_image("second")}))
    config = tmp_path / "server.json"
    with _configured(tmp_path, ServerConfig((site.served,), port=0), gunicorn) as server:
        instance = server.get("/healthz").json()["instance"]
        assert server.get("/v2/docker.io/team/second/manifests/1").status_code == 404
        both = ServerConfig((site.served, ServedBundle((second,))), port=0)
        config.write_bytes(both.to_bytes())
        os.kill(server.process.pid, signal.SIGHUP)
        _wait_for(server, lambda: server.get("/healthz").json()["instance"] != instance)
        _wait_for(server, lambda: server.get("/v2/docker.io/team/second/manifests/1").status_code == 200)
        config.write_bytes(ServerConfig((ServedBundle((tmp_path / "none",)),), port=0).to_bytes())
        os.kill(server.process.pid, signal.SIGHUP)
        server.process.wait_for_line("the new configuration is not taken", what="reload")
        assert server.get("/v2/docker.io/team/second/manifests/1").status_code == 200


def test_a_download_outlives_a_reload(tmp_path: Path, gunicorn: Path | None) -> None:
    huge = image([layer({"x": noise("huge", 40_000_000)}, compression="none")])
    path = tmp_path / "x.airbundle"
    write_bundle(path, make_images({"docker.io/team/huge:1": huge}))
    config = tmp_path / "server.json"
    blob = huge.blobs[1].descriptor
    with _configured(tmp_path, ServerConfig((ServedBundle((path,)),), port=0), gunicorn) as server:
        with httpx.stream("GET", f"{server.url}/v2/docker.io/team/huge/blobs/{blob.digest}", trust_env=False) as answer:
            chunks = answer.iter_raw(1_000_000)
            received = next(chunks)
            config.write_bytes(ServerConfig((ServedBundle((path,)),), port=0, url="https://other").to_bytes())
            instance = server.get("/healthz").json()["instance"]
            os.kill(server.process.pid, signal.SIGHUP)
            _wait_for(server, lambda: server.get("/healthz").json()["instance"] != instance)
            received += b"".join(chunks)
        assert sha256(received) == blob.digest


def test_a_renewed_certificate_is_taken_without_a_restart(
    tmp_path: Path, site: Site, authority: Authority, gunicorn: Path | None
) -> None:
    with run_server(tmp_path, [site.path], tls=authority, gunicorn=gunicorn) as server:
        assert server.certificate is not None
        before = _serial(server)
        renewed = authority.issue()
        os.replace(renewed.key, server.certificate.key)
        os.replace(renewed.cert, server.certificate.cert)
        assert _serial(server) != before
        # Half-written files change nothing: each worker keeps what it could use last.
        server.certificate.cert.write_text("no certificate")
        assert _serial(server)
        assert server.get("/healthz").status_code == 200


def test_workers_that_die_while_it_tells_of_another_are_replaced(
    tmp_path: Path, site: Site, gunicorn: Path | None
) -> None:
    reading, writing = os.pipe()
    try:
        config = ServerConfig((site.served,), port=0, workers=2)
        with _configured(tmp_path, config, gunicorn, errors=writing) as server:
            first = server.process.wait_for(lambda: _workers(server, 2), what="workers")
            # A full pipe holds it within its line on the first death; the second must not make it write inside that.
            _fill(writing)
            for worker in first:
                os.kill(worker, signal.SIGKILL)
                time.sleep(0.5)
            told = _drain(reading)
            server.process.wait_for(lambda: _workers(server, 2, first), what="new workers")
            assert server.get("/healthz").status_code == 200
        told += _drain(reading)
        assert told.count(b"SIGKILL") == 2
        assert b"Logging error" not in told
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_has_to_be_killed_while_it_ends_is_no_error(
    tmp_path: Path, site: Site, gunicorn: Path | None, number: int
) -> None:
    config = ServerConfig((site.served,), port=0, workers=2)
    with _configured(tmp_path, config, gunicorn) as server:
        stuck, other = server.process.wait_for(lambda: _workers(server, 2), what="workers")
        os.kill(stuck, signal.SIGSTOP)
        os.kill(server.process.pid, number)
        server.process.wait_for(lambda: _workers(server, 1, {other}), what="the other's end")
        os.kill(stuck, signal.SIGKILL)
        server.process.wait_for(lambda: None if server.process.alive else True, what="its end")
        assert server.process.returncode == 0
        assert "Traceback" not in server.process.text()


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_a_worker_that_is_just_handing_on_a_connection_ends_at_once(number: int) -> None:
    # `submit` holds this lock while a thread begins, and gunicorn's own handler waits for it within the same thread.
    script = f"""
from concurrent.futures import ThreadPoolExecutor
import os, signal
from airbundle.server.worker import Worker
worker = Worker.__new__(Worker)
worker.tpool = ThreadPoolExecutor(1)
signal.signal({number}, worker.handle_quit)
with worker.tpool._shutdown_lock:
    os.kill(os.getpid(), {number})
    raise SystemExit("it goes on")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_traceback_needs_no_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "program.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("program_in_a_zip.py", "def fail():\n    raise ValueError('told')\n")
    monkeypatch.syspath_prepend(path)
    fail = importlib.import_module("program_in_a_zip").fail
    path.write_bytes(b"an update under way")
    monkeypatch.setattr(linecache, "lazycache", linecache.lazycache)
    print_no_sources()
    with pytest.raises(ValueError, match="told") as caught:
        fail()
    assert "in fail" in "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))


def _workers(server: Server, count: int, dead: Set[int] = frozenset()) -> set[int] | None:
    """Return the process ids of `count` workers beside the `dead`, or None."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    alive = {int(pid) for pid in children.split()} - dead
    return alive if len(alive) == count else None


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"." * 4096)
    os.set_blocking(pipe, True)


def _drain(pipe: int) -> bytes:
    os.set_blocking(pipe, False)
    drained = b""
    with suppress(BlockingIOError):
        while read := os.read(pipe, 65536):
            drained += read
    return drained


def _serial(server: Server) -> object:
    context = server.context()
    assert isinstance(context, ssl.SSLContext)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        with context.wrap_socket(client, server_hostname="127.0.0.1") as wrapped:
            certificate = wrapped.getpeercert()
            assert certificate is not None
            return certificate["serialNumber"]


@contextmanager
def _configured(
    directory: Path,
    config: ServerConfig,
    gunicorn: Path | None,
    authority: Authority | None = None,
    errors: int = subprocess.STDOUT,
) -> Iterator[Server]:
    path = directory / "server.json"
    path.write_bytes(config.to_bytes())
    with run_server(directory, [], "--config", str(path), gunicorn=gunicorn, errors=errors) as server:
        yield replace(server, ca_file=authority.ca_file if authority else None)


def _wait_for(server: Server, check: Callable[[], bool]) -> None:
    server.process.wait_for(lambda: True if check() else None, what="reload")
