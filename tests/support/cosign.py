"""The real cosign. Building it takes minutes, so it is cached per machine and the tests say aloud when it is missing.

`AIRBUNDLE_TEST_COSIGN` names a binary, or is `build`: then scripts/test builds cosign 2 with Go into the cache. Without
it the cached binaries (`cosign`, `cosign-v3` in `bin` of `cache_root()`) are used when they are there.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.corpus import cache_root

BIN = cache_root() / "bin"
VARIABLE = "AIRBUNDLE_TEST_COSIGN"
MISSING = f"no cosign in {BIN}; {VARIABLE}=build scripts/test builds it (minutes), {VARIABLE}=PATH names one"


def cosigns() -> list[Path]:
    """Return the cosign binaries to test with; empty when there are none and none is asked for."""
    named = os.environ.get(VARIABLE)
    if named:
        return [Path(named)]
    return [path for path in (BIN / "cosign", BIN / "cosign-v3") if path.exists()]
