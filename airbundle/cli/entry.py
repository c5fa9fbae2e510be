"""Where `airbundle` begins. Until the command line is loaded, Ctrl-C ends the process without a traceback."""

from __future__ import annotations

import gc
import signal

_GARBAGE = 200_000, 50, 100
"""Objects that may be made between two looks for cycles: a bundle of 100,000 blobs is a million objects, all of them
in use; looking at them again and again takes longer than making them."""


def main() -> int:
    """Load the command line and run it."""
    gc.set_threshold(*_GARBAGE)
    # Who ignores it, as nohup does, has a reason; `airbundle.cli.main` puts Python's own handler back.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from airbundle.cli.main import main as run

    return run()
