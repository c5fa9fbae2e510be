"""Where `airbundle` begins. Until the command line is loaded, Ctrl-C ends the process without a traceback."""

from __future__ import annotations

import signal


def main() -> int:
    """Load the command line and run it."""
    # Who ignores it, as nohup does, has a reason; `airbundle.cli.main` puts Python's own handler back.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from airbundle.cli.main import main as run

    return run()
