"""The real cosign. Building it takes minutes, so it is cached per machine and the tests say aloud when it is missing.

`AIRBUNDLE_TEST_COSIGN` names a binary, or is `build`: then cosign 2 is built with Go into the cache. Without it the
cached binaries (`cosign`, `cosign-v3` in `bin` of `cache_root()`) are used when they are there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.corpus import cache_root
from tests.support.process import program

BIN = cache_root() / "bin"
VARIABLE = "AIRBUNDLE_TEST_COSIGN"
MISSING = f"no cosign in {BIN}; {VARIABLE}=build builds it (minutes), {VARIABLE}=PATH names one"
_MODULE = "github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5"


def cosigns() -> list[Path]:
    """Return the cosign binaries to test with; empty when there are none and none is asked for."""
    asked = os.environ.get(VARIABLE, "")
    if asked == "build":
        _build()
    elif asked:
        return [Path(asked)]
    return [path for path in (BIN / "cosign", BIN / "cosign-v3") if path.exists()]


def _build() -> None:
    if (BIN / "cosign").exists():
        return
    BIN.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(BIN), "GOFLAGS": "-mod=mod"}
    subprocess.run([_go(), "install", _MODULE], env=environment, check=True)


def _go() -> str:
    local = Path("/usr/local/go/bin/go")
    return str(local) if local.exists() else program("go", "golang-go")
