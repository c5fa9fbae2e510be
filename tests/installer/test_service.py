"""The server as a process and as a systemd unit: started, found again, reloaded, started again, taken away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import ServedBundle, ServerConfig
from airbundle.errors import SiteError
from airbundle.installer.process import Process
from airbundle.installer.service import Service, Start
from airbundle.installer.state import StateDirectory
from airbundle.installer.systemd import SYSTEM, USER, Unit, unit_text
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image
from tests.support.process import program
from tests.support.systemd import Box, run_systemd
from tests.support.tls import Authority

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Installed:
    """A state directory with a configured server, as `install` leaves it."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.state = StateDirectory(directory / "state")
        self.state.root.mkdir(parents=True)
        # All that the server reads lies in the state directory: a unit of the system sees no other files in /tmp.
        self.bundle = self.state.directory("bundles") / "x.airbundle"
        write_bundle(self.bundle, make_images({"docker.io/team/x:1": tiny_image("x")}))
        self.authority = authority
        issued = authority.issue()
        home = self.state.directory("server")
        certificate, key = (shutil.copy(path, home) for path in (issued.cert, issued.key))
        bundles = (ServedBundle((self.bundle,)),)
        self.config = ServerConfig(bundles, port=free_port(), tls_cert=Path(certificate), tls_key=Path(key))
        self.path = home / "config.json"
        self.write(self.config)

    def write(self, config: ServerConfig) -> None:
        self.config = config
        self.path.write_bytes(config.to_bytes())

    @property
    def start(self) -> Start:
        command = (sys.executable, "-m", "airbundle", "serve", "--config", str(self.path))
        return Start(command, (("PYTHONPATH", str(ROOT)),), self.config.host, self.config.port, "v1")

    def health(self) -> dict[str, Any] | None:
        """Ask over TLS; None when nobody answers."""
        curl = [program("curl", "curl"), "-s", "--noproxy", "*", "--cacert", str(self.authority.ca_file)]
        url = f"https://127.0.0.1:{self.config.port}/healthz"
        done = subprocess.run([*curl, url], capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_ready(self, service: Service | None = None) -> None:
        """Wait until it answers with its configuration."""
        wanted = sha256(self.config.to_bytes())
        end = time.monotonic() + 60
        while (self.health() or {}).get("instance") != wanted:
            assert time.monotonic() < end, service.log() if service else "no answer"
            time.sleep(0.05)


@pytest.fixture
def installed(tmp_path: Path, authority: Authority) -> Iterator[Installed]:
    made = Installed(tmp_path, authority)
    yield made
    Process(made.state).stop()


def test_a_process_is_started_found_again_and_taken_away(installed: Installed) -> None:
    service: Service = Process(installed.state)
    assert not service.running()
    assert not service.exists()
    assert service.ensure(installed.start) is True
    installed.wait_ready(service)
    # Found by another run, which leaves it alone.
    again = Process(StateDirectory(installed.state.root))
    assert again.running()
    described = again.describe()
    assert described.startswith("process ")
    assert again.ensure(installed.start) is False
    assert Process(installed.state).describe() == described
    assert "ready: https://127.0.0.1" in again.log()
    assert again.notes()
    assert again.remove() is True
    assert installed.health() is None
    assert not Process(installed.state).running()
    assert again.remove() is False


def test_a_new_configuration_is_taken_without_a_restart(installed: Installed) -> None:
    service = Process(installed.state)
    service.ensure(installed.start)
    installed.wait_ready(service)
    described = service.describe()
    installed.write(replace(installed.config, url="https://registry.site"))
    assert service.ensure(installed.start, reload=True) is True
    installed.wait_ready(service)
    assert service.describe() == described


def test_another_program_or_port_is_started_again(installed: Installed) -> None:
    service = Process(installed.state)
    service.ensure(installed.start)
    installed.wait_ready(service)
    described = service.describe()
    assert service.ensure(replace(installed.start, digest="v2")) is True
    assert service.describe() != described
    installed.wait_ready(service)
    installed.write(replace(installed.config, port=free_port()))
    assert service.ensure(replace(installed.start, digest="v2")) is True
    installed.wait_ready(service)


def test_a_process_that_nobody_wrote_down_is_found(installed: Installed) -> None:
    """Its starter was killed between starting it and writing its pid down."""
    service = Process(installed.state)
    service.start(installed.start)
    first = service.describe()
    (installed.state.root / "run" / "server.json").unlink()
    assert service.exists() and service.running() and service.describe() == first
    assert service.ensure(installed.start)
    assert service.running() and service.describe() != first
    assert not service.ensure(installed.start)
    (installed.state.root / "run" / "server.json").unlink()
    assert service.remove()
    assert not service.running()


def test_a_dead_process_is_started_again(installed: Installed) -> None:
    service = Process(installed.state)
    service.ensure(installed.start)
    installed.wait_ready(service)
    os.kill(int(service.describe().split()[1]), signal.SIGKILL)
    end = time.monotonic() + 30
    while service.running() or installed.health() is not None:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert service.ensure(installed.start) is True
    installed.wait_ready(service)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"started": 1}, {"pid": 1}, {"pid": "x"}, {"more": 1}])
def test_another_process_with_its_number_is_not_taken_for_it(installed: Installed, change: dict[str, Any]) -> None:
    service = Process(installed.state)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        path = installed.state.directory("run") / "server.json"
        path.write_text(json.dumps({"pid": stranger.pid, "started": 1, "boot": "", "start": "", **change}))
        assert not service.running()
        assert service.stop() is False
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_told_with_the_program_that_has_it(installed: Installed) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", installed.config.port))
        other.listen(1)
        with pytest.raises(SiteError) as caught:
            Process(installed.state).ensure(installed.start)
    assert f"(pid {os.getpid()})" in caught.value.problem
    assert "--listen" in caught.value.hint
    assert not Process(installed.state).exists()


def test_a_server_that_can_not_start_says_why(installed: Installed) -> None:
    installed.bundle.unlink()
    service = Process(installed.state)
    service.ensure(installed.start)
    end = time.monotonic() + 60
    while service.running():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "there is no such file" in service.log()
    with pytest.raises(SiteError, match="no-such-python"):
        service.ensure(replace(installed.start, command=("/no-such-python",)))


def test_secrets_of_the_shell_do_not_go_along(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "hunter2")
    service = Process(installed.state)
    service.ensure(installed.start)
    environment = Path("/proc", service.describe().split()[1], "environ").read_bytes()
    assert b"hunter2" not in environment
    assert b"PYTHONPATH=" in environment


def test_its_files_are_for_the_group_at_most(installed: Installed) -> None:
    old = os.umask(0)
    try:
        Process(installed.state).ensure(installed.start)
    finally:
        os.umask(old)
    for path in (*installed.state.path("run").iterdir(), *installed.state.path("log").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o640


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with run_systemd(tmp_path_factory.mktemp("systemd")) as running:
        yield running


CODE = """
import json, sys
from pathlib import Path
from airbundle.installer.service import Service, Start
from airbundle.installer.state import StateDirectory
from airbundle.errors import AirbundleError
wanted = json.load(sys.stdin)
service = Service.of(StateDirectory(Path(wanted["state"])))
start = Start(tuple(wanted["command"]), tuple(map(tuple, wanted["environment"])), wanted["host"], wanted["port"],
              wanted["digest"])
try:
    result = {"ensure": lambda: service.ensure(start, reload=wanted["reload"]), "remove": service.remove,
              "running": service.running, "log": service.log}[wanted["action"]]()
    print(json.dumps({"result": result, "is": service.describe(), "notes": service.notes()}))
except AirbundleError as error:
    print(json.dumps({"error": error.problem, "hint": error.hint, "is": service.describe()}))
"""


class InBox:
    """`Service.of` as an installer sees it that runs on a host with systemd."""

    def __init__(self, box: Box, installed: Installed) -> None:
        self.box = box
        self.installed = installed

    def __call__(self, action: str, *, reload: bool = False, start: Start | None = None) -> dict[str, Any]:
        start = start or self.installed.start
        wanted = {**start.__dict__, "writable": [], "state": str(self.installed.state.root)}
        command = self.box.command("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", CODE)
        sent = json.dumps({**wanted, "action": action, "reload": reload})
        done = subprocess.run(command, input=sent, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def main_pid(self) -> str:
        unit = self("running")["is"].split()[-1]
        return self.box.run("systemctl", "show", "--value", "-p", "MainPID", unit).stdout.strip()


@pytest.fixture
def unit(box: Box, installed: Installed) -> Iterator[InBox]:
    made = InBox(box, installed)
    yield made
    made("remove")


def test_a_unit_is_started_found_again_and_taken_away(unit: InBox, installed: Installed) -> None:
    first = unit("ensure")
    assert first.get("result") is True, first
    assert first["is"].startswith("systemd unit airbundle-")
    # Type=notify: it answers when systemctl returns.
    health = installed.health()
    assert health is not None
    assert health["instance"] == sha256(installed.config.to_bytes())
    pid = unit.main_pid()
    assert unit("running")["result"] is True
    assert unit("ensure")["result"] is False
    assert unit.main_pid() == pid
    name = first["is"].split()[-1]
    assert unit.box.run("systemctl", "is-enabled", name).stdout.strip() == "enabled"
    assert unit("remove")["result"] is True
    assert installed.health() is None
    assert unit("remove")["result"] is False
    assert name not in unit.box.run("ls", "-R", "/etc/systemd/system").stdout


def test_a_unit_reloads_restarts_and_comes_back(unit: InBox, installed: Installed) -> None:
    unit("ensure")
    pid = unit.main_pid()
    installed.write(replace(installed.config, url="https://registry.site"))
    assert unit("ensure", reload=True)["result"] is True
    installed.wait_ready()
    assert unit.main_pid() == pid
    # A run that was cut off after it wrote the unit, before it restarted it.
    name = unit("running")["is"].split()[-1]
    text = unit_text(installed.state, SYSTEM, replace(installed.start, digest="v2"))
    copy = installed.state.root / "unit"
    copy.write_text(text)
    unit.box.run("cp", copy, f"/etc/systemd/system/{name}")
    assert unit("ensure", start=replace(installed.start, digest="v2"))["result"] is True
    assert unit.main_pid() != pid
    pid = unit.main_pid()
    unit.box.run("kill", "-KILL", pid)
    end = time.monotonic() + 60
    while installed.health() is None or unit.main_pid() in {pid, "0"}:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_unit_has_no_rights_that_it_does_not_need(unit: InBox, installed: Installed) -> None:
    unit("ensure")
    status = unit.box.run("cat", f"/proc/{unit.main_pid()}/status").stdout
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    mounts = unit.box.run("cat", f"/proc/{unit.main_pid()}/mounts").stdout.splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")
    assert "ro" in root[3].split(",")


def test_a_unit_that_can_not_start_says_why(unit: InBox, installed: Installed) -> None:
    installed.bundle.unlink()
    answer = unit("ensure")
    assert "systemctl start" in answer["error"]
    assert "there is no such file" in answer["error"]
    assert "journalctl" in answer["hint"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", installed.config.port))
        other.listen(1)
        assert "another program listens there" in unit("ensure")["error"]


def test_unit_files_quote_what_systemd_would_read_otherwise(installed: Installed, box: Box) -> None:
    odd = replace(
        installed.start,
        command=("/bin/echo", 'a "b" c', "50%", "$HOME", "back\\slash", "it's"),
        environment=(("NAME", 'x "y" %z'),),
        writable=(Path("/var/log"),),
    )
    text = unit_text(installed.state, SYSTEM, odd)
    text = text.replace("Type=notify", "Type=oneshot").replace("Restart=always", "Restart=no")
    text = text.replace("ExecStart=", "StandardOutput=file:/run/odd\nExecStart=")
    path = installed.state.root / "odd.service"
    path.write_text(text)
    box.run("cp", path, "/etc/systemd/system/odd.service")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "odd.service")
    assert box.run("cat", "/run/odd").stdout == 'a "b" c 50% $HOME back\\slash it\'s\n'
    shown = box.run("systemctl", "show", "-p", "Environment", "odd.service").stdout
    assert 'x \\"y\\" %z' in shown
    box.run("rm", "/etc/systemd/system/odd.service")


def test_low_ports_keep_the_one_right_they_need(installed: Installed) -> None:
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in unit_text(
        installed.state, SYSTEM, replace(installed.start, port=443)
    )


def test_users_have_a_unit_of_their_own(installed: Installed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    unit = Unit(installed.state, USER)
    assert unit.path.parent == tmp_path / "systemd" / "user"
    text = unit_text(installed.state, USER, installed.start)
    assert "WantedBy=default.target" in text
    assert "NoNewPrivileges=yes" in text
    assert "ProtectSystem" not in text
    assert "enable-linger" in unit.notes()[0]


def test_without_systemd_it_is_a_process(installed: Installed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("airbundle.installer.service.BOOTED", tmp_path / "none")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert isinstance(Service.of(installed.state), Process)


def test_the_default_place_has_the_plain_name() -> None:
    assert Unit(StateDirectory(), SYSTEM).name == "airbundle.service"
