"""What sites of this host have in common in one cluster: it stays as long as one of them is there.

Nodes, DNS and the CA that pods trust are the cluster's, whichever site set them first. The site that leaves hands how
to take them back to another one, its heir: in its journal, before anything else. So they go with the last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.deploy.dns_parts import given_part, sites_in
from airbundle.deploy.objects import NAMESPACE, ObjectKey, parse_key
from airbundle.installer.files import FILE, PRIVATE_FILE, read_file, write_file
from airbundle.installer.journal import Journal
from airbundle.installer.site.bundle_part import spaces_of
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.node_facts import SCRIPTS
from airbundle.installer.site.site_state import SiteState, sites_of
from airbundle.installer.site.undo_order import DNS, Action, part_of
from airbundle.installer.site.undo_restore import BEFORE, change_object, take_part_out
from airbundle.installer.state import StateDirectory
from airbundle.transfer.cluster_write import ClusterWriter

_ISSUER = "trust/issuer"
_FOR_ALL = ("trust", "secrets")
_LIMIT = 16 * 1024 * 1024
Look = Callable[[ObjectKey], "Mapping[str, Any] | None"]
Made = tuple[str, Action]
"""The step that made something, and how to take it back."""


@dataclass(frozen=True)
class Share:
    """What stays when a site leaves.

    Attributes:
        heir: the site that goes on needing it; None where there is none.
        actions: how to take it back, newest first.
    """

    heir: SiteState | None = None
    actions: tuple[Action, ...] = field(default=())

    @property
    def why(self) -> str:
        """Why it stays."""
        return f"site {self.heir.name} of the same cluster needs it" if self.heir else ""


def heir_of(state: StateDirectory, site: SiteState, leaving: Collection[str], gone: Collection[str] = ()) -> Share:
    """Return which site goes on in the cluster of one that leaves, without what stays for it.

    Args:
        state: of this host.
        site: that leaves.
        leaving: names of sites that leave in the same run: taken only where no other is there.
        gone: names of those that have left.

    Raises:
        DocumentError: what is kept of a site does not parse.
    """
    kept = site.cluster()
    others = [each for each in sites_of(state) if each.name not in {site.name, *gone}]
    # Of a cluster whose uid nobody was allowed to see it is not known whether it is another's.
    uid = kept.uid if kept is not None else ""
    same = [each for each in others if uid and _uid(each) == uid and Journal(each.journal).undo()]
    return Share(next(iter(sorted(same, key=lambda each: each.name in leaving)), None))


def _uid(site: SiteState) -> str:
    kept = site.cluster()
    return kept.uid if kept is not None else ""


def share_of(site: SiteState, heir: SiteState, made: Iterable[Made], look: Look) -> Share:
    """Return what of a site's stays for its heir.

    Args:
        site: that leaves.
        heir: of the same cluster.
        made: at the site, newest first.
        look: gives an object as the cluster has it.
    """
    latest = heir.latest()
    needs = _Needs(site.name, heir.name, latest.releases if latest else (), look)
    listed = list(made)
    shared = [action for step, action in listed if needs.it(step, action)]
    spaces = needs.spaces | {parse_key(_key(each)).namespace for each in shared if _key(each)}
    found = [
        action
        for _, action in listed
        if action in shared or (_is_namespace(action) and parse_key(_key(action)).name in spaces)
    ]
    return Share(heir, tuple(found))


class _Needs:
    """What a site needs of what another one made."""

    def __init__(self, site: str, heir: str, releases: Iterable[DeployedRelease], look: Look) -> None:
        up = list(releases)
        self.spaces = spaces_of(up)
        self._site, self._heir, self._look = site, heir, look
        self._objects = {text for each in up for text in each.objects}
        self._helm = {f"{each.namespace}/{each.name}" for each in up if each.kind == "chart"}

    def it(self, step: str, action: Action) -> bool:
        if "node" in action or action.get("helm") in self._helm or _key(action) in self._objects:
            return True
        if part_of(action) == DNS:
            parts = sites_in(self._look(parse_key(_key(action))))
            return "object" in action if self._heir in parts else self._site in parts
        if step == _ISSUER:
            return True
        if step not in _FOR_ALL or "object" not in action or _is_namespace(action):
            return False
        key = parse_key(action["object"])
        return not key.namespace or key.namespace in self.spaces


def hand_over(site: SiteState, share: Share, cluster: ClusterWriter) -> None:
    """Have the heir know how to take back what stays; after a kill at any moment another run goes on.

    Raises:
        SiteError, RemoteError: CoreDNS's configuration could not be changed.
        HostError: the heir's journal can't be written.
    """
    heir = share.heir
    if heir is None:
        return
    journal = Journal(heir.journal)
    known = journal.undo()
    actions = [each for each in reversed(share.actions) if each not in known]  # its journal has the oldest first
    for action in actions:
        _copy(site, heir, action)
    if actions:
        journal.note(f"from {site.name}", undo=actions)
    for key in {parse_key(_key(each)) for each in share.actions if part_of(each) == DNS}:
        if heir.name in sites_in(cluster.get(key)):
            take_part_out(site, cluster, key)
        else:
            change_object(cluster, key, lambda live: given_part(live, site.name, heir.name))


def _copy(site: SiteState, heir: SiteState, action: Action) -> None:
    """Copy the file that an action needs, unless the heir has one of its own."""
    if "node" in action:
        name, mode = f"{SCRIPTS}/{action['node']}.sh", FILE
    elif "restore" in action:
        name, mode = action.get("file", ""), PRIVATE_FILE
    else:
        return
    directory, _, file = name.rpartition("/")
    raw = read_file(site.root / directory / file, limit=_LIMIT) if directory in (SCRIPTS, BEFORE) else None
    if raw is not None and not (heir.root / directory / file).exists():
        write_file(heir.directory(directory) / file, raw, mode)


def _key(action: Action) -> str:
    return action.get("object") or action.get("restore") or ""


def _is_namespace(action: Action) -> bool:
    return action.get("object", "").startswith(f"v1/{NAMESPACE}/")
