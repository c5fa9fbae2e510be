"""Whether the ports of an install can be listened at, before anything changes."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.installer.options import CONTAINER, Options
from airbundle.installer.own_ports import container_listens, server_listens
from airbundle.installer.state import Installed, StateDirectory
from airbundle.transfer.listeners import who_listens
from airbundle.transfer.local import PORT_TAKEN, host_addresses, is_own_address, port_problem


def port_findings(state: StateDirectory, installed: Installed, options: Options) -> Iterator[Finding]:
    """Yield what stands in the way of listening.

    Args:
        state: what was started for it may listen already.
        installed: says where that listens.
        options: say where to listen.
    """
    if not is_own_address(options.host):
        yield Finding(
            "this host has no such address",
            where="--listen",
            code="port",
            found=options.host,
            expected=", ".join(host_addresses()) or "127.0.0.1",
            hint=f"name one of these, or none: --listen :{options.port} listens at all of them",
        )
        return
    ports = [(options.port, "--listen", installed.server, server_listens)]
    if options.mode == CONTAINER:
        ports.append((options.container_port, "--container-port", installed.registry, container_listens))
    for port, option, ours, listens in ports:
        if ours.endswith(f":{port}"):
            continue  # what listens there is what an earlier install started
        problem = port_problem(options.host, port)
        if problem and not listens(state, port):
            yield Finding(
                f"port {port} can't be listened at: {problem}",
                where=option,
                code="port",
                found=who_listens(port),
                hint=f"stop that program, or name another port with {option}"
                if problem == PORT_TAKEN
                else f"name a port above 1023 with {option}, or run as root",
            )
