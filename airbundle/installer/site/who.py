"""Who runs an install, from where: it stands in the record of each deployment."""

from __future__ import annotations

import getpass
import os
from typing import Any

from airbundle.installer.verify import Trusted


def who_runs(trusted: Trusted) -> dict[str, Any]:
    """Return user, host and the ids of the keys that signed the bundle."""
    return {
        "user": os.environ.get("SUDO_USER") or _user(),
        "host": os.uname().nodename,
        "keys": sorted({key_id for key_id, _ in trusted.bundle.signatures}),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return str(os.geteuid())
