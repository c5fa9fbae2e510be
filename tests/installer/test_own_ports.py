"""What listens is known as a site's own without anything being written down."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airbundle.bundle.serving import ServedBundle, ServerConfig
from airbundle.installer.own_ports import container_listens, server_listens
from airbundle.installer.process import Process
from airbundle.installer.service import Start
from airbundle.installer.state import StateDirectory
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image
from tests.support.process import free_port

ROOT = Path(__file__).parents[2]


def test_the_server_of_this_state_directory_and_no_other(tmp_path: Path) -> None:
    state, other = StateDirectory(tmp_path / "state"), StateDirectory(tmp_path / "other")
    state.root.mkdir()
    bundle = tmp_path / "x.airbundle"
    write_bundle(bundle, make_images({"docker.io/team/x:1": tiny_image("x")}))
    port = free_port()
    path = state.directory("server") / "config.json"
    path.write_bytes(ServerConfig((ServedBundle((bundle,)),), port=port).to_bytes())
    command = (sys.executable, "-m", "airbundle", "serve", "--config", str(path))
    service = Process(state)
    assert not server_listens(state, port)
    service.start(Start(command, (("PYTHONPATH", str(ROOT)),), port=port))
    try:
        end = time.monotonic() + 60
        while not server_listens(state, port):
            assert service.running() and time.monotonic() < end, service.log()
            time.sleep(0.05)
        assert not server_listens(other, port)
        assert not container_listens(state, port)
    finally:
        service.stop()


def test_another_program(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not server_listens(state, port)
        assert not container_listens(state, port)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_process_with_other_files_is_another_one_whatever_its_command_line(tmp_path: Path, elsewhere: bool) -> None:
    """Such as the server of a container, where the state directory has the same name."""
    state = StateDirectory(tmp_path / "state")
    (tmp_path / "root").mkdir()
    code = f"{elsewhere} and os.chroot({str(tmp_path / 'root')!r}); print('up', flush=True); time.sleep(60)"
    program = [
        sys.executable,
        "-c",
        f"import os, time; {code}",
        "serve",
        "--config",
        str(state.path("server", "config.json")),
    ]
    root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    with subprocess.Popen([*root, *program], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            service = Process(state)
            assert service.exists() is not elsewhere
            assert service.stop() is not elsewhere
            assert (process.poll() is None) is elsewhere
        finally:
            process.kill()
