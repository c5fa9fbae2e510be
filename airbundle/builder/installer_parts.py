"""The wheels that the zip application carries: pinned by name and digest, fetched by pip into the cache.

The pins are part of airbundle's source (`installer_parts.json`, written by `scripts/pin-installer-parts`), so equal
versions of airbundle carry equal installers. pip does the fetching: it knows this host's index, proxies and trust.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from airbundle.bundle.digest import hex_of
from airbundle.bundle.lock import InstallerPart
from airbundle.errors import MissingContent
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache

PINS = "installer_parts.json"
_TIMEOUT_SECONDS = 600


def pinned_parts() -> tuple[InstallerPart, ...]:
    """Return the wheels of this version of airbundle, by file name."""
    return tuple(InstallerPart(pin["name"], f"sha256:{pin['sha256']}", pin["size"]) for pin in _pins())


def ensure_parts(parts: Iterable[InstallerPart], cache: Cache, *, reporter: Reporter = SILENT) -> None:
    """Bring every part into the cache; ask pip only for those that are not there.

    Raises:
        MissingContent: pip can't get one, or this version of airbundle has no pin for it.
    """
    missing = {part.name: part for part in parts if not cache.has(part.digest)}
    if not missing:
        return
    reporter.event(f"installer: fetching {len(missing)} wheels with pip")
    pins = {pin["name"]: pin for pin in _pins()}
    unknown = [name for name, part in missing.items() if pins.get(name, {}).get("sha256") != hex_of(part.digest)]
    if unknown:
        raise MissingContent(
            f"the lock pins installer parts that this airbundle does not know: {', '.join(unknown)}",
            hint="run `airbundle lock`, or build with the version of airbundle that made the lock",
        )
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for name in missing:
        groups.setdefault(tuple(pins[name]["tags"]), []).append(pins[name])
    for tags, group in groups.items():
        _fetch(tags, group, cache)


def _pins() -> list[dict[str, Any]]:
    pins: list[dict[str, Any]] = json.loads((files("airbundle.builder") / PINS).read_text())
    return pins


def _fetch(tags: tuple[str, ...], pins: list[dict[str, Any]], cache: Cache) -> None:
    """Fetch wheels of one kind: `tags` are implementation, abi, platform and Python version, as pip has them."""
    implementation, abi, platform, python = tags
    with tempfile.TemporaryDirectory(prefix="airbundle-pip-") as name:
        directory = Path(name)
        requirements = directory / "requirements.txt"
        lines = [f"{pin['project']}=={pin['version']} --hash=sha256:{pin['sha256']}\n" for pin in pins]
        requirements.write_text("".join(lines))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", name]
        command += ["--implementation", implementation, "--abi", abi, "--platform", platform]
        command += ["--python-version", python, "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
        if done.returncode:
            wanted = ", ".join(pin["name"] for pin in pins)
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise MissingContent(
                f"the installer's wheels can't be fetched with pip: {wanted}: {reason}",
                hint="check `pip config list` and the network, or build with --no-installer",
            )
        for pin in pins:
            cache.add_file(directory / pin["name"], "application/zip", expected=f"sha256:{pin['sha256']}")
