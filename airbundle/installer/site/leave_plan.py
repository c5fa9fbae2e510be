"""What leaving a site would take back in its cluster, on nodes and on this host, in that order; reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from airbundle.deploy.keeping import CLAIM
from airbundle.deploy.objects import ObjectKey, parse_key
from airbundle.installer.removed import Loss
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease
from airbundle.installer.site.kept_data import KeptData, made_claims
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.undo_order import DNS, FILES, NAMESPACES, NODES, RELEASES, Action, in_order
from airbundle.transfer.cluster_write import ClusterWriter

DATA = "data"
_HOLDS = "it holds data"


@dataclass
class LeavePlan:
    """What is looked at for one site.

    Attributes:
        site: which.
        cluster: its API.
        data: what holds data there.
        delete_data: whether that goes, too.
        bundle: the one whose releases go; empty for all.
        stays: why actions of the journal are left, those that are.
    """

    site: SiteState
    cluster: ClusterWriter
    data: KeptData
    delete_data: bool = False
    bundle: str = ""
    stays: Sequence[tuple[Action, str]] = ()
    _claims: set[str] = field(default_factory=set)
    _kept_in: dict[str, list[str]] = field(default_factory=dict)

    def losses(self, actions: Iterable[Action]) -> Iterator[Loss]:
        """Yield what goes and what stays, in the order in which it is taken back.

        Args:
            actions: of the site's journal, newest first.

        Raises:
            Unauthorized, RemoteError: the cluster does not tell.
        """
        parts = dict(in_order(actions))
        for action in parts[RELEASES]:
            yield from self._release(action)
        yield from self._volumes(parts[NAMESPACES])
        for part in (DNS, NODES, FILES):
            for action in parts[part]:
                yield from self._setting(part, action)
        for action in parts[NAMESPACES]:
            yield from self._namespace(parse_key(action["object"]), self._why_shared(action))

    def _loss(self, part: str, what: str, stays: str = "") -> Loss:
        return Loss(part, what, stays, self.site.name)

    def _why_shared(self, action: Action) -> str:
        return next((why for each, why in self.stays if each == action), "")

    def _release(self, action: Action) -> Iterator[Loss]:
        why = self._why_shared(action)
        if "helm" in action:
            yield self._loss(RELEASES, f"release {action['helm']}", why)
            yield from () if why else self._held(action["helm"])
        elif "object" in action:
            yield from self._object(parse_key(action["object"]), why)
        elif "restore" in action:
            yield self._loss(RELEASES, f"{parse_key(action['restore']).title}: as it was before", why)

    def _held(self, helm: str) -> Iterator[Loss]:
        """Yield what of a release of helm's holds data; all else goes with it."""
        for key in self._recorded(helm):
            live = self.cluster.get(key)
            why = self.data.why(key, live) if live is not None else ""
            if why and key.kind == CLAIM:
                self._claims.add(f"{key.namespace}/{key.name}")
            elif why:
                yield from self._object(key, "")

    def _recorded(self, helm: str) -> list[ObjectKey]:
        latest = self.site.latest()
        namespace, _, name = helm.partition("/")
        release = latest.release(name) if latest else None
        texts = set(release.objects) if release is not None and release.namespace == namespace else set()
        return sorted(map(parse_key, texts | Tracks(self.site, name).read().objects))

    def _object(self, key: ObjectKey, shared: str) -> Iterator[Loss]:
        live = self.cluster.get(key)
        if live is None:
            return
        if key.kind == CLAIM and not shared:
            self._claims.add(f"{key.namespace}/{key.name}")
            return
        why = shared or ("" if self.delete_data else self.data.why(key, live))
        if why:
            self._kept_in.setdefault(key.namespace, []).append(key.title)
        yield self._loss(RELEASES, key.title, why)

    def _volumes(self, namespaces: Sequence[Action]) -> Iterator[Loss]:
        """Yield each volume claim: those that were made, and all in namespaces that would go."""
        self._claims.update(f"{key.namespace}/{key.name}" for key in made_claims(self.site, self.cluster, self.bundle))
        for action in namespaces:
            if not self._why_shared(action):
                self._claims.update(self.data.claims(parse_key(action["object"]).name))
        for title in sorted(self._claims):
            yield (
                self._loss(DATA, f"the data in volume claim {title}")
                if self.delete_data
                else self._loss(DATA, f"volume claim {title}", _HOLDS)
            )

    def _setting(self, part: str, action: Action) -> Iterator[Loss]:
        why = self._why_shared(action)
        if part == NODES:
            yield self._loss(part, f"what node {action['node']} was given", why)
        elif part == FILES:
            yield self._loss(part, action["file"])
        elif "restore" in action:
            yield self._loss(part, f"{parse_key(action['restore']).title}: as it was before", why)
        elif self.cluster.get(parse_key(action["object"])) is not None:
            yield self._loss(part, parse_key(action["object"]).title, why)

    def _namespace(self, key: ObjectKey, shared: str) -> Iterator[Loss]:
        if self.cluster.get(key) is None:
            return
        claims = [] if self.delete_data else [each for each in self._claims if each.startswith(f"{key.name}/")]
        why = shared
        if not why and self._kept_in.get(key.name):
            why = f"{', '.join(self._kept_in[key.name])} stays in it"
        elif not why and claims:
            why = f"it holds the volume claims {', '.join(sorted(claims))}"
        elif not why:
            others = self._others(key.name)
            why = f"others run in it: {', '.join(others[:10])}" if others else ""
        yield self._loss(NAMESPACES, key.title, why)

    def _others(self, namespace: str) -> list[str]:
        """Return what runs in a namespace and is not of the releases that go."""
        latest = self.site.latest()
        up = latest.releases if latest else ()
        going = [each for each in up if self.bundle in ("", each.bundle) and each.kind != HANDED_OVER]
        return [each for each in self.data.others_in(namespace) if each not in _titles(going, namespace)]


def _titles(releases: Iterable[DeployedRelease], namespace: str) -> Collection[str]:
    keys = [parse_key(text) for each in releases for text in each.objects]
    return {f"{key.kind} {key.name}" for key in keys if key.namespace == namespace}
