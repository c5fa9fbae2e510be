"""The real registry:3. Building it takes minutes, so it is cached per machine, as cosign is.

`AIRBUNDLE_TEST_REGISTRY3` names a binary, or is `build`: then scripts/test builds it into the cache. Without it the
cached binary (`registry-v3` in `bin` of `cache_root()`) is used when it is there.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from tests.support import images
from tests.support.cosign import BIN
from tests.support.images import Artifact

VARIABLE = "AIRBUNDLE_TEST_REGISTRY3"
MISSING = f"no registry:3 in {BIN}; {VARIABLE}=build scripts/test builds it (minutes), {VARIABLE}=PATH names one"

_ENTRY = ["/bin/registry"]
_COMMAND = ["serve", "/etc/distribution/config.yml"]


def registry3() -> Path | None:
    """Return the program; None when there is none and none is asked for."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    cached = BIN / "registry-v3"
    return cached if cached.exists() else None


@lru_cache(maxsize=1)
def registry3_image(path: Path) -> Artifact:
    """Return a runnable image of registry:3."""
    config = b'{"version": "0.1", "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}}}'
    files = {"bin/registry": path.read_bytes(), "etc/distribution/config.yml": config}
    volumes: dict[str, dict[str, str]] = {"/var/lib/registry": {}}
    layer = images.layer(files, level=1)
    return images.image([layer], Volumes=volumes, ExposedPorts={"5000/tcp": {}}, Entrypoint=_ENTRY, Cmd=_COMMAND)
