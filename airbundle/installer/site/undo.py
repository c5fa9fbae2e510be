"""Takes back what a site's journal says was made in its cluster, on its nodes and on this host (`undo_order`).

One function for each kind of undo. What fails is noted, and the rest goes on; what is done already is nothing to do, so
that a run which was cut off goes on when the same is run again. Objects that hold data, and those whose end would take
volumes along, are kept and listed unless data may go; so is a namespace with such objects, or with what others run in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Protocol

from airbundle.deploy.dns_parts import CONFIGS, sites_in
from airbundle.deploy.keeping import is_ours
from airbundle.deploy.objects import NAMESPACE, ObjectKey, parse_key
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.removed import Removed
from airbundle.installer.site.kept_data import KeptData, made_claims
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.undo_helm import HelmUninstalls, uninstall_release
from airbundle.installer.site.undo_order import (
    DNS,
    FILES,
    NAMESPACES,
    NODES,
    ORDER,
    RELEASES,
    Action,
    in_order,
    name_of,
)
from airbundle.installer.site.undo_restore import put_back, take_part_out
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_write import ClusterWriter

WAIT = 60.0
"""Seconds for which an object may take to be gone: its controller may have work to do before."""
NAMESPACE_WAIT = 180.0
_TOLD = {RELEASES: "objects", DNS: "DNS", NODES: "nodes", FILES: "files", NAMESPACES: "namespaces"}


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
        reporter: is told of each part as it begins and ends.
        chosen: tells which of the journal's actions are taken back.
        bundle: the one whose releases go; empty for all of the site.
        done: what was taken away, kept, and what failed.
        kept_in: namespaces that something was kept in.
    """

    site: SiteState
    cluster: ClusterWriter
    data: KeptData
    helm: Callable[[], HelmUninstalls]
    nodes: NodeUndo
    delete_data: bool = False
    reporter: Reporter = SILENT
    chosen: Callable[[Action], bool] = lambda _action: True
    bundle: str = ""
    done: Removed = field(default_factory=Removed)
    kept_in: dict[str, list[str]] = field(default_factory=dict)

    def keep(self, key: ObjectKey, why: str) -> None:
        """Note that an object stays."""
        self.done.kept.append(f"{key.title}: {why}")
        self.kept_in.setdefault(key.namespace, []).append(key.title)


def undo_all(work: Undoing) -> Removed:
    """Take everything back, part by part, each told as it begins and ends.

    Args:
        work: the site.

    Returns:
        What was done; nothing is raised for what failed.
    """
    claims = made_claims(work.site, work.cluster, work.bundle) if work.delete_data else []
    with work.reporter.phase("uninstall") as phase:
        for part in ORDER:
            # Read anew: to get to a node, something may have been made just now.
            for name, actions in groupby(_actions(work, part), name_of):
                with work.done.told(work.reporter, phase, f"{work.site.name}: {name or _TOLD[part]}"):
                    for action in actions:
                        _undo_one(work, action)
            if part == RELEASES and claims:
                with work.done.told(work.reporter, phase, f"{work.site.name}: volume claims"):
                    for key in claims:
                        work.done.attempt(key.title, partial(work.cluster.delete, key, wait=WAIT))
    return work.done


def _actions(work: Undoing, part: str) -> list[Action]:
    found = filter(work.chosen, Journal(work.site.journal).undo())
    return next(actions for name, actions in in_order(found) if name == part)


def keep_shared(work: Undoing, action: Action, why: str) -> None:
    """Note that what an action made stays, for another site."""
    text = action.get("object") or action.get("restore")
    if text:
        key = parse_key(text)
        if key.kind == NAMESPACE:
            work.done.kept.append(f"{key.title}: {why}")
        else:
            work.keep(key, why)
    else:
        what = f"what node {action['node']} was given" if "node" in action else f"release {action.get('helm')}"
        work.done.kept.append(f"{what}: {why}")


def _undo_one(work: Undoing, action: Action) -> None:
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


def undo_node(work: Undoing, node: str, action: Action) -> None:
    """Have a node's own script take back what it did."""
    if work.nodes.undo(node, action.get("access", "")):
        work.done.removed.append(f"what node {node} was given")


def undo_object(work: Undoing, text: str, action: Action) -> None:  # noqa: ARG001 - one signature for all
    """Delete an object that airbundle made, unless it holds data."""
    key = parse_key(text)
    live = work.cluster.get(key)
    if live is None:
        return
    if key.kind == NAMESPACE:  # who has set its labels says little of whose it is; what lies in it says more
        _undo_namespace(work, key)
    elif key in CONFIGS and sites_in(live) - {work.site.name}:
        if take_part_out(work.site, work.cluster, key):  # other sites of this cluster have theirs in it
            work.done.removed.append(f"{key.title}: the part of {work.site.name}")
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


def undo_restore(work: Undoing, text: str, action: Action) -> None:
    """Put an object back as it was before airbundle changed it."""
    key = parse_key(text)
    if put_back(work.site, work.cluster, key, action.get("file", "")):
        work.done.removed.append(f"{key.title}: as it was before")


def undo_helm(work: Undoing, text: str, action: Action) -> None:  # noqa: ARG001 - one signature for all
    """Take a release of helm's away; what of it holds data stays."""
    namespace, _, name = text.partition("/")
    gone, kept = uninstall_release(
        work.helm, work.cluster, work.data, namespace, name, delete_data=work.delete_data, wait=WAIT
    )
    for key, why in kept:
        work.keep(key, why)
    if gone:
        work.done.removed.append(f"release {text}")


def undo_file(work: Undoing, text: str, action: Action) -> None:  # noqa: ARG001 - one signature for all
    """Take away a file on this host."""
    path = Path(text)
    if not path.is_absolute() or (path.is_dir() and not path.is_symlink()):
        raise SiteError(f"{text}: found what is no file of airbundle's", hint="look at it, and take it away by hand")
    if path.is_symlink() or path.exists():
        path.unlink()
        work.done.removed.append(text)


Undo = Callable[[Undoing, str, Action], None]

KINDS: Mapping[str, Undo] = {
    "restore": undo_restore,  # before `file`, which stands beside it
    "node": undo_node,
    "object": undo_object,
    "helm": undo_helm,
    "file": undo_file,
}
