"""Root file systems and image layers from Debian packages: mmdebstrap for bases, apt and dpkg-deb for the rest.

apt runs with a state of its own, so that any architecture can be resolved and the host's apt is not touched.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

from airbundle.bundle.oci import OCI_LAYER, Descriptor
from tests.support.images import DOCKER_LAYER_GZIP, Blob, Family
from tests.support.process import program

Compressor = Literal["gzip", "zstd"]

COMPRESSORS: dict[Compressor, list[str]] = {"gzip": ["gzip", "-n", "-4"], "zstd": ["zstd", "-q", "-3"]}

# Debian's /bin, /lib, … are links into /usr in the base; a layer must not put directories in their place.
_MERGED = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32"})


def host_architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


class Apt:
    """apt for one architecture with its own lists, status and archives.

    Args:
        directory: for its state.
        pool: where downloaded `.deb` files go; may be shared.
        architecture: Debian's name, such as `arm64`.
    """

    def __init__(self, directory: Path, pool: Path, architecture: str) -> None:
        self.directory = directory
        self.pool = pool
        self.architecture = architecture
        self.status = directory / "status"
        for path in (directory / "lists" / "partial", directory / "cache", pool / "partial"):
            path.mkdir(parents=True, exist_ok=True)
        self.status.touch()
        self.sources = _copy_sources(directory / "sources", architecture)
        self._config = directory / "apt.conf"
        self._config.write_text(
            f'Dir::State "{directory}"; Dir::State::lists "{directory}/lists"; Dir::State::status "{self.status}";\n'
            f'Dir::Cache "{directory}/cache"; Dir::Cache::archives "{pool}";\n'
            f'Dir::Etc::SourceList "/dev/null"; Dir::Etc::SourceParts "{self.sources.parent}";\n'
            f'APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};\n'
            'APT::Install-Recommends "false"; Debug::NoLocking "true"; Acquire::Languages "none";\n'
            'APT::Sandbox::User "root";\n'
        )

    def update(self) -> None:
        """Fetch the package lists."""
        self._run("update")

    def fetch(self, packages: Sequence[str]) -> list[Path]:
        """Download `packages` and what they need beyond `status`; return the files, sorted by name.

        Raises:
            RuntimeError: apt refused; with what it said.
        """
        listed = self._run("install", "--print-uris", *packages)
        names = [line.split()[1] for line in listed.splitlines() if line.startswith("'")]
        self._run("install", "--yes", "--download-only", *packages)
        return sorted(self.pool / name for name in names)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["apt-get", "-qq", *arguments],
            env={"APT_CONFIG": str(self._config), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"apt-get {' '.join(arguments)} ({self.architecture}): {done.stderr}{done.stdout}")
        return done.stdout


def release() -> dict[str, str]:
    """Return the fields of /etc/os-release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _copy_sources(directory: Path, architecture: str) -> Path:
    """Copy the distribution's own apt sources, without third parties'."""
    etc = Path("/etc/apt")
    own = [etc / "sources.list.d" / f"{release()['ID']}.sources", etc / "sources.list"]
    source = next(path for path in own if path.exists())
    text = source.read_text()
    if release()["ID"] == "ubuntu" and architecture != "amd64":
        for host in ("archive.ubuntu.com/ubuntu", "security.ubuntu.com/ubuntu"):
            text = text.replace(host, "ports.ubuntu.com/ubuntu-ports")
    directory.mkdir(exist_ok=True)
    copy = directory / ("own.sources" if source.suffix == ".sources" else "own.list")
    copy.write_text(text)
    return copy


def bootstrap(apt: Apt, target: Path) -> None:
    """Make a base root file system as a tar: minbase for this machine, merely unpacked for a foreign architecture."""
    variant = ["--variant=minbase"]
    if apt.architecture != host_architecture():
        variant = ["--variant=extract", "--include=?essential"]
    command = [
        *(program("mmdebstrap", "mmdebstrap"), *variant, f"--architectures={apt.architecture}"),
        *("--skip=output/dev", "--dpkgopt=path-exclude=/usr/share/man/*", "--quiet"),
        *(release()["VERSION_CODENAME"], str(target), str(apt.sources)),
    ]
    subprocess.run(command, check=True, capture_output=True)


def status_in(base: Path, architecture: str) -> str:
    """Return the dpkg status of a base, as if it were of `architecture`: what layers need not bring again."""
    with tarfile.open(base) as tar:
        file = tar.extractfile("./var/lib/dpkg/status")
        assert file is not None
        text = file.read().decode()
    return text.replace(f"\nArchitecture: {host_architecture()}\n", f"\nArchitecture: {architecture}\n")


class _Digesting:
    """A file object that hashes what passes."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._inner.write(data)


@contextmanager
def _compressing(target: Path, compressor: Compressor) -> Iterator[_Digesting]:
    with target.open("wb") as output:
        process = subprocess.Popen(COMPRESSORS[compressor], stdin=subprocess.PIPE, stdout=output)
        assert process.stdin is not None
        with process.stdin as pipe:
            yield _Digesting(pipe)
        if process.wait() != 0:
            raise RuntimeError(f"{compressor} failed")


def _described(path: Path, diff_id: str, compressor: Compressor, family: Family) -> Blob:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    media_type = DOCKER_LAYER_GZIP if family == "docker" else f"{OCI_LAYER}+{compressor}"
    return Blob(Descriptor(media_type, "sha256:" + digest.hexdigest(), path.stat().st_size), None, diff_id)


def tar_layer(source: Path, target: Path, *, compressor: Compressor = "gzip", family: Family = "oci") -> Blob:
    """Compress a tar file to `target`; return the layer, its bytes left in the file."""
    with source.open("rb") as file, _compressing(target, compressor) as output:
        while chunk := file.read(1 << 20):
            output.write(chunk)
    return _described(target, "sha256:" + output.hash.hexdigest(), compressor, family)


def package_layer(
    packages: Iterable[Path], target: Path, *, compressor: Compressor = "gzip", family: Family = "oci"
) -> Blob:
    """Make a layer of the files of `.deb` packages; return it, its bytes left in `target`."""
    seen: set[str] = set()
    with _compressing(target, compressor) as output:
        stream = cast("IO[bytes]", output)
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as layer:
            for package in packages:
                _add_package(layer, package, seen)
    return _described(target, "sha256:" + output.hash.hexdigest(), compressor, family)


def _add_package(layer: tarfile.TarFile, package: Path, seen: set[str]) -> None:
    unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    assert unpacked.stdout is not None
    with unpacked.stdout as pipe, tarfile.open(fileobj=pipe, mode="r|") as content:
        for member in content:
            member.name = _merged(member.name)
            if member.islnk():
                member.linkname = _merged(member.linkname)
            if member.name in seen or member.name in _MERGED | {"", "."}:
                continue
            seen.add(member.name)
            layer.addfile(member, content.extractfile(member) if member.isreg() else None)
    if unpacked.wait() != 0:
        raise RuntimeError(f"dpkg-deb failed on {package}")


def _merged(name: str) -> str:
    name = name.lstrip("./")
    first, slash, rest = name.partition("/")
    return f"usr/{first}/{rest}" if slash and first in _MERGED else name


def files_layer(files: Iterable[Path], directory: str, target: Path, *, compressor: Compressor = "gzip") -> Blob:
    """Make a layer of whole files below `directory`; return it, its bytes left in `target`."""
    with _compressing(target, compressor) as output:
        stream = cast("IO[bytes]", output)
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as layer:
            for file in files:
                info = tarfile.TarInfo(f"{directory}/{file.name}")
                info.size = file.stat().st_size
                with file.open("rb") as content:
                    layer.addfile(info, content)
    return _described(target, "sha256:" + output.hash.hexdigest(), compressor, "oci")
