"""How an inventory is scanned, and by which code: light, for those who need not scan at all."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from airbundle import __version__
from airbundle.bundle.digest import sha256
from airbundle.bundle.statement import MOST_PATTERNS, TEXT_LIMIT
from airbundle.errors import UsageError

OWN_KNOWLEDGE = "operators.yaml"
"""What airbundle knows of operators, beside this file."""
_PATTERN = re.compile(r"(?:[A-Za-z0-9._/:@*?\]-]|\[!?\]?[^\]]*\])+")


@dataclass(frozen=True)
class ScanOptions:
    """How an inventory is scanned.

    Attributes:
        sites: site files; each gives one more render of everything.
        charts_from: a directory of NAME-VERSION.tgz in the place of all repositories.
        keep_renders: read and write the cache of renders.
        upstream: ask registries whether locked tags have moved.
        max_age: of the lock; what is locked longer ago is stale. None: any age will do.
        allowed: patterns of images that may be missing.
        rules: run the rules on values, placeholders and the rest, too.
    """

    sites: tuple[Path, ...] = ()
    charts_from: Path | None = None
    keep_renders: bool = True
    upstream: bool = False
    max_age: timedelta | None = None
    allowed: tuple[str, ...] = ()
    rules: bool = True

    def __post_init__(self) -> None:
        """Refuse a directory of charts that isn't there, and patterns that no image can have: nothing else would tell.

        Raises:
            UsageError: there is one.
        """
        if self.charts_from is not None and not self.charts_from.is_dir():
            raise UsageError(
                f"--charts {self.charts_from}: there is no such directory", hint="name one that holds .tgz"
            )
        if len(set(self.allowed)) > MOST_PATTERNS:
            found = f"--allow-missing: {len(set(self.allowed))} patterns; a bundle can name {MOST_PATTERNS}"
            raise UsageError(found, hint="let one pattern, such as 'docker.io/library/*', stand for several")
        for pattern in self.allowed:
            if len(pattern) > TEXT_LIMIT:
                raise UsageError(f"--allow-missing: a pattern of {len(pattern)} characters; {TEXT_LIMIT} are allowed")
            if not _PATTERN.fullmatch(pattern) or not pattern.isprintable():
                raise UsageError(
                    f"--allow-missing {pattern!r}: a pattern which no image can have",
                    hint="write for example 'docker.io/library/busybox:*'; '[' begins a set such as [0-9]",
                )

    def mending(self, inventory: str) -> str:
        """Return the command that adds what such a scan of `inventory` found missing: a site's images, too."""
        words = ["airbundle", "scan", inventory]
        for site in self.sites:
            words += ["--site", str(site)]
        if self.charts_from is not None:
            words += ["--charts", str(self.charts_from)]
        return shlex.join([*words, "--write"])


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the digest of the version and of all that finds images: what another airbundle found is not believed."""
    sources = sorted((file.name, file) for file in files("airbundle.scan").iterdir() if file.name.endswith(".py"))
    read = [file.read_bytes() for _, file in sources]
    return sha256(b"\0".join([__version__.encode(), *read, (files("airbundle.builder") / OWN_KNOWLEDGE).read_bytes()]))
