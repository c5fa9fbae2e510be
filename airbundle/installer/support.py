"""`airbundle support`: one archive of what somebody needs who helps from afar (docs/support.md).

Read only and offline: nothing is changed, and nobody is asked but what airbundle itself runs at the site. Every part
may fail; which did, and why, is in the manifest, and the rest is there all the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import airbundle
from airbundle.installer import support_host
from airbundle.installer.files import PRIVATE_FILE, check_new_file, write_file
from airbundle.installer.options import CONTAINER
from airbundle.installer.service import Service
from airbundle.installer.state import StateDirectory
from airbundle.installer.status import read_status
from airbundle.installer.support_archive import Archive
from airbundle.installer.support_sites import add_sites
from airbundle.installer.support_state import (
    add_certificates,
    add_documents,
    add_files,
    add_logs,
    add_registries,
)
from airbundle.installer.systemd import Unit
from airbundle.progress import Reporter

_CONTAINER_LINES = 500
_UNIT_LIMIT = 4096  # characters, as `Unit.log` has them


@dataclass(frozen=True)
class Support:
    """What was written: file, size in bytes, SHA-256, and the manifest in it."""

    file: Path
    size: int
    sha256: str
    manifest: dict[str, Any]


def write_support(state: StateDirectory, output: Path, reporter: Reporter) -> Support:
    """Write a support archive, 0600, whole or not at all.

    Args:
        state: of the site; may be damaged, or not there.
        output: where to.
        reporter: gets progress.

    Raises:
        UsageError: there is a file of that name.
        HostError: it can't be written.
    """
    check_new_file(output)
    archive = gather(state, reporter)
    data = archive.to_bytes()
    write_file(output, data, PRIVATE_FILE)
    return Support(output, len(data), hashlib.sha256(data).hexdigest(), archive.manifest())


def gather(state: StateDirectory, reporter: Reporter) -> Archive:
    """Gather all that there is."""
    archive = Archive(
        {
            "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "airbundle": airbundle.__version__,
            "stateDirectory": str(state.root),
        }
    )
    _host(archive, state)
    with archive.part("files.json"):
        add_files(archive, state)
    add_documents(archive, state)
    with archive.part("certificates.json"):
        add_certificates(archive, state)
    with archive.part("registries.json"):
        add_registries(archive, state)
    add_logs(archive, state)
    with archive.part("service.json"):
        _service(archive, state)
    with archive.part("the registry's container"):
        _container(archive, state)
    with reporter.phase("status"), archive.part("status.json"):
        _status(archive, state)
    # Last: sites may have much to say, and what comes after the most that there is room for is left out.
    add_sites(archive, state, reporter)
    return archive


def _host(archive: Archive, state: StateDirectory) -> None:
    with archive.part("versions.json"):
        archive.add_json("versions.json", "versions of airbundle, Python and the system", support_host.versions())
    with archive.part("programs.json"):
        archive.add_json("programs.json", "versions of other programs", support_host.programs())
    with archive.part("host.json"):
        archive.add_json("host.json", "time, load, memory, user, proxies", support_host.host())
    with archive.part("disks.json"):
        archive.add_json("disks.json", "how full file systems are", support_host.disks(state))
    with archive.part("ports.json"):
        archive.add_json("ports.json", "who listens at our ports", support_host.ports(state))


def _status(archive: Archive, state: StateDirectory) -> None:
    body = read_status(state).to_json()
    blobs = body.pop("blobs")
    sizes = {"blobCount": len(blobs), "blobBytes": sum(size for _, size in blobs)}
    archive.add_json("status.json", "what `status --json` says, blobs counted", {**body, **sizes})


def _service(archive: Archive, state: StateDirectory) -> None:
    service = Service.of(state)
    body = {
        "is": service.describe(),
        "exists": service.exists(),
        "running": service.running(),
        "notes": service.notes(),
    }
    archive.add_json("service.json", "what keeps the server running", body)
    if isinstance(service, Unit):  # a process has a log of its own
        archive.add_text("log/unit.log", "the end of what the unit said", _whole(service.log()))


def _container(archive: Archive, state: StateDirectory) -> None:
    if state.read().mode != CONTAINER:
        return
    from airbundle.installer.container import container_name
    from airbundle.transfer.containers import open_containers

    with open_containers() as engine:
        found = engine.find(container_name(state.root))
        if found is None:
            archive.fail("the registry's container", "is not there")
            return
        body = {
            "engine": engine.version,
            "name": found.name,
            "status": found.status,
            "restarts": found.restarts,
            "exitCode": found.exit_code,
            "error": found.error,
            "image": found.image,
            "started": found.started,
            "ports": list(found.ports),
        }
        archive.add_json("container.json", "the registry's container", body)
        lines = "\n".join(map(_whole_words, engine.log(found, _CONTAINER_LINES)))
        archive.add_text("log/container.log", "the end of what the container printed", lines)


def _whole(text: str) -> str:
    """Return what a unit said without its first line where that was cut: half a secret is one."""
    return text.partition("\n")[2] if len(text) >= _UNIT_LIMIT else text


def _whole_words(line: str) -> str:
    """Return a line without its last word where that was cut."""
    return f"{line.rpartition(' ')[0]} …" if line.endswith("…") else line
