"""What a handoff holds: files for an administrator, from the bundle, the site file and this host's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional

from airbundle.bundle.digest import sha256
from airbundle.deploy.dig import text
from airbundle.deploy.handover import SYSTEM, handed_over
from airbundle.deploy.objects import CRD, NAMESPACE, ObjectKey
from airbundle.deploy.rights import Duties, operator_rights, subject_of
from airbundle.deploy.trust import namespace_body
from airbundle.deploy.wanted import crd_kinds
from airbundle.deploy.write_yaml import write_documents
from airbundle.errors import AirbundleError, Finding, Unauthorized
from airbundle.installer.nodes import mirrored_registry
from airbundle.installer.owned_directory import OwnedFile
from airbundle.installer.releases import carried_releases
from airbundle.installer.render import check_site, chosen_release
from airbundle.installer.site.dns_step import zones_at
from airbundle.installer.site.handoff_dns import dns_script
from airbundle.installer.site.handoff_release import HandedRelease, hand_over
from airbundle.installer.site.handoff_scripts import NAMESPACES, ClusterFiles, apply_script, undo_script
from airbundle.installer.site.handoff_trust import IssuerFile, issuer_file, trust_file
from airbundle.installer.site.node_scripts import given_at
from airbundle.installer.site.release_material import Material, Materials
from airbundle.installer.site.step import SiteRun

NODES, DNS, TRUST, ISSUER = "nodes.sh", "cluster/20-dns.sh", "cluster/30-trust.yaml", "cluster/50-issuer.yaml"
RIGHTS, APPLY, UNDO, README = "cluster/40-operator-rights.yaml", "apply.sh", "undo.sh", "README.txt"
_READABLE, _SECRET = 0o644, 0o600
_OPEN = frozenset({"", "default", *SYSTEM})

Kept = Callable[[str], Optional[bytes]]
"""Gives a file of an earlier handoff in the same directory; None where there is none."""


@dataclass(frozen=True)
class Handoff:
    """A handoff, before it is written.

    Attributes:
        files: path → file.
        releases: handed over, in the order in which they are applied.
        cluster: what the scripts apply beside them.
        unmarked: releases that are handed over and that the site file does not mark so yet.
        secrets_first: Secrets of the site file in namespaces of handed-over releases: they must be there before those.
        warnings: what a person should look at.
    """

    files: Mapping[str, OwnedFile] = field(repr=False)
    releases: Sequence[HandedRelease]
    cluster: ClusterFiles
    unmarked: tuple[str, ...]
    secrets_first: tuple[str, ...]
    warnings: tuple[Finding, ...]


class HandoffMaker:
    """Makes a handoff; reads only.

    Args:
        run: bundle, site file, state and cluster.
        phases: which of `nodes`, `dns`, `trust`, `releases` are handed over.
        kept: what an earlier handoff wrote.
    """

    def __init__(self, run: SiteRun, phases: Sequence[str], kept: Kept) -> None:
        self._run = run
        self._phases = phases
        self._kept = kept
        self._warnings: list[Finding] = []

    def make(self) -> Handoff:
        """Make it.

        Raises:
            UsageError: no registry is installed here yet.
            CheckFailed: a release can't be rendered.
            Unauthorized, Unreachable, RemoteError: the cluster does not tell what it is.
        """
        run, site = self._run, self._run.site.site
        mirrored_registry(run.state)  # refuses where none is installed yet: its CA is in what nodes get
        files: dict[str, OwnedFile] = {}
        if "nodes" in self._phases:
            files[NODES] = OwnedFile(given_at(run).script, _READABLE)
        namespaces = self._namespaces()
        if namespaces:
            bodies = [namespace_body(each, {"labels": {"kubernetes.io/metadata.name": each}}) for each in namespaces]
            files[NAMESPACES] = OwnedFile(write_documents(bodies), _READABLE)
        zones = zones_at(run)
        if "dns" in self._phases and (zones or site.dns.forward):
            files[DNS] = _script(dns_script(run.site_state.name, zones, site.dns.forward))
        issuer = self._trust(files, namespaces)
        self._rights(files)
        for release in self._handed:
            for file in release.parts:
                mode = _SECRET if file in release.secret else _READABLE
                files[f"releases/{release.name}/{file}"] = OwnedFile(release.text(file), mode)
        cluster = _cluster(files, namespaces, issuer, site.ca.issuer)
        self._scripts(files, cluster)
        marked = {each for each, choice in site.releases.items() if choice.handed_over}
        return Handoff(
            files,
            self._handed,
            cluster,
            tuple(each.name for each in self._handed if each.name not in marked),
            self._secrets_first(),
            tuple(self._warnings),
        )

    @cached_property
    def _materials(self) -> list[Material]:
        run = self._run
        carried = carried_releases(run.trusted.bundle)
        check_site(run.site, carried, run.trusted.bundle.lock.site)
        with Materials(run.trusted, run.site, run.cluster, run.state.directory("bin")) as materials:
            chosen = [(each, chosen_release(each.release, run.site)) for each in carried]
            return [materials.of(each, release) for each, release in chosen if release.enabled]

    @cached_property
    def _handed(self) -> list[HandedRelease]:
        if "releases" not in self._phases:
            return []
        marked = {name for name, choice in self._run.site.site.releases.items() if choice.handed_over}
        objects = {each.release.name: each.objects for each in self._materials}
        needs = {each.release.name: each.release.needs for each in self._materials}
        found = handed_over(objects, needs, marked)
        return [hand_over(each, found[each.release.name]) for each in self._materials if each.release.name in found]

    def _namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that must be there; those that every cluster has are left out."""
        used = {each.key.namespace for material in self._materials for each in material.objects}
        used |= {material.namespace for material in self._materials}
        used |= {each.namespace for each in self._run.site.site.secrets}
        return tuple(sorted(used - _OPEN))

    def _trust(self, files: dict[str, OwnedFile], namespaces: Sequence[str]) -> IssuerFile | None:
        if "trust" not in self._phases:
            return None
        trust = trust_file(self._run, namespaces, self._kept(TRUST))
        if trust:
            files[TRUST] = OwnedFile(trust, _READABLE)
        issuer = issuer_file(self._run, self._handed, self._kept(ISSUER), self._warnings)
        if issuer is not None:
            files[ISSUER] = OwnedFile(issuer.text, _SECRET)
        return issuer

    def _rights(self, files: dict[str, OwnedFile]) -> None:
        """Hand the operator's rights over, to who asks the cluster now."""
        run = self._run
        user = self._user()
        if not user:
            return
        handed = {each.name for each in self._handed}
        deploys = [each for one in self._materials if one.release.name not in handed for each in one.objects]
        awaits = [each for one in self._handed for each in one.objects if each.phase == "run"]
        checked = frozenset(each.material.namespace for each in self._handed if each.material.release.checks)
        own = {each.namespace for each in self._materials if each.release.name not in handed}
        spaces = frozenset({*own, *(each.namespace for each in run.site.site.secrets)})
        duties = Duties([each for each in deploys if each.key.namespace], awaits, spaces, checked)
        bodies = operator_rights(f"airbundle-{run.site_state.name}", subject_of(user), duties, self._plural)
        files[RIGHTS] = OwnedFile(write_documents(bodies), _READABLE)

    def _user(self) -> str:
        """Return the name that the cluster knows the operator by; empty where it does not say."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        try:
            user = text(self._run.cluster.create(review), "status", "userInfo", "username")
        except AirbundleError as error:
            user, why = "", error.problem
        else:
            why = "the cluster does not say who asks"
        if not user:
            hint = f"bind the roles that you need by hand: there is no {RIGHTS}"
            self._warnings.append(
                Finding(why, where="operator's rights", code="handoff", hint=hint, severity="warning")
            )
        return user

    def _plural(self, api_version: str, kind: str) -> str:
        if api_version == "v1" and kind == NAMESPACE:
            return "namespaces"
        resource = self._run.cluster.resource_of(api_version, kind)
        return resource.plural if resource else self._defined.get((api_version, kind), "")

    @cached_property
    def _defined(self) -> dict[tuple[str, str], str]:
        """(apiVersion, kind) → plural of what the releases themselves define."""
        bodies = [each.body for one in self._materials for each in one.objects if each.key.kind == CRD]
        return {(version, kind): plural for body in bodies for version, kind, _, plural in crd_kinds(body)}

    def _scripts(self, files: dict[str, OwnedFile], cluster: ClusterFiles) -> None:
        title, site = self._run.trusted.title, self._run.site_state.name
        releases = [each.files() for each in self._handed]
        uid = self._run.site.site.cluster.uid or self._uid()
        files[APPLY] = _script(apply_script(title, site, uid, cluster, releases))
        files[UNDO] = _script(undo_script(title, site, uid, cluster, releases))

    def _uid(self) -> str:
        try:
            body = self._run.cluster.get(ObjectKey("v1", NAMESPACE, "", "kube-system"))
        except Unauthorized:
            kept = self._run.site_state.cluster()
            return kept.uid if kept else ""
        return text(body, "metadata", "uid")

    def _secrets_first(self) -> tuple[str, ...]:
        spaces = {each.key.namespace for one in self._handed for each in one.objects}
        secrets = self._run.site.site.secrets
        return tuple(f"{each.namespace}/{each.name}" for each in secrets if each.namespace in spaces)


def statement_of(run: SiteRun) -> str:
    """Return the digest of the bundle's statement."""
    return sha256(run.trusted.bundle.statement_raw)


def _script(text_of_it: str) -> OwnedFile:
    return OwnedFile(text_of_it.encode(), _READABLE)


def _cluster(
    files: Mapping[str, Any], namespaces: tuple[str, ...], issuer: IssuerFile | None, issuer_name: str
) -> ClusterFiles:
    return ClusterFiles(
        namespaces=namespaces,
        dns=DNS if DNS in files else "",
        trust=TRUST if TRUST in files else "",
        rights=RIGHTS if RIGHTS in files else "",
        issuer=ISSUER if issuer else "",
        issuer_name=issuer_name,
        issuer_after=issuer.after if issuer else "",
    )
