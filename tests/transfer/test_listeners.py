"""Who listens on a port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from airbundle.transfer.listeners import who_listens


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_is_found_by_its_port(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        assert who_listens(port) == ""
        listener.listen(1)
        assert who_listens(port).endswith(f"(pid {os.getpid()})")
        assert "pytest" in who_listens(port) or "python" in who_listens(port)


def test_names_are_short_and_printable() -> None:
    code = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, "x" * 500, "\x1b[31mred"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        told = who_listens(int(other.stdout.readline()))
        other.communicate("")
    assert told.isprintable()
    assert len(told) < 120
    assert told.endswith(f"(pid {other.pid})")


def test_a_program_that_ends_meanwhile_is_no_fault() -> None:
    assert who_listens(0) == ""
