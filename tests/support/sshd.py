"""An SSH server of a test's own: OpenSSH's, on a free port of loopback, with keys made for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import free_port, program, running


@dataclass(frozen=True)
class Sshd:
    """A server that runs.

    Attributes:
        port: where it listens.
        options: arguments of ssh with which it lets this user in.
        strange: arguments with which its host key is not known.
    """

    port: int
    options: tuple[str, ...]
    strange: tuple[str, ...]


@contextmanager
def run_sshd(directory: Path, command: str = "") -> Iterator[Sshd]:
    """Run sshd for the length of a `with` block; with `command`, whatever is asked for, that is run."""
    for name in ("host", "user"):
        key = [program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(key, check=True)
    port = free_port()
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it keeps what it separates privileges with
    forced = f"ForceCommand {command}\n" if command else ""
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\nUsePAM no\n{forced}"
        f"AuthorizedKeysFile {directory}/user.pub\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    host = (directory / "host.pub").read_text()
    (directory / "known").write_text(f"[127.0.0.1]:{port} {host}")
    sshd = [program("sshd", "openssh-server"), "-D", "-e", "-f", str(directory / "sshd_config")]
    options = ("-F", "none", "-i", str(directory / "user"), "-o", "IdentitiesOnly=yes", "-o")
    with running(sshd, directory / "sshd.log") as server:
        server.wait_for_line("Server listening", what="sshd")
        known, unknown = (f"UserKnownHostsFile={directory}/{name}" for name in ("known", "nobody"))
        yield Sshd(port, (*options, known), (*options, unknown))
