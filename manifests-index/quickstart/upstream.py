#!/usr/bin/env python3
"""The quickstart's upstream: a real registry on loopback with the images and a chart.

upstream.py start DIR    make images, start docker-registry, push; writes registries.yaml and upstream.host in DIR
upstream.py stop DIR     stop it
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMAGES = ("web:1.0", "tools/helm:3", "tools/ruff:latest")
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{data}"}}}}
http: {{addr: "{address}"}}
"""
MIRRORS = """\
# Where quickstart.airbundle.dev is: a registry on this machine, over plain HTTP because this file says so.
mirrors:
  quickstart.airbundle.dev:
    endpoint: ["http://{address}"]
    default_endpoint: false   # nothing is asked on the internet
"""


def free_address() -> str:
    """Return a loopback address with a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the registry answers."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://{address}/v2/", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                break
            time.sleep(0.1)
    raise SystemExit(f"docker-registry does not answer on {address}")


def start(directory: Path) -> None:
    """Make the images where they are not made yet, start the registry and fill it."""
    stop(directory)
    if not (directory / "images" / "layout" / "index.json").exists():
        made = subprocess.run([sys.executable, HERE / "make_images.py", directory / "images"], check=False)
        if made.returncode != 0:
            raise SystemExit(made.returncode)  # it has said why
    address = free_address()
    config = directory / "registry.yml"
    config.write_text(CONFIG.format(data=directory / "upstream", address=address))
    with (directory / "registry.log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log, start_new_session=True)
    (directory / "registry.pid").write_text(str(server.pid))
    wait_for(address, server)
    layout = directory / "images" / "layout"
    for image in IMAGES:
        target = f"docker://{address}/{image}"
        subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:{image}", target], check=True)
    push_chart(directory, address)
    (directory / "registries.yaml").write_text(MIRRORS.format(address=address))
    (directory / "upstream.host").write_text(address)
    print(f"{len(IMAGES)} images and a chart at {address}")


def push_chart(directory: Path, address: str) -> None:
    """Package and push the chart `notes`, once: helm packages differ from run to run."""
    helm = Path(sys.executable).with_name("helm")
    package = directory / "images" / "notes-1.2.3.tgz"
    if not package.exists():
        subprocess.run([helm, "package", HERE / "charts" / "notes", "-d", package.parent], check=True)
    if (directory / "upstream/docker/registry/v2/repositories/charts/notes").exists():
        return
    subprocess.run([helm, "push", package, f"oci://{address}/charts", "--plain-http"], check=True, capture_output=True)


def stop(directory: Path) -> None:
    """Stop the registry that `start` started, if it still runs."""
    file = directory / "registry.pid"
    if not file.exists():
        return
    pid = int(file.read_text())
    file.unlink()
    try:
        if b"docker-registry" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        pass


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]](Path(sys.argv[2]).resolve())
