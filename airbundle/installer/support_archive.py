"""The support archive: what was gathered, what was left out and why, what failed. Whatever comes in is redacted.

A tar.gz of one directory. `MANIFEST.json`, its first file, lists the others.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.redaction import redact_text, redact_value
from airbundle.errors import AirbundleError, Interrupted
from airbundle.installer.files import PRIVATE_FILE

API_VERSION = "airbundle.dev/v1"
KIND = "Support"
VERSION = 1
DIRECTORY = "airbundle-support"
MANIFEST = "MANIFEST.json"

SIZE_LIMIT = 20 * 1024 * 1024
"""Most bytes of all files together, not compressed."""

_ODD = re.compile(r"[^A-Za-z0-9._+@=-]")
_MANIFEST_RESERVE = 1024 * 1024
_MOST_NOTES = 1000
_ERROR_LIMIT = 2000


@dataclass
class Archive:
    """What is gathered.

    Attributes:
        facts: what the manifest says besides, such as when it was made.
        contents: of each file its path, what it is, size in bytes, SHA-256, and whether it was cut.
        left_out: what isn't in it, and why.
        failed: what could not be gathered, and why.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    contents: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    _files: dict[str, bytes] = field(default_factory=dict)

    def add_json(self, path: str, what: str, value: object) -> None:
        """Add a JSON document, without its secrets."""
        text = json.dumps(redact_value(value), indent=1, sort_keys=True, ensure_ascii=False, default=str)
        self._add(path, what, text + "\n", cut=False)

    def add_text(self, path: str, what: str, text: str, *, cut: bool = False) -> None:
        """Add a text, without its secrets.

        Args:
            path: in the archive.
            what: it is, for people.
            text: whole lines.
            cut: whether there was more of it.
        """
        self._add(path, what, redact_text(text), cut=cut)

    def leave_out(self, what: str, why: str) -> None:
        """Tell what isn't in it."""
        if len(self.left_out) < _MOST_NOTES:
            self.left_out.append({"what": redact_text(what), "why": why})

    def fail(self, what: str, why: str) -> None:
        """Tell what could not be gathered."""
        if len(self.failed) < _MOST_NOTES:
            self.failed.append({"what": redact_text(what), "error": redact_text(why)[:_ERROR_LIMIT]})

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Let a part fail and the rest come all the same."""
        try:
            yield
        except Interrupted:
            raise
        except AirbundleError as error:
            self.fail(what, "; ".join([error.problem, *map(str, error.findings)]))
        except Exception as error:  # noqa: BLE001 - what is broken in ways that nobody thought of is why help is needed
            self.fail(what, f"{type(error).__name__}: {error}")

    def manifest(self) -> dict[str, Any]:
        """Return what MANIFEST.json says."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "version": VERSION,
            **self.facts,
            "contents": sorted(self.contents, key=lambda each: str(each["path"])),
            "leftOut": self.left_out,
            "failed": self.failed,
        }

    def to_bytes(self) -> bytes:
        """Return the tar.gz; equal contents give equal bytes."""
        manifest = (json.dumps(self.manifest(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for path, data in [(MANIFEST, manifest), *sorted(self._files.items())]:
                    info = tarfile.TarInfo(f"{DIRECTORY}/{path}")
                    info.size, info.mode = len(data), PRIVATE_FILE
                    tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    def _add(self, path: str, what: str, text: str, *, cut: bool) -> None:
        data = text.encode("utf-8", "backslashreplace")
        left = SIZE_LIMIT - _MANIFEST_RESERVE - sum(map(len, self._files.values()))
        if len(data) > left:
            self.leave_out(path, f"its {len(data)} bytes would make the archive larger than {SIZE_LIMIT} bytes")
            return
        path = self._member(path)
        self._files[path] = data
        entry = {"path": path, "what": what, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self.contents.append({**entry, "cut": True} if cut else entry)

    def _member(self, path: str) -> str:
        """Return a path for the archive: what a cluster names leads nowhere else, and none comes twice."""
        parts = [_ODD.sub("_", part) for part in path.split("/")]
        safe = "/".join("_" if not part.strip(".") else part for part in parts)
        stem, dot, suffix = safe.rpartition(".") if "." in safe.rpartition("/")[2] else (safe, "", "")
        same = (safe, *(f"{stem}~{number}{dot}{suffix}" for number in range(2, len(self._files) + 3)))
        return next(each for each in same if each not in self._files)
