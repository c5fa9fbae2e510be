"""Takes back what a site's journal says was made in its cluster, on its nodes and on this host: newest first.

One function for each kind of undo. What fails is noted, and the rest goes on; what is done already is nothing to do, so
that a run which was cut off goes on when the same is run again. Objects that hold data, and those whose end would take
volumes along, are kept and listed unless data may go; so is a namespace with such objects, or with what others run in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from airbundle.deploy.keeping import is_ours
from airbundle.deploy.objects import NAMESPACE, ObjectKey, parse_key
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.removed import Removed
from airbundle.installer.site.kept_data import KeptData, made_claims
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.undo_helm import HelmUninstalls, uninstall_release
from airbundle.installer.site.undo_restore import put_back
from airbundle.transfer.cluster_write import ClusterWriter

WAIT = 60.0
"""Seconds for which an object may take to be gone: its controller may have work to do before."""
NAMESPACE_WAIT = 180.0


class NodeUndo(Protocol):
    """Takes back what a node was given."""

    def undo(self, node: str, access: str) -> bool:
        """Do it; return whether there was anything. Raises SiteError where nobody gets there."""


@dataclass
class Undoing:
    """One way back, under way.

    Attributes:
        site: whose journal counts.
        cluster: its API.
        data: what holds data there; read before anything is deleted.
        helm: gives helm at this cluster; made when the first release is taken away.
        nodes: takes back what nodes were given.
        delete_data: whether data may go, too.
        done: what was taken away, kept, and what failed.
        kept_in: namespaces that something was kept in.
    """

    site: SiteState
    cluster: ClusterWriter
    data: KeptData
    helm: Callable[[], HelmUninstalls]
    nodes: NodeUndo
    delete_data: bool = False
    done: Removed = field(default_factory=Removed)
    kept_in: dict[str, list[str]] = field(default_factory=dict)

    def keep(self, key: ObjectKey, why: str) -> None:
        """Note that an object stays."""
        self.done.kept.append(f"{key.title}: {why}")
        self.kept_in.setdefault(key.namespace, []).append(key.title)


def undo_all(work: Undoing, actions: Sequence[Mapping[str, str]] | None = None) -> Removed:
    """Take everything back.

    Args:
        work: the site.
        actions: what to take back, newest first; by default all that the site's journal has.

    Returns:
        What was done; nothing is raised for what failed.
    """
    listed = list(Journal(work.site.journal).undo()) if actions is None else list(actions)
    claims = made_claims(work.site, work.cluster) if actions is None and work.delete_data else []
    for action in listed:
        if not _is_namespace(action):
            _undo_one(work, action)
    for key in claims:
        work.done.attempt(key.title, partial(work.cluster.delete, key, wait=WAIT))
    # Namespaces last, whenever they were made: what lies in them may have been noted before them, or not at all; and
    # the way to a node may have needed one just now.
    listed = list(Journal(work.site.journal).undo()) if actions is None else listed
    for action in listed:
        if _is_namespace(action):
            _undo_one(work, action)
    return work.done


def _undo_one(work: Undoing, action: Mapping[str, str]) -> None:
    kind = next((kind for kind in KINDS if kind in action), "")
    try:
        if not kind:
            found = ", ".join(action)
            raise SiteError(f"the journal names {found}, which this airbundle can't take back", hint="use a newer one")
        KINDS[kind](work, action[kind], action)
    except AirbundleError as error:
        work.done.failed.append(Finding(error.problem, where=action.get(kind, ""), hint=error.hint))
    except OSError as error:
        work.done.failed.append(Finding(error.strerror or str(error), where=error.filename or action.get(kind, "")))


def _is_namespace(action: Mapping[str, str]) -> bool:
    return action.get("object", "").startswith(f"v1/{NAMESPACE}/")


def undo_node(work: Undoing, node: str, action: Mapping[str, str]) -> None:
    """Have a node's own script take back what it did."""
    if work.nodes.undo(node, action.get("access", "")):
        work.done.removed.append(f"what node {node} was given")


def undo_object(work: Undoing, text: str, action: Mapping[str, str]) -> None:  # noqa: ARG001 - one signature for all
    """Delete an object that airbundle made, unless it holds data."""
    key = parse_key(text)
    live = work.cluster.get(key)
    if live is None:
        return
    if key.kind == NAMESPACE:  # who has set its labels says little of whose it is; what lies in it says more
        _undo_namespace(work, key)
    elif not is_ours(live):
        work.keep(key, "airbundle has set nothing of it")
    else:
        why = "" if work.delete_data else work.data.why(key, live)
        if why:
            work.keep(key, why)
        elif work.cluster.delete(key, wait=WAIT):
            work.done.removed.append(key.title)


def _undo_namespace(work: Undoing, key: ObjectKey) -> None:
    held = work.kept_in.get(key.name, [])
    claims = [] if work.delete_data else work.data.claims(key.name)
    others = work.data.others_in(key.name)
    if held:
        work.done.kept.append(f"{key.title}: {', '.join(held)} stays in it")
    elif claims:
        work.done.kept.append(f"{key.title}: it holds the volume claims {', '.join(claims)}")
    elif others:
        work.done.kept.append(f"{key.title}: others run in it: {', '.join(others[:10])}")
    elif work.cluster.delete(key, wait=NAMESPACE_WAIT):
        work.done.removed.append(key.title)


def undo_restore(work: Undoing, text: str, action: Mapping[str, str]) -> None:
    """Put an object back as it was before airbundle changed it."""
    key = parse_key(text)
    if put_back(work.site, work.cluster, key, action.get("file", "")):
        work.done.removed.append(f"{key.title}: as it was before")


def undo_helm(work: Undoing, text: str, action: Mapping[str, str]) -> None:  # noqa: ARG001 - one signature for all
    """Take a release of helm's away; what of it holds data stays."""
    namespace, _, name = text.partition("/")
    gone, kept = uninstall_release(
        work.helm, work.cluster, work.data, namespace, name, delete_data=work.delete_data, wait=WAIT
    )
    for key, why in kept:
        work.keep(key, why)
    if gone:
        work.done.removed.append(f"release {text}")


def undo_file(work: Undoing, text: str, action: Mapping[str, str]) -> None:  # noqa: ARG001 - one signature for all
    """Take away a file on this host."""
    path = Path(text)
    if not path.is_absolute() or (path.is_dir() and not path.is_symlink()):
        raise SiteError(f"{text}: found what is no file of airbundle's", hint="look at it, and take it away by hand")
    if path.is_symlink() or path.exists():
        path.unlink()
        work.done.removed.append(text)


Undo = Callable[[Undoing, str, Mapping[str, str]], None]

KINDS: Mapping[str, Undo] = {
    "restore": undo_restore,  # before `file`, which stands beside it
    "node": undo_node,
    "object": undo_object,
    "helm": undo_helm,
    "file": undo_file,
}
