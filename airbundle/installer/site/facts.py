"""Reads what a preflight wants to know of a site's cluster and of this host; looks only.

What can't be read is noted with its reason, and all else is read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Optional, TypeVar

from airbundle.deploy import facts as f
from airbundle.deploy.facts import Access, Body, HelmFound, ServedKind, SiteFacts, Unread
from airbundle.deploy.objects import NAMESPACE, ObjectKey
from airbundle.deploy.rules.access import needed
from airbundle.deploy.rules.references import ANY_KEY, asked, named
from airbundle.deploy.templates import condition
from airbundle.deploy.wanted import Wanted, key_for
from airbundle.errors import AirbundleError, RemoteError, Unauthorized, Unreachable
from airbundle.installer.site.helm_records import read_release
from airbundle.installer.site.listed import list_kind
from airbundle.scan.rules.scene import mapping
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.local import addresses_of, host_addresses

T = TypeVar("T")
U = TypeVar("U")

_AT_ONCE = 4
_IDENTITY = ObjectKey("v1", NAMESPACE, "", "kube-system")
_COREFILE = ObjectKey("v1", "ConfigMap", "kube-system", "coredns")
_CERT_MANAGER = "cert-manager.io/v1"


def gather_facts(cluster: ClusterWriter, wanted: Wanted, unreachable: str = "") -> SiteFacts:
    """Read what is known of a site.

    Args:
        cluster: its API.
        wanted: says which objects, references and rights to ask about.
        unreachable: why the API does not answer, where that is known: it is not asked again.
    """
    return _Gatherer(cluster, wanted).run(unreachable)


class _Gatherer:
    def __init__(self, cluster: ClusterWriter, wanted: Wanted) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._unread: dict[str, Unread] = {}
        self._facts = SiteFacts(addresses=tuple(host_addresses()))

    def run(self, unreachable: str) -> SiteFacts:
        name = self._wanted.registry.rpartition(":")[0] or self._wanted.registry
        self._facts = replace(self._facts, resolved=tuple(addresses_of(name)) if name else ())
        if unreachable:
            return replace(self._facts, unreachable=unreachable)
        try:
            self._clock()
        except Unreachable as error:
            return replace(self._facts, unreachable=error.problem)
        except AirbundleError as error:
            self._note(f.CLOCK, error)
        self._facts = replace(
            self._facts,
            version=self._read(f.VERSION, self._cluster.version),
            uid=self._read(f.UID, self._uid),
            corefile=self._read(f.COREDNS, self._corefile),
            lists=self._lists(),
        )
        self._facts = replace(self._facts, **self._served())
        self._facts = replace(
            self._facts,
            existing=self._read(f.EXISTING, self._existing),
            keys=self._read(f.KEYS, self._keys),
            denied=self._read(f.DENIED, self._denied),
            helm=self._read(f.HELM, self._helm),
        )
        return replace(self._facts, unread=self._unread)

    def _read(self, fact: str, read: Callable[[], T]) -> Optional[T]:
        try:
            return read()
        except AirbundleError as error:
            self._note(fact, error)
            return None

    def _note(self, fact: str, error: AirbundleError) -> None:
        self._unread[fact] = Unread(error.problem, is_forbidden(error))

    def _many(self, read: Callable[[U], T], items: Iterable[U]) -> list[T]:
        with ThreadPoolExecutor(_AT_ONCE, "facts") as pool:
            return list(pool.map(read, items))

    def _clock(self) -> None:
        """Compare clocks by the Date of an answer; half of the time that it took is the way back."""
        begun = datetime.now(timezone.utc)
        response = self._cluster.call("GET", "/version", what=f"cluster {self._cluster.name}: read its version")
        ended = datetime.now(timezone.utc)
        try:
            date = parsedate_to_datetime(response.headers.get("date", ""))
        except (TypeError, ValueError):
            raise RemoteError("the answer has no Date", side="site") from None
        # The Date is of whole seconds, cut off.
        now = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        middle = begun + (ended - begun) / 2
        skew = (middle - now).total_seconds() - 0.5
        self._facts = replace(self._facts, now=now, skew=skew)

    def _uid(self) -> str:
        body = self._cluster.get(_IDENTITY)
        return str(mapping(mapping(body).get("metadata")).get("uid") or "")

    def _corefile(self) -> str:
        body = self._cluster.get(_COREFILE)
        return str(mapping(mapping(body).get("data")).get("Corefile") or "")

    def _lists(self) -> dict[str, Sequence[Body]]:
        def read(kind: str) -> Optional[Sequence[Body]]:
            return self._read(kind, lambda: list_kind(self._cluster, kind, self._wanted.namespaces))

        found = zip(f.LISTED, self._many(read, f.LISTED))
        return {kind: bodies for kind, bodies in found if bodies is not None}

    def _served(self) -> dict[str, Any]:
        """Return what is served of the kinds that are wanted; APIs that are known to be down are not asked."""
        versions = self._read(f.DISCOVERY, self._cluster.api_versions)
        if versions is None:
            return {"served": None}
        down = {
            f"{mapping(each.get('spec')).get('group')}/{mapping(each.get('spec')).get('version')}"
            for each in self._facts.lists.get("APIService", ())
            if condition(each, "Available").get("status") == "False"
        }
        kinds = {(one.api_version, one.kind) for _, one in self._wanted.acting} | {("v1", "Namespace")}
        served: dict[str, dict[str, ServedKind]] = {}
        for api_version, kind in sorted(kinds):
            if api_version not in versions or api_version in down:
                continue
            resource = self._read(f.DISCOVERY, partial(self._cluster.resource_of, api_version, kind))
            if resource is not None:
                served.setdefault(api_version, {})[kind] = ServedKind(resource.plural, resource.namespaced)
        return {"served": None if f.DISCOVERY in self._unread else served, "api_versions": versions}

    def _existing(self) -> dict[ObjectKey, Body]:
        served = self._facts.served or {}
        keys = {key_for(one, self._wanted, self._facts) for _, one in self._wanted.acting}
        asked_for = sorted(key for key in keys if key is not None and key.kind in served.get(key.api_version, {}))
        found = self._many(self._head, asked_for)
        if asked_for and all(isinstance(each, AirbundleError) for each in found):
            raise next(each for each in found if isinstance(each, AirbundleError))
        return {key: each for key, each in zip(asked_for, found) if isinstance(each, dict)}

    def _head(self, key: ObjectKey) -> object:
        """Return an object's metadata; None where it isn't there; the error where it can't be read."""
        try:
            body = self._cluster.get(key)
        except AirbundleError as error:
            return error
        return None if body is None else {"metadata": mapping(body.get("metadata"))}

    def _keys(self) -> dict[tuple[str, str, str], frozenset[str]]:
        wants = [*named(self._wanted), *asked(self._wanted)]
        found = zip(wants, self._many(self._keys_of, wants))
        return {what: keys for what, keys in found if keys is not None}

    def _keys_of(self, what: tuple[str, str, str]) -> Optional[frozenset[str]]:
        kind, namespace, name = what
        api_version = _CERT_MANAGER if kind.endswith("Issuer") else "v1"
        # Of what an object of the whole cluster names the namespace isn't known: any will do.
        homes = [namespace] if namespace or kind == "ClusterIssuer" else sorted(self._wanted.namespaces)
        for home in homes:
            try:
                body = self._cluster.get(ObjectKey(api_version, kind, home, name))
            except Unauthorized:
                return frozenset({ANY_KEY})  # that is told as a right that lacks; it may well be there
            if body is not None:
                return frozenset({*mapping(body.get("data")), *mapping(body.get("binaryData"))})
        return None

    def _denied(self) -> list[Access]:
        if self._may(Access("", "*", "*", "*")):
            return []
        wants = needed(self._facts, self._wanted)
        return [access for access, may in zip(wants, self._many(self._may, wants)) if not may]

    def _may(self, access: Access) -> bool:
        resource, _, part = access.resource.partition("/")
        attributes = {
            "verb": access.verb,
            "group": access.group,
            "resource": resource,
            "subresource": part,
            "namespace": access.namespace,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
        }
        return mapping(self._cluster.create(review).get("status")).get("allowed") is True

    def _helm(self) -> dict[tuple[str, str], HelmFound]:
        wants = [(release.namespace, release.name) for release in self._wanted.releases]
        found = zip(wants, self._many(lambda pair: read_release(self._cluster, *pair), wants))
        return {pair: release for pair, release in found if release is not None}


def is_forbidden(error: AirbundleError) -> bool:
    """Tell whether the API refused because of who asks."""
    return isinstance(error, Unauthorized) and error.forbidden
