"""Whose errand pods are, and taking away those that killed runs left.

The labels of what a run makes in a cluster name its owner (this host, its state directory, the site) and its process.
So a run knows what earlier ones of the same owner left, also where they were killed before there was a journal; what
others made stays, and what a run still needs that is under way here, such as a `status` beside an `install`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import AirbundleError
from airbundle.installer.journal import Journal
from airbundle.installer.process_mark import lives, own_mark
from airbundle.installer.site.site_state import SiteState
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.pods import NAMESPACE, Maker, sweep

LONGEST = 3600.0
"""Seconds after which nobody needs an errand any more: its maker has long given up waiting."""
_STEP = "nodes"
_MACHINE_ID = Path("/etc/machine-id")


def maker_at(site_state: SiteState, journal: Journal) -> Maker:
    """Return who makes errand pods for a site.

    Args:
        site_state: of the site; before its first install it has no directory, and nothing is written there.
        journal: of the site; gets how to undo each object before it is made.
    """

    def note(key: ObjectKey) -> None:
        if site_state.root.is_dir():
            journal.note(_STEP, undo=[{"object": str(key)}])

    return Maker(note, owner_of(site_state), own_mark())


def owner_of(site_state: SiteState) -> str:
    """Return what is equal for all runs on this host with the same state directory and site; a valid label's value."""
    try:
        machine = _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    # Machines that were copied have one id; nodes and operators' hosts have names of their own.
    host = f"{machine} {os.uname().nodename}"
    return sha256(f"{host}\0{os.path.realpath(site_state.root)}".encode())[7:39]


def sweep_errands(cluster: ClusterWriter, site_state: SiteState, namespace: str = NAMESPACE) -> None:
    """Delete the errands that killed runs of this host left for a site in a namespace.

    What can't be listed or deleted stays: it takes no room, and another run tries again.
    """
    with suppress(AirbundleError):
        sweep(cluster, owner_of(site_state), abandoned, namespace)


def abandoned(process: str, age: float) -> bool:
    """Tell whether nobody needs an errand any more.

    Args:
        process: the mark of who made it.
        age: seconds since then.
    """
    alive = lives(process)
    return age > LONGEST if alive is None else not alive
