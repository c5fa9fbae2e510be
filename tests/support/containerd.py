"""A containerd of a test's own: content alone, without CRI."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import program, running


@contextmanager
def run_containerd(directory: Path) -> Iterator[list[str]]:
    """Run containerd with all its files in `directory`; yields the words that begin a `ctr` command."""
    address = directory / "containerd.sock"
    config = directory / "config.toml"
    # Content is all that is asked of it: no CRI, and no snapshots of what is in the bundle.
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    command: list[str | Path] = [program("containerd", "containerd"), "--config", config, "--address", address]
    command += ["--root", directory / "root", "--state", directory / "state", "--log-level", "warn"]
    ctr = [program("ctr", "containerd"), "--address", str(address), "--namespace", "k8s.io"]

    def answers() -> bool | None:
        return subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0 or None

    with running(command, directory / "containerd.log") as daemon:
        daemon.wait_for(answers, what="containerd")
        yield ctr
