"""store.host: files that a person named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from airbundle.errors import HostError, UsageError
from airbundle.store.host import read_bounded


def test_a_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"value")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 5) == b"value"
    with pytest.raises(UsageError, match="more than the 4 bytes"):
        read_bounded(tmp_path / "file", 4)


def test_a_file_that_is_given_as_standard_input_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"value")
    with (tmp_path / "file").open("rb") as file:
        assert read_bounded(Path(f"/dev/fd/{file.fileno()}"), 5) == b"value"


@pytest.mark.parametrize("through", ["path", "link"])
def test_a_pipe_makes_nobody_wait(tmp_path: Path, through: str) -> None:
    os.mkfifo(tmp_path / "path")
    (tmp_path / "link").symlink_to("path")
    with pytest.raises(HostError, match=f"{through}: found a pipe, expected a regular file"):
        read_bounded(tmp_path / through, 5)


def test_what_is_no_file_is_named() -> None:
    with pytest.raises(HostError, match="/dev/zero: found a device, expected a regular file"):
        read_bounded(Path("/dev/zero"), 5)


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(HostError, match="socket"):
            read_bounded(tmp_path / "socket", 5)


def test_what_the_system_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="Is a directory"):
        read_bounded(tmp_path, 5)
    with pytest.raises(HostError, match="No such file"):
        read_bounded(tmp_path / "none", 5)
