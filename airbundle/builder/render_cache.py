"""Renders that were made before, so that a chart that has not changed is not rendered again.

One file for each render, `renders/<hex of the key>` in airbundle's cache: a line of JSON with the digest of the rest,
then the rest, packed. The first render stands, so random passwords in it do not change from scan to scan. **Rendered
Secrets lie there in the clear**: files are for this user alone (0600). What is damaged is rendered anew; what nothing
used for long goes when the cache is tidied (`store.tidy`).
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from airbundle import __version__
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import canonical_json
from airbundle.errors import Finding
from airbundle.store.host import private_directory, read_kept, write_atomically
from airbundle.store.tidy import RENDERS

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

ENTRY_LIMIT = 128 * 1024 * 1024
"""Most bytes of an entry, packed or not."""
_FORM = 3
"""Part of each key: another number whenever an entry holds something else."""
_HELM_FILE = "helm.json"
_LEAST_PROGRAM = 1 << 20


@dataclass(frozen=True)
class Rendered:
    """What rendering a chart gives, whoever asked for it.

    Attributes:
        chart, version, app_version: of the chart.
        output, defaults, values: see `Rendering`.
        findings: about the chart and its render, without a place.
    """

    chart: str
    version: str
    app_version: str
    output: bytes = field(repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    findings: tuple[Finding, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return all but the output as JSON can say it."""
        return {
            "chart": [self.chart, self.version, self.app_version],
            "defaults": self.defaults,
            "values": self.values,
            "findings": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def restored(cls, facts: Any, output: bytes) -> Rendered:
        """Return what `facts` was called on. Raises ValueError, KeyError or TypeError."""
        findings = tuple(Finding(**finding) for finding in facts["findings"])
        chart, version, app_version = facts["chart"]
        return cls(chart, version, app_version, output, facts["defaults"], facts["values"], findings)


def render_key(
    chart: str,
    values: Sequence[str],
    *,
    release: str,
    namespace: str,
    kubernetes: str,
    api_versions: Sequence[str],
    helm: str,
) -> str:
    """Return the digest of everything that a render depends on.

    Args:
        chart: digest of the chart's bytes.
        values: text of the values files, filled in, in order.
        release, namespace: of the release.
        kubernetes, api_versions: of the cluster.
        helm: its version.
    """
    texts = [sha256(text.encode()) for text in values]
    body = [_FORM, __version__, chart, texts, release, namespace, kubernetes, sorted(api_versions), helm]
    return sha256(canonical_json(body))


class RenderCache:
    """Renders on disk below the root of airbundle's cache; for many threads and processes at once.

    A cache that can't be written or read costs only time: nothing here raises for it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / RENDERS

    def read(self, key: str) -> Rendered | None:
        """Return a render, or None when it is not there or damaged."""
        return self.read_entry(key, Rendered.restored)

    def write(self, key: str, rendered: Rendered) -> None:
        """Keep a render."""
        self.write_entry(key, rendered.facts(), rendered.output)

    def read_entry(self, key: str, restore: Callable[[Any, bytes], _T]) -> _T | None:
        """Return what was kept under a key, or None when it is not there or damaged.

        Args:
            key: a digest of all that the entry depends on.
            restore: makes it of the two parts that `write_entry` was given; raises ValueError, KeyError or TypeError
                when they can't be one.
        """
        path = self._directory / hex_of(key)
        try:
            raw = read_kept(path, ENTRY_LIMIT + 1)
            os.utime(path)  # tidying goes by the time of the last use
        except OSError:
            return None
        try:
            return restore(*_unpack(raw))
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            _log.info("the cache's entry %s is damaged, and made anew: %s", path, error)
            return None

    def write_entry(self, key: str, facts: Any, data: bytes = b"") -> None:
        """Keep facts, which JSON can say, and bytes."""
        raw = _pack(facts, data)
        if len(raw) <= ENTRY_LIMIT:
            self._write(hex_of(key), raw)

    def of(self, program: Path) -> str:
        """Return the version of a helm, where its file is the one that was asked (see `Versions`)."""
        try:
            known = json.loads(read_kept(self._directory / _HELM_FILE, 4096))
            return str(known["version"]) if known["program"] == _identity(program) else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def keep(self, program: Path, version: str) -> None:
        """Remember the version of a helm. A small file is a script: it stays the same when what it starts does not."""
        try:
            if program.stat().st_size < _LEAST_PROGRAM:
                return
            body = {"program": _identity(program), "version": version}
        except OSError:
            return
        self._write(_HELM_FILE, json.dumps(body).encode())

    def _write(self, name: str, data: bytes) -> None:
        try:
            private_directory(self._root)
            private_directory(self._directory)
            write_atomically(self._directory / name, data, mode=0o600)
        except OSError as error:
            _log.info("a render is not kept: %s", error)


def _identity(program: Path) -> list[Any]:
    status = program.stat()
    return [os.path.realpath(program), status.st_size, status.st_mtime_ns]


def _pack(facts: Any, data: bytes) -> bytes:
    said = json.dumps(facts).encode()
    # Most of a render is indentation: the fastest level takes nine tenths away.
    packed = zlib.compress(said + data, 1)
    head = {"form": _FORM, "digest": sha256(packed), "facts": len(said), "size": len(said) + len(data)}
    return json.dumps(head).encode() + b"\n" + packed


def _unpack(raw: bytes) -> tuple[Any, bytes]:
    line, _, packed = raw.partition(b"\n")
    head = json.loads(line)
    if head["form"] != _FORM or head["digest"] != sha256(packed) or not 0 <= head["size"] <= ENTRY_LIMIT:
        raise ValueError("it is not what its first line says")
    data = zlib.decompressobj().decompress(packed, head["size"] + 1)
    if len(data) != head["size"]:
        raise ValueError("it has another size")
    return json.loads(data[: head["facts"]]), data[head["facts"] :]
