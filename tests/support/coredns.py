"""CoreDNS itself, where the sealed site was built on this machine: it says whether a Corefile is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import free_port, running


def coredns() -> Path:
    """Return the program; skips, saying so, where it isn't there."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = Path(os.environ.get("SITE_HOME") or f"{cache}/airbundle-site")
    path = home / "bin" / "coredns"
    if not path.exists():
        pytest.skip(f"no CoreDNS at {path}: build the sealed site, or set SITE_HOME")
    return path


@contextmanager
def run_coredns(corefile: str, directory: Path) -> Iterator[int]:
    """Run CoreDNS with a Corefile whose `:53` become a free port; yields the port."""
    port = free_port()
    path = directory / f"Corefile.{port}"
    path.write_text(corefile.replace(":53 ", f":{port} "))
    with running([coredns(), "-conf", path], directory / f"coredns.{port}.log", cwd=directory) as server:
        server.wait_for_line(r"^CoreDNS-", what="CoreDNS")
        yield port
