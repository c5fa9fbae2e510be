"""The parts of the zip application: airbundle itself, and wheels that pip fetches into the cache.

The wheels' pins are part of the source (`installer_parts.json`, written by `scripts/pin-installer-parts`), so equal
versions of airbundle carry equal installers. pip does the fetching: it knows this host's index, proxies and trust.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle import __version__
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.lock import InstallerPart
from airbundle.errors import MissingContent, NotFound, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache

if TYPE_CHECKING:
    from importlib.abc import Traversable

PINS = "installer_parts.json"
WHEEL = ".whl"
PART_LIMIT = 64 * 1024 * 1024
"""Largest part in bytes."""
_TIMEOUT_SECONDS = 600


def pinned_parts() -> tuple[InstallerPart, ...]:
    """Return what an installer made by this airbundle is made of: airbundle itself, then the wheels by file name."""
    wheels = (InstallerPart(pin["name"], f"sha256:{pin['sha256']}", pin["size"]) for pin in _pins())
    return (own_part(), *wheels)


def own_part() -> InstallerPart:
    """Return airbundle's own sources as a part; the digest is that of a list of paths and digests."""
    sources = own_sources()
    listing = "".join(f"{name}\0{sha256(data)}\n" for name, data in sorted(sources.items()))
    return InstallerPart(f"airbundle-{__version__}", sha256(listing.encode()), sum(map(len, sources.values())))


def own_sources() -> dict[str, bytes]:
    """Return the files of the running airbundle by their path in the zip, without what Python has compiled."""
    return dict(_walk(files("airbundle"), "airbundle"))


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in directory.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, f"{prefix}/{entry.name}")
        elif not entry.name.endswith((".pyc", ".swp", "~")):
            yield f"{prefix}/{entry.name}", entry.read_bytes()


def check_own_part(parts: Iterable[InstallerPart]) -> None:
    """Check that the part that is no wheel is this airbundle. Raises MissingContent."""
    if any(part != own_part() for part in parts if not part.name.endswith(WHEEL)):
        raise MissingContent(
            f"the lock pins another airbundle for the installer than this one, {__version__}",
            hint="run `airbundle lock`, which pins this one",
        )


def has_parts(parts: Iterable[InstallerPart], cache: Cache) -> bool:
    """Tell whether every wheel is in the cache."""
    return all(_is_good(part, cache) for part in parts if part.name.endswith(WHEEL))


def ensure_parts(parts: Iterable[InstallerPart], cache: Cache, *, reporter: Reporter = SILENT) -> None:
    """Bring every part into the cache; ask pip only for those that are not there.

    Raises:
        MissingContent: pip can't get one, or this airbundle is not the one that made the lock.
    """
    parts = tuple(parts)
    wheels = [part for part in parts if part.name.endswith(WHEEL)]
    check_own_part(parts)
    missing = {part.name: part for part in wheels if not _is_good(part, cache)}
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


def _is_good(part: InstallerPart, cache: Cache) -> bool:
    """Tell whether the cache has a part; what isn't what its name says, the cache drops as it reads it."""
    if cache.verified(part.digest):
        return True
    try:
        cache.read(part.digest, PART_LIMIT)
    except (NotFound, VerificationError):
        return False
    return True


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
        reason = _failure(command)
        if reason:
            wanted = ", ".join(pin["name"] for pin in pins)
            raise MissingContent(
                f"the installer's wheels can't be fetched with pip: {wanted}: {reason}",
                hint="check `pip config list` and the network, or build with --no-installer",
            )
        for pin in pins:
            cache.add_file(directory / pin["name"], "application/zip", expected=f"sha256:{pin['sha256']}")


def _failure(command: Sequence[str]) -> str:
    """Run a command, and return why it failed; empty when it didn't."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {_TIMEOUT_SECONDS} seconds"
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else ""
