"""Facts of this host for a support archive: versions, memory, disks, ports. Read only; no network is asked."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import airbundle
from airbundle.bundle.serving import CONFIG_LIMIT, parse_config
from airbundle.installer.embedded import CONFIG
from airbundle.installer.files import existing_parent, read_file
from airbundle.installer.kept import kept_options
from airbundle.installer.options import CONTAINER
from airbundle.installer.program import running_archive
from airbundle.installer.service import BOOTED
from airbundle.installer.state import StateDirectory
from airbundle.transfer.listeners import who_listens
from airbundle.transfer.programs import run_program

_PROGRAMS = {
    "helm": ("version", "--short"),
    "docker": ("--version",),
    "podman": ("--version",),
    "kubectl": ("version", "--client"),
    "openssl": ("version",),
}
_PROGRAM_SECONDS = 10.0
_PROGRAM_OUTPUT = 64 * 1024
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_OS_FIELDS = frozenset({"ID", "ID_LIKE", "NAME", "PRETTY_NAME", "VERSION", "VERSION_ID", "VERSION_CODENAME"})
_MEMORY = frozenset({"MemTotal", "MemAvailable", "SwapTotal", "SwapFree"})
_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy"),
    *("DOCKER_HOST", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "KUBECONFIG", "LANG", "LC_ALL", "TZ"),
    *("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "PATH"),
)
_SMALL = 64 * 1024


def versions() -> dict[str, Any]:
    """Return which airbundle runs on what."""
    archive = running_archive()
    return {
        "airbundle": airbundle.__version__,
        "archive": str(archive) if archive else "",
        "python": sys.version,
        "executable": sys.executable,
        "libc": " ".join(platform.libc_ver()),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "os": dict(_os_release()),
    }


def programs() -> dict[str, str]:
    """Return what programs of others say of their version; those that are not there are left out."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    found = {}
    for name, arguments in _PROGRAMS.items():
        path = shutil.which(name)
        if path:
            found[name] = _said([path, *arguments], environment)
    return found


def host() -> dict[str, Any]:
    """Return how the host is: time, load, memory, who runs this."""
    return {
        "name": platform.node(),
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "uptimeSeconds": float(_read("/proc/uptime").split()[0]),
        "cpus": os.cpu_count(),
        "load": list(os.getloadavg()),
        "memoryKiB": dict(_memory()),
        "user": {"uid": os.geteuid(), "gid": os.getegid(), "groups": sorted(os.getgroups())},
        "umask": _umask(),
        "systemd": BOOTED.is_dir(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def disks(state: StateDirectory) -> list[dict[str, Any]]:
    """Return how full the file systems are that matter."""
    found = []
    for path in dict.fromkeys([state.root, state.bundles, Path("/"), Path(tempfile.gettempdir())]):
        place = existing_parent(path)
        figures, kind = os.statvfs(place), _file_system(place)
        found.append(
            {
                "path": str(path),
                "device": place.stat().st_dev,
                "mount": kind,
                "bytes": figures.f_blocks * figures.f_frsize,
                "free": figures.f_bavail * figures.f_frsize,
                "inodes": figures.f_files,
                "inodesFree": figures.f_favail,
                "readOnly": bool(figures.f_flag & os.ST_RDONLY),
            }
        )
    return found


def ports(state: StateDirectory) -> list[dict[str, Any]]:
    """Return who listens at the ports that are ours, as far as this user may know."""
    options = kept_options(state)
    raw = read_file(state.path("server", CONFIG), limit=CONFIG_LIMIT)
    wanted = {"server": parse_config(raw, where=CONFIG).port if raw else options.port}
    if options.mode == CONTAINER:
        wanted["container"] = options.container_port
    return [{"of": name, "port": port, "listens": who_listens(port)} for name, port in wanted.items()]


def _said(command: list[str], environment: Mapping[str, str]) -> str:
    done = run_program(
        command,
        what=f"the version of {command[0]}",
        env=environment,
        timeout=_PROGRAM_SECONDS,
        output_limit=_PROGRAM_OUTPUT,
    )
    return f"{command[0]}: {(done.output.decode('utf-8', 'replace') or done.complaint).strip() or done.ending}"


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read(_SMALL)


def _os_release() -> Iterator[tuple[str, str]]:
    path = next((path for path in _OS_RELEASE if Path(path).is_file()), None)
    for line in _read(path).splitlines() if path else ():
        name, _, value = line.partition("=")
        if name in _OS_FIELDS:
            yield name, value.strip("\"'")


def _memory() -> Iterator[tuple[str, int]]:
    for line in _read("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name in _MEMORY:
            yield name, int(value.split()[0])


def _umask() -> str:
    lines = [line for line in _read("/proc/self/status").splitlines() if line.startswith("Umask:")]
    return lines[0].partition(":")[2].strip() if lines else ""


def _file_system(path: Path) -> str:
    """Return mount point, kind and options of the file system that a path is on (proc_pid_mountinfo(5))."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) > 6 and words[2] == wanted and path.is_relative_to(words[4]):
            kind = words[words.index("-") + 1] if "-" in words else ""
            found = f"{words[4]} {kind} {words[5]}"
    return found
