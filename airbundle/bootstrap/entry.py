# Becomes __main__.py of the zip application. It must parse and run on Python 3.6, which is what RHEL 8 has:
# there it looks for a newer Python on the host, and otherwise says what to install.
"""Entry of the zip application."""

import os
import signal
import sys
from typing import Iterator

NEEDED = (3, 9, 2)
NEWEST = 30
MARK = "AIRBUNDLE_REEXEC"
PLACES = ("/usr/bin", "/usr/local/bin", "/opt/rh/rh-python39/root/usr/bin", "/snap/bin", "/usr/libexec")


def newer_pythons() -> Iterator[str]:
    """Yield Pythons on this host, newest first."""
    places = os.environ.get("PATH", "").split(os.pathsep) + list(PLACES)
    for minor in range(NEWEST, NEEDED[1] - 1, -1):
        for place in places:
            path = os.path.join(place, "python3.%d" % minor)
            if os.path.isabs(path) and os.access(path, os.X_OK):
                yield path


def is_new_enough(python: str) -> bool:
    """Tell whether `python` runs and is new enough (pyenv's shims exist without a Python behind them)."""
    import subprocess

    code = "import sys; sys.exit(sys.version_info < %r)" % (NEEDED,)
    with open(os.devnull, "w") as nothing:
        return subprocess.call([python, "-c", code], stdout=nothing, stderr=nothing) == 0


def run_on_newer_python() -> int:
    """Go on under a newer Python, or end with the next step."""
    found = "%d.%d.%d" % sys.version_info[:3]
    if not os.environ.get(MARK):
        os.environ[MARK] = "1"
        for python in newer_pythons():
            if is_new_enough(python):
                os.execv(python, [python, *sys.argv])
    sys.stderr.write(
        "airbundle: this host's Python is %s; 3.9.2 or newer is needed, and none was found\n"
        "  next: install one from the distribution's own media, for example\n"
        "        RHEL 8: dnf install python3.11    Debian, Ubuntu: apt install python3\n"
        "        or run this file with it: /path/to/python3.11 %s\n" % (found, sys.argv[0])
    )
    return 7


def main() -> int:
    """Run airbundle from the zip."""
    if sys.version_info < NEEDED:
        return run_on_newer_python()
    os.environ.pop(MARK, None)
    # Until the command line is loaded, Ctrl-C ends the process without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from airbundle.bootstrap.native import install_finder
    from airbundle.cli.main import main as run

    install_finder()
    return run()


if __name__ == "__main__":
    sys.exit(main())
