"""install, status and uninstall as processes, with the real server, real registries and real clients."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest

from airbundle.cli.main import main
from airbundle.installer.journal import Journal
from airbundle.transfer import tls
from tests.installer.bundles import Key, chart, content, make_key, sign_and_write
from tests.installer.proxy import stalling_proxy
from tests.server.site import file_artifact
from tests.support.bundles import SERIAL
from tests.support.helm import LOOPBACK, helm, with_hosts
from tests.support.images import attestation, index, layer, noise, tiny_image
from tests.support.process import free_port, program
from tests.support.registries import Registry, run_registry
from tests.support.tls import Authority
from tests.transfer.servers import fault_server

BASE = layer({"base": noise("base", 3_000_000)})
REDIS = tiny_image("redis", shared=[BASE])
AMD, ARM = tiny_image("multi", platform="linux/amd64"), tiny_image("multi", platform="linux/arm64")
MULTI = index([AMD, ARM])
APP = chart("app", "1.0.0")
TOOL = file_artifact({"tool": b"a tool"})
IMAGES = {"docker.io/library/redis:7.2": REDIS, "quay.io/a/multi:1": MULTI}
CHARTS = {"charts.example.org/stable/app:1.0.0": APP}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    made = content(IMAGES, charts=CHARTS, signer=key.signer)
    return sign_and_write(tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle", made, key)


@dataclass
class Site:
    """A site with a state directory and a port of its own."""

    root: Path
    key: Key
    port: int = field(default_factory=free_port)

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.state / "certs/ca.crt"

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "airbundle", *map(str, arguments), "--state-dir", str(self.state)]

    def run(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Run a command in this process, which is faster than a process of its own, and read its answer."""
        out, err = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        tls._contexts.clear()  # a process has one CA at one path; this one sees many
        with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRBUNDLE_RETRY_SECONDS", "2")
            code = main([*self.command(*arguments)[3:], "--json", "--yes"])
        signal.signal(signal.SIGTERM, before)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return code, json.loads(out.getvalue())

    def install(self, bundle: Path, *more: object) -> tuple[int, dict[str, Any]]:
        return self.run("install", bundle, "--key", self.key.public, "--listen", f"127.0.0.1:{self.port}", *more)

    def get(self, path: str) -> bytes:
        context = create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(self.url + path, timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def server_pid(self) -> int:
        return int(json.loads((self.state / "run/server.json").read_text())["pid"])


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document
    assert not made.state.exists()


def skopeo_digest(host: str, certs: Path, name: str) -> str:
    command = [program("skopeo", "skopeo"), "inspect", "--raw", "--cert-dir", str(certs), f"docker://{host}/{name}"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def error_text(document: dict[str, Any]) -> str:
    error = document["errors"][0]
    found = [str(finding) for finding in error.get("findings", ())]
    return " ".join([error["message"], error.get("hint", ""), *found])


def run_command(line: str, tmp_path: Path) -> None:
    """Run one of the commands that a report prints."""
    words = line.split()
    if words[0] == "helm":
        helm(*words[1:], "-d", str(tmp_path), home=tmp_path / "helm")
        with tarfile.open(tmp_path / "app-1.0.0.tgz") as archive:
            assert archive.getnames() == ["app/Chart.yaml"]
        (tmp_path / "app-1.0.0.tgz").unlink()
        return
    # podman needs a storage of its own here; skopeo takes the same options and is no less strict.
    assert words[:2] == ["podman", "pull"]
    options = [word.replace("--", "--src-") for word in words[2:-1]]
    target = f"dir:{tmp_path / 'image'}"
    command = [program("skopeo", "skopeo"), "copy", "-q", *options, f"docker://{words[-1]}", target]
    subprocess.run(command, check=True)


# Embedded


def test_the_whole_way(bundle: Path, site: Site, tmp_path: Path) -> None:
    code, report = site.install(bundle)
    assert code == 0, report
    assert (report["changed"], report["images"], report["charts"], report["mode"]) == (True, 2, 1, "embedded")
    for name, artifact in {"docker.io/library/redis:7.2": REDIS, "quay.io/a/multi:1": MULTI}.items():
        assert skopeo_digest(f"127.0.0.1:{site.port}", site.ca.parent, name) == artifact.digest
    assert set(report["commands"]) == {"image", "chartRepository"}
    for line in report["commands"].values():
        run_command(line, tmp_path)
    code, status = site.run("status")
    assert (code, status["healthy"], status["bundles"][0]["version"]) == (0, True, "1.0.0")


def test_a_second_run_changes_nothing(bundle: Path, site: Site) -> None:
    first = site.install(bundle)[1]
    pid = site.server_pid()
    made = {path: path.stat().st_mtime_ns for path in site.state.rglob("*") if path.is_file()}
    code, second = site.install(bundle)
    assert (code, second["changed"]) == (0, False)
    assert {k: v for k, v in second.items() if k not in ("changed", "certificateDays")} == {
        k: v for k, v in first.items() if k not in ("changed", "certificateDays")
    }
    assert site.server_pid() == pid
    changed = {path.name for path, time in made.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"journal.jsonl", "trust.json", "lock"}


def test_the_installed_program_works_alone(bundle: Path, site: Site) -> None:
    site.install(bundle)
    command = [str(site.state / "bin/airbundle"), "status", "--state-dir", str(site.state)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, cwd="/")
    assert "test 1.0.0" in done.stdout


def test_the_bundle_may_go_away(bundle: Path, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "stick.airbundle"
    path.write_bytes(bundle.read_bytes())
    site.install(path)
    path.unlink()
    digest = BASE.descriptor.digest
    body = site.get(f"/v2/docker.io/library/redis/blobs/{digest}")
    assert "sha256:" + hashlib.sha256(body).hexdigest() == digest


def test_a_server_that_died_is_told_and_started_again(bundle: Path, site: Site) -> None:
    site.install(bundle)
    os.kill(site.server_pid(), signal.SIGKILL)
    os.waitpid(site.server_pid(), 0)
    code, status = site.run("status")
    assert (code, status["healthy"]) == (3, False)
    assert "does not run" in error_text(status)
    code, report = site.install(bundle)
    assert (code, report.get("changed")) == (0, True), report
    assert site.run("status")[0] == 0


def test_a_damaged_copy_is_told_and_made_anew(bundle: Path, site: Site) -> None:
    site.install(bundle)
    (copy,) = (site.state / "bundles").iterdir()
    raw = bytearray(copy.read_bytes())
    raw[len(raw) // 2] ^= 1
    copy.write_bytes(raw)
    code, status = site.run("status")
    assert code == 3 and "touched" in error_text(status)
    code, report = site.install(bundle)
    assert (code, report.get("changed")) == (0, True), report
    assert copy.read_bytes() == bundle.read_bytes()
    assert site.run("status")[0] == 0


def test_a_newer_version_is_served_without_a_restart(bundle: Path, site: Site, key: Key, tmp_path: Path) -> None:
    site.install(bundle)
    pid = site.server_pid()
    newer = tiny_image("redis-new")
    made = content({"docker.io/library/redis:7.4": newer}, version="1.1.0", serial=SERIAL + 60)
    code, report = site.install(sign_and_write(tmp_path / "n.airbundle", made, key))
    assert (code, report.get("changed")) == (0, True), report
    assert site.server_pid() == pid
    host = f"127.0.0.1:{site.port}"
    assert skopeo_digest(host, site.ca.parent, "docker.io/library/redis:7.4") == newer.digest
    # What runs at the site may still need the earlier ones.
    assert skopeo_digest(host, site.ca.parent, "docker.io/library/redis:7.2") == REDIS.digest
    status = site.run("status")[1]
    assert [each["version"] for each in status["bundles"]] == ["1.1.0", "1.0.0"]
    assert any(re.search(r"1 earlier bundle in .* still served; \S+ MiB$", note) for note in report["next"]), report
    code, document = site.install(bundle)
    assert code == 5 and "is older" in error_text(document)
    assert document["outcome"] == "unchanged"


def test_an_older_version_that_is_allowed_has_its_tags_again(
    bundle: Path, site: Site, key: Key, tmp_path: Path
) -> None:
    site.install(bundle)
    newer = tiny_image("redis-new")
    made = content({"docker.io/library/redis:7.2": newer}, version="1.1.0", serial=SERIAL + 60)
    second = sign_and_write(tmp_path / "n.airbundle", made, key)
    code, report = site.install(second)
    assert code == 0, report
    host = f"127.0.0.1:{site.port}"
    for path, digest in ((bundle, REDIS.digest), (second, newer.digest), (bundle, REDIS.digest)):
        code, report = site.install(path, "--allow-older")
        assert (code, report.get("changed")) == (0, True), report
        assert skopeo_digest(host, site.ca.parent, "docker.io/library/redis:7.2") == digest
        assert site.run("status")[0] == 0
    assert [each["version"] for each in site.run("status")[1]["bundles"]] == ["1.0.0", "1.1.0"]
    code, report = site.install(bundle)  # it is what this site has now, though a newer one was seen
    assert (code, report.get("changed")) == (0, False), report
    code, report = site.install(second)
    assert code == 0, report
    assert site.install(bundle)[0] == 5


def test_another_port_needs_no_more_than_saying_so(bundle: Path, site: Site) -> None:
    site.install(bundle)
    site.port = free_port()
    code, report = site.install(bundle)
    assert (code, report.get("changed")) == (0, True), report
    assert report["registry"]["url"] == site.url
    assert site.run("status")[0] == 0


def test_what_is_not_said_again_stays_as_it_was(bundle: Path, site: Site) -> None:
    site.install(bundle, "--domain", "site.internal")
    code, report = site.run("install", bundle, "--key", site.key.public)
    assert (code, report.get("changed")) == (0, False), report
    assert report["registry"]["url"] == f"https://registry.site.internal:{site.port}"
    config = json.loads((site.state / "server/config.json").read_text())
    assert (config["host"], config["port"]) == ("127.0.0.1", site.port)


def test_who_pulled_what_is_logged_when_asked_for(bundle: Path, site: Site) -> None:
    site.install(bundle)
    site.get("/v2/?before")
    site.install(bundle, "--access-log")  # the server that runs begins to
    site.get("/v2/?logged")
    log = site.state / "log/server.log"
    while '"GET /v2/?logged HTTP/1.1" 200' not in log.read_text():  # it is written after the answer was sent
        time.sleep(0.05)
    assert "before" not in log.read_text()
    assert site.install(bundle)[1]["changed"] is False
    site.install(bundle, "--no-access-log")
    site.get("/v2/?after")
    assert "after" not in (site.state / "log/server.log").read_text()


def test_with_a_domain(bundle: Path, site: Site, tmp_path: Path) -> None:
    code, report = site.install(bundle, "--domain", LOOPBACK.partition(".")[2])
    assert code == 0, report
    assert report["registry"]["url"] == f"https://{LOOPBACK}:{site.port}"
    assert any(LOOPBACK in note and "DNS" in note for note in report["next"])
    # helm 3 talks plain HTTP to oci://127.0.0.1; by name it checks the certificate.
    name = f"{LOOPBACK}:{site.port}"
    run_command(f"helm pull oci://{name}/charts.example.org/stable/app --version 1.0.0 --ca-file {site.ca}", tmp_path)


def test_status_asks_by_the_name_that_clients_use(bundle: Path, site: Site, tmp_path: Path) -> None:
    code, report = site.install(bundle, "--domain", LOOPBACK.partition(".")[2])
    assert code == 0, report

    def findings(*prefix: object) -> list[dict[str, str]]:
        command = [*map(str, prefix), *site.command("status", "--json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr  # DNS is others': a warning
        found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
        return found

    assert findings(*with_hosts(tmp_path / "right")) == []
    (elsewhere,) = findings(*with_hosts(tmp_path / "wrong", "127.0.0.2"))
    assert (elsewhere["code"], elsewhere["severity"]) == ("published", "warning")
    assert "does not answer by its name" in elsewhere["message"] and "127.0.0.2" in elsewhere["hint"]
    (unknown,) = findings()
    assert "can't find the name" in unknown["message"] and f"put {LOOPBACK} into the site's DNS" in unknown["hint"]


def test_a_domain_that_the_ca_may_not_issue_for(bundle: Path, site: Site) -> None:
    site.install(bundle)
    before = site.ca.read_bytes()
    code, document = site.install(bundle, "--domain", "other.internal")
    assert (code, document["outcome"]) == (3, "unchanged")
    assert "airbundle ca rotate" in error_text(document)
    assert site.ca.read_bytes() == before


def test_below_a_prefix(bundle: Path, site: Site) -> None:
    code, report = site.install(bundle, "--prefix", "mirror")
    assert code == 0
    assert "/mirror/docker.io/" in report["commands"]["image"]
    name = "mirror/docker.io/library/redis:7.2"
    assert skopeo_digest(f"127.0.0.1:{site.port}", site.ca.parent, name) == REDIS.digest
    code, again = site.install(bundle)
    assert (code, again.get("changed")) == (0, False), again
    assert "/mirror/docker.io/" in again["commands"]["image"]
    code, document = site.install(bundle, "--prefix", "")
    assert code == 0, document
    assert skopeo_digest(f"127.0.0.1:{site.port}", site.ca.parent, "docker.io/library/redis:7.2") == REDIS.digest


@pytest.mark.parametrize("step", ["copy", "program", "serve"])
def test_a_run_that_was_killed_goes_on(bundle: Path, site: Site, step: str) -> None:
    # The process kills itself right after the journal has the step's begin: the hardest place.
    code = f"""
import os, signal, sys
from airbundle.cli.main import main
from airbundle.cli.main import main
from airbundle.installer.journal import Journal
from airbundle.transfer import tls
note = Journal.note
def deadly(self, step, event="note", **more):
    note(self, step, event, **more)
    if (step, event) == ({step!r}, "begin"):
        os.kill(os.getpid(), signal.SIGKILL)
Journal.note = deadly
sys.exit(main())
"""
    arguments = site.command("install", bundle, "--key", site.key.public, "--listen", f"127.0.0.1:{site.port}")
    done = subprocess.run([sys.executable, "-c", code, *arguments[3:]], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert Journal(site.state / "journal.jsonl").read()[-1].step == step
    status = site.run("status")
    assert status[0] == 3 and "did not come to its end" in error_text(status[1])
    code_, report = site.install(bundle)
    assert (code_, report.get("changed")) == (0, True), report
    assert site.run("status")[0] == 0


# Refusals before anything changes


@pytest.fixture
def untouched(tmp_path: Path, key: Key) -> Iterator[Site]:
    """A site that must not come into being."""
    made = Site(tmp_path, key)
    yield made
    assert not made.state.exists()


def test_without_a_key(bundle: Path, untouched: Site) -> None:
    code, document = untouched.run("install", bundle)
    assert code == 5 and "--key release.pub" in error_text(document)
    assert document["outcome"] == "unchanged"


def test_unsigned(untouched: Site, tmp_path: Path) -> None:
    code, document = untouched.install(sign_and_write(tmp_path / "u.airbundle", content(IMAGES)))
    assert code == 5 and "not signed" in error_text(document)


def test_signed_by_another(untouched: Site, tmp_path: Path) -> None:
    other = make_key(tmp_path, "other")
    code, document = untouched.install(sign_and_write(tmp_path / "o.airbundle", content(IMAGES), other))
    assert code == 5 and "trusted is" in error_text(document)


def test_expired(untouched: Site, key: Key, tmp_path: Path) -> None:
    made = content(IMAGES, expires="2026-01-02T00:00:00Z")
    code, document = untouched.install(sign_and_write(tmp_path / "e.airbundle", made, key))
    assert code == 5 and "--allow-expired" in error_text(document)


def test_truncated(untouched: Site, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.airbundle"
    path.write_bytes(bundle.read_bytes()[:-2000])
    code, document = untouched.install(path)
    assert code == 5 and "truncated" in error_text(document)


def test_a_port_that_is_taken_and_a_registry_that_is_not_there(bundle: Path, untouched: Site) -> None:
    with socket.create_server(("127.0.0.1", untouched.port)):
        code, document = untouched.install(bundle, "--registry", "127.0.0.1:1")
    codes = {finding["code"] for finding in document["errors"][0]["findings"]}
    assert (code, codes, document["outcome"]) == (3, {"port", "registry"}, "unchanged")


def test_an_address_of_another_host_and_an_engine_there(
    bundle: Path, untouched: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://operator@192.0.2.7")
    arguments = ["--key", untouched.key.public, "--listen", "192.0.2.9:5443", "--registry", "container"]
    code, document = untouched.run("install", bundle, *arguments)
    found = {finding["where"]: finding for finding in document["errors"][0]["findings"]}
    assert (code, document["outcome"]) == (3, "unchanged")
    assert found["--listen"]["message"] == "this host has no such address"
    assert "--listen :5443 listens at all of them" in found["--listen"]["hint"]
    assert found["--registry container"]["found"] == "192.0.2.7"
    assert "unset DOCKER_HOST, or run the install on 192.0.2.7" in found["--registry container"]["hint"]


@pytest.mark.parametrize("wrong", ["CA", "credentials", "address"])
def test_a_registry_that_does_not_let_us_in(
    bundle: Path, untouched: Site, wrong: str, basic_registry: Registry
) -> None:
    cases: dict[str, list[object]] = {
        "CA": ["--registry", basic_registry.url],
        "credentials": into(basic_registry),
        "address": ["--registry", "127.0.0.1:1"],
    }
    arguments = cases[wrong]
    code, document = untouched.install(bundle, *arguments)
    assert (code, document["outcome"]) == (6, "unchanged"), document
    words = {"CA": "certificate is not trusted", "credentials": "401", "address": "refused"}
    assert words[wrong] in error_text(document)


def test_preflight_lists_and_makes_nothing(bundle: Path, untouched: Site) -> None:
    listen = f"127.0.0.1:{untouched.port}"
    code, document = untouched.run("preflight", bundle, "--key", untouched.key.public, "--listen", listen)
    assert (code, document["findings"]) == (0, []), document
    code, document = untouched.run(
        "preflight", bundle, "--key", untouched.key.public, "--listen", listen, "--registry", "127.0.0.1:1"
    )
    assert code == 3 and "127.0.0.1:1" in error_text(document)


@pytest.mark.parametrize("carried", ["charts", "files"])
def test_a_registry_is_looked_at_whatever_the_bundle_has_for_it(
    untouched: Site, key: Key, tmp_path: Path, carried: str
) -> None:
    """Of a bundle with no images: what is installed later goes there, and nodes are told of it."""
    made = content({}, charts=CHARTS) if carried == "charts" else content({}, others={("file", "file/tool:1"): TOOL})
    path = sign_and_write(tmp_path / "f.airbundle", made, key)
    words = ("--key", untouched.key.public, "--listen", f"127.0.0.1:{untouched.port}", "--registry", "127.0.0.1:1")
    code, document = untouched.run("preflight", path, *words)
    found = [finding["code"] for finding in document["errors"][0]["findings"]] if document["errors"] else []
    assert (code, found) == (3, ["registry"]), document


def test_a_clock_that_is_behind_is_a_warning(untouched: Site, key: Key, tmp_path: Path) -> None:
    made = content(IMAGES, serial=int(time.time()) + 24 * 3600)
    path = sign_and_write(tmp_path / "f.airbundle", made, key)
    listen = f"127.0.0.1:{untouched.port}"
    code, document = untouched.run("preflight", path, "--key", untouched.key.public, "--listen", listen)
    assert code == 0, document
    assert [(each["code"], each["severity"]) for each in document["findings"]] == [("clock", "warning")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "x"],
        ["--listen", "127.0.0.1:0"],
        ["--listen", "registry.site:5443"],
        ["--domain", "10.0.0.1"],
        ["--domain", "a_b"],
        ["--prefix", "A"],
        ["--registry", "ftp://x"],
        ["--registry", "embeded"],
        ["--registry-ca", "x.crt"],
    ],
)
def test_wrong_usage(bundle: Path, untouched: Site, arguments: Sequence[str]) -> None:
    assert untouched.run("install", bundle, "--key", untouched.key.public, *arguments)[0] == 2


def test_a_full_disk(bundle: Path, small_disk: Path, key: Key) -> None:
    site = Site(small_disk, key)
    code, document = site.install(bundle)
    assert code == 7, document
    (finding,) = document["errors"][0]["findings"]
    assert re.fullmatch(r"[0-9.]+ [KM]iB free", finding["found"]), finding
    assert re.fullmatch(r"[0-9.]+ MiB", finding["expected"]), finding
    assert re.match(r"free [0-9.]+ MiB, or", finding["hint"]), finding
    assert document["outcome"] == "unchanged"
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_can_be_uninstalled_from(bundle: Path, small_disk: Path, key: Key) -> None:
    site = Site(small_disk, key)
    site.state.mkdir()
    (site.state / "lock").touch()
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    assert site.run("load", bundle, "--key", key.public, "--registry", "http://127.0.0.1:1")[0] == 6
    code, document = site.run("uninstall")
    assert code == 0, document
    assert not site.state.exists()


def test_a_state_directory_that_can_not_be(bundle: Path, tmp_path: Path, key: Key) -> None:
    (tmp_path / "file").write_text("")
    site = Site(tmp_path / "file", key)
    for command in (["install", bundle, "--key", key.public], ["status"], ["uninstall"]):
        code, document = site.run(*command)
        assert code == 2 and f"{tmp_path}/file is no directory" in error_text(document), document


def test_a_disk_that_can_only_be_read(bundle: Path, small_disk: Path, key: Key) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    site = Site(small_disk, key)
    code, document = site.install(bundle)
    found = {finding["code"]: finding for finding in document["errors"][0]["findings"]}
    assert (code, found["permission"]["message"]) == (3, "the file system can only be read")
    assert "mount it for writing" in found["permission"]["hint"]


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [(200, "text/html", b"<html>hello"), (404, "text/plain", b"no"), (404, "text/html", b"<html>no")],
)
def test_a_server_that_is_no_registry(bundle: Path, untouched: Site, status: int, kind: str, body: bytes) -> None:
    with fault_server(lambda turn, n: turn.reply(status, body, {"Content-Type": kind})) as server:
        code, document = untouched.install(bundle, "--registry", server.url.rstrip("/"))
    assert (code, document["outcome"]) == (6, "unchanged")
    assert "ask whether it is a registry: it is none" in error_text(document)


def test_a_server_that_speaks_something_else(bundle: Path, untouched: Site) -> None:
    def speak(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.recv(4096)

    def serve() -> None:
        with suppress(OSError):
            while True:
                speak(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        for scheme in ("http", "https"):
            url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
            code, document = untouched.install(bundle, "--registry", url)
            assert (code, document["outcome"]) == (6, "unchanged")
            assert "named with http:// or https://" in error_text(document) or "TLS failed" in error_text(document)
        listener.shutdown(socket.SHUT_RDWR)


def test_two_at_once(bundle: Path, site: Site, empty_registry: Registry) -> None:
    with stalling_proxy(empty_registry.port, 1_000_000) as proxy:
        arguments = ["--registry", f"https://{proxy.host}", "--registry-ca", empty_registry.ca_file]
        listen = ["--listen", f"127.0.0.1:{site.port}", "--key", site.key.public]
        first = subprocess.Popen(site.command("install", bundle, *arguments, *listen), stderr=subprocess.DEVNULL)
        assert proxy.stalled.wait(60)
        code, document = site.install(bundle, *arguments)
        assert "is in use by" in site.run("status")[1]["findings"][0]["message"]
        first.kill()
        first.wait()
    assert code == 8
    assert f"process {first.pid}" in error_text(document) and "airbundle install" in error_text(document)


# Into a registry that is there


def into(registry: Registry) -> list[object]:
    return ["--registry", registry.url, "--registry-ca", registry.ca_file]


def test_into_a_registry(bundle: Path, site: Site, empty_registry: Registry, tmp_path: Path) -> None:
    code, report = site.install(bundle, *into(empty_registry))
    assert (code, report["mode"]) == (0, "url"), report
    certs = site.state / "certs/registry"
    assert skopeo_digest(empty_registry.host, certs, "quay.io/a/multi:1") == MULTI.digest
    for line in report["commands"].values():
        run_command(line, tmp_path)
    (copy,) = (site.state / "bundles").iterdir()
    assert copy.stat().st_blocks * 512 < 1_000_000 < copy.stat().st_size  # layers are in the registry, not here, too
    with pytest.raises(urllib.error.HTTPError, match="404"):
        site.get("/v2/")
    assert site.run("status")[0] == 0
    before = len(empty_registry.uploads())
    code, again = site.install(bundle, *into(empty_registry))
    assert (code, again["changed"]) == (0, False)
    assert len(empty_registry.uploads()) == before


def test_the_commands_trust_what_registries_yaml_trusts(
    bundle: Path, site: Site, empty_registry: Registry, tmp_path: Path
) -> None:
    registries = tmp_path / "registries.yaml"
    registries.write_text(json.dumps(empty_registry.registries_yaml()))
    code, report = site.install(bundle, "--registry", empty_registry.url, "--registries", registries)
    assert code == 0, report
    certs = site.state / "certs/registry"
    assert report["commands"]["image"].startswith(f"podman pull --cert-dir {certs} {empty_registry.host}/")
    for line in report["commands"].values():
        run_command(line, tmp_path)
    assert site.run("status")[0] == 0


def test_the_commands_say_who_logs_in_and_never_the_password(
    bundle: Path, site: Site, tmp_path: Path, authority: Authority
) -> None:
    with run_registry(tmp_path / "registry", tls=authority, auth="basic") as registry:
        document = registry.registries_yaml()
        document["configs"][registry.host]["tls"] = {"insecure_skip_verify": True}
        registries = tmp_path / "registries.yaml"
        registries.write_text(json.dumps(document))
        code, report = site.install(bundle, "--registry", registry.url, "--registries", registries)
    assert code == 0, report
    image = f"{registry.host}/docker.io/library/redis:7.2"
    assert report["commands"]["image"] == f"podman pull --creds {registry.username} --tls-verify=false {image}"
    assert registry.password not in json.dumps(report)


def test_the_commands_over_plain_http(bundle: Path, site: Site, tmp_path: Path) -> None:
    with run_registry(tmp_path / "registry") as registry:
        code, report = site.install(bundle, "--registry", registry.url)
        assert code == 0, report
        assert set(report["commands"]) == {"image", "chart", "chartRepository"}
        for line in report["commands"].values():
            run_command(line, tmp_path)


def test_a_sparse_index_is_in_report_and_state(site: Site, empty_registry: Registry, key: Key, tmp_path: Path) -> None:
    whole = index([AMD, attestation(AMD), ARM])
    made = content({"quay.io/a/m:1": whole}, carried={"quay.io/a/m:1": [AMD]})
    path = sign_and_write(tmp_path / "s.airbundle", made, key)
    code, report = site.install(path, *into(empty_registry))
    assert (code, report["sparse"]) == (0, {"quay.io/a/m:1": AMD.digest}), report
    code, status = site.run("status")
    assert (code, status["bundles"][0]["sparse"]) == (0, {"quay.io/a/m:1": AMD.digest})


def test_embedded_serves_a_sparse_index(site: Site, key: Key, tmp_path: Path) -> None:
    whole = index([AMD, ARM])
    made = content({"quay.io/a/m:1": whole}, carried={"quay.io/a/m:1": [AMD]})
    code, report = site.install(sign_and_write(tmp_path / "s.airbundle", made, key))
    assert (code, report["sparse"]) == (0, {})
    assert skopeo_digest(f"127.0.0.1:{site.port}", site.ca.parent, "quay.io/a/m:1") == whole.digest


def test_a_registry_that_refuses_is_unchanged(bundle: Path, site: Site, tmp_path: Path, authority: Authority) -> None:
    with run_registry(tmp_path / "registry", tls=authority, read_only=True) as registry:
        code, document = site.install(bundle, *into(registry))
    assert (code, document["outcome"]) == (6, "unchanged"), document
    assert "read-only" in error_text(document)
    assert not (site.state / "ca").exists() and not (site.state / "bundles").exists()


def test_missing_tags_are_told_and_mended(bundle: Path, site: Site, empty_registry: Registry) -> None:
    import shutil

    site.install(bundle, *into(empty_registry))
    base = empty_registry.storage / "docker/registry/v2/repositories/docker.io/library/redis"
    shutil.rmtree(base / "_manifests/tags/7.2")
    code, status = site.run("status")
    assert code == 3 and "docker.io/library/redis:7.2: found nothing" in error_text(status)
    code, report = site.install(bundle, *into(empty_registry))
    assert (code, report.get("changed")) == (0, True), report
    assert site.run("status")[0] == 0


def test_a_registry_that_is_not_named_again_stays(bundle: Path, site: Site, empty_registry: Registry) -> None:
    code, first = site.install(bundle, *into(empty_registry), "--prefix", "mirror")
    assert code == 0, first
    for arguments in ([], ["--registry", empty_registry.url]):  # nor its CA, nor the prefix
        code, again = site.install(bundle, *arguments)
        assert (code, again.get("changed"), again.get("mode")) == (0, False, "url"), again
        assert again["commands"] == first["commands"]


def test_another_mode_is_refused(bundle: Path, site: Site, empty_registry: Registry) -> None:
    site.install(bundle)
    code, document = site.install(bundle, *into(empty_registry))
    assert code == 3 and "--keep-data" in error_text(document)
    assert empty_registry.uploads() == []


# Status and uninstall


def test_where_nothing_is_installed(tmp_path: Path, key: Key) -> None:
    site = Site(tmp_path, key)
    assert site.run("status")[1]["installed"] is False
    assert site.run("uninstall") == (0, {**site.run("uninstall")[1], "removed": [], "kept": []})
    assert not site.state.exists()


def test_uninstall_asks(bundle: Path, site: Site) -> None:
    site.install(bundle)
    done = subprocess.run(site.command("uninstall"), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "add --yes" in done.stderr
    assert done.stderr.count(str(site.state / "state.json")) == 1
    assert site.run("status")[0] == 0
    # Who has answered beforehand reads the list once: what went.
    done = subprocess.run(site.command("uninstall", "--yes"), capture_output=True, text=True)
    assert done.returncode == 0
    assert (done.stdout + done.stderr).count(str(site.state / "state.json")) == 1


def test_uninstall_leaves_data_when_told(bundle: Path, site: Site) -> None:
    site.install(bundle)
    ca = site.ca.read_bytes()
    code, document = site.run("uninstall", "--keep-data")
    assert code == 0, document
    left = {path.name for path in site.state.iterdir()}
    assert left == {"bundles", "ca", "certs", "trust.json", "journal.jsonl", "lock"}
    with pytest.raises(OSError):
        site.get("/healthz")
    code, status = site.run("status")
    assert (code, status["installed"]) == (0, False)
    code, report = site.install(bundle)
    assert (code, report.get("changed")) == (0, True), report
    assert site.ca.read_bytes() == ca


def test_uninstall_leaves_what_is_not_ours(bundle: Path, site: Site) -> None:
    site.install(bundle)
    (site.state / "notes.txt").write_text("the operator's own")
    (site.state / "linked").symlink_to(site.root)
    code, document = site.run("uninstall")
    assert code == 0
    assert {path.name for path in site.state.iterdir()} == {"notes.txt", "linked"}
    assert any("notes.txt" in line for line in document["kept"])
    (site.state / "notes.txt").unlink()
    (site.state / "linked").unlink()
    site.state.rmdir()


def test_uninstall_of_a_cut_off_install(bundle: Path, site: Site) -> None:
    site.install(bundle)
    (site.state / "state.json").write_text("broken")
    (site.state / "journal.jsonl").write_text("broken\nbroken\n")
    assert site.run("uninstall")[0] == 0
    assert not site.state.exists()
