"""Limits and times of everything that talks HTTP. Seconds and bytes; the defaults suit flaky proxies and long lines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from airbundle import __version__
from airbundle.errors import UsageError

RETRY_VARIABLE = "AIRBUNDLE_RETRY_SECONDS"


@dataclass(frozen=True)
class HttpSettings:
    """How patient the client is, and how much it takes.

    Attributes:
        connect_timeout: seconds for one connection to come up, TLS included.
        stall_timeout: seconds in which at least `stall_bytes` must move, or the connection counts as dead.
        retry_time: seconds that a host, or one operation, may keep failing before it is given up. A budget and not
            a count: one success of the host, or one byte of progress of the operation, fills it again.
        first_contact_time: the same for a host that has never answered in this run: a typing error is told soon.
        mirror_time: the same for connections to a mirror that has others behind it.
        backoff_base, backoff_limit: the n-th wait is a random time up to `min(limit, base * 2**n)` (full jitter).
        body_limit: largest body of control traffic in bytes.
        idle_time: seconds after which an unused connection is not used again.
    """

    connect_timeout: float = 20.0
    stall_timeout: float = 60.0
    stall_bytes: int = 64 * 1024
    retry_time: float = 180.0
    first_contact_time: float = 15.0
    mirror_time: float = 3.0
    backoff_base: float = 0.5
    backoff_limit: float = 20.0
    body_limit: int = 16 * 1024 * 1024
    idle_time: float = 30.0
    user_agent: str = f"airbundle/{__version__}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> HttpSettings:
        """Return the defaults with `AIRBUNDLE_RETRY_SECONDS` applied.

        Raises:
            UsageError: the variable is no number of seconds.
        """
        text = (os.environ if environ is None else environ).get(RETRY_VARIABLE, "")
        if not text:
            return cls()
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e6:
            raise UsageError(f"{RETRY_VARIABLE}: found {text!r}, expected seconds, such as 180")
        defaults = cls()
        return replace(defaults, retry_time=seconds, first_contact_time=min(seconds, defaults.first_contact_time))
