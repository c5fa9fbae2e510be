"""Nodes by ssh: the host's own program, with the user's own configuration, keys and known hosts.

No password is asked for or passed on. A user who is not root must be allowed `sudo -n`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from airbundle.deploy.nodes import SshHost
from airbundle.errors import SiteError
from airbundle.transfer.node_access import NodeAnswer, run_command, runner

_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4", "LogLevel=ERROR")


class SshNodes:
    """Nodes that are reached by ssh.

    Args:
        hosts: node → where its SSH server is.
        options: further arguments of ssh.
    """

    way = "ssh"

    def __init__(self, hosts: Mapping[str, SshHost], *, options: Sequence[str] = ()) -> None:
        self._hosts = hosts
        self._options = tuple(options)

    def host(self, node: str) -> str:
        """Return where a node's SSH server is, as the site file could have it; empty where none is named."""
        found = self._hosts.get(node)
        return found.whole if found else ""

    def run(self, node: str, script: bytes, argument: str) -> NodeAnswer:
        """Run a script on a node. Raises as `NodeAccess.run`."""
        host = self._hosts.get(node)
        if host is None:
            raise SiteError(
                f"node {node}: the site file names no host for it",
                outcome="unchanged",
                hint="add it to `nodes.hosts`, as [user@]host[:port]",
            )
        command = ["ssh", "-T", *(part for option in _OPTIONS for part in ("-o", option)), *self._options]
        command += ["-p", str(host.port)] if host.port else []
        command += ["-l", host.user] if host.user else []
        command += ["--", host.host, _remote(runner(script, argument))]
        return run_command(
            node,
            command,
            script,
            os.environ,
            why=f"ssh to {host} could not run the script",
            hint=f"try `ssh {host} sudo -n true`: its key must be known, and root or sudo allowed without a password",
        )


def _remote(command: str) -> str:
    """Return a command for any login shell: as root, or by sudo."""
    inner = f"exec sh -c {shlex.quote(command)}"
    either = f'if [ "$(id -u)" = 0 ]; then {inner}; else exec sudo -n sh -c {shlex.quote(command)}; fi'
    return f"exec sh -c {shlex.quote(either)}"
