"""Step `trust/issuer`: cert-manager gets a CA below the site's own, and a ClusterIssuer that issues with it.

The site's key never leaves this host. What the ClusterIssuer issues chains to the CA that pods, nodes and people trust,
and keeps to its name constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.crypto.authority import IssuedCertificate
from airbundle.crypto.certificate import certificate_info
from airbundle.crypto.issuer import issuer_problem, may_have_issuer
from airbundle.deploy.brings import crd_provider
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.trust import (
    CERT_MANAGER,
    ISSUER,
    ISSUER_GROUP,
    cluster_issuer,
    issuer_key,
    issuer_namespace,
    issuer_secret,
    secret_bytes,
)
from airbundle.deploy.wanted import WantedRelease
from airbundle.errors import SiteError
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.put import change_of, ensure_namespaces, put
from airbundle.installer.site.step import Change, SiteRun, Step
from airbundle.installer.site.wait import wait_ready
from airbundle.progress import Phase
from airbundle.transfer.cluster import Resource

NAME = "trust/issuer"
_DEPLOYMENTS = Resource("apps/v1", "deployments", "Deployment")
_LONGEST_NAME = 64


def issuer_steps(run: SiteRun, releases: Sequence[WantedRelease]) -> list[Step]:
    """Return the step, or nothing where neither the cluster nor a release has cert-manager.

    Args:
        run: what the steps share.
        releases: those that are deployed, in the order of needs.
    """
    after = crd_provider(releases, ISSUER_GROUP, ISSUER[1])
    if after:
        namespace = next(each.namespace for each in releases if each.name == after)
        return [issuer_step(run, after, namespace or CERT_MANAGER)]
    return [issuer_step(run)] if run.cluster.resource_of(*ISSUER) is not None else []


def issuer_step(run: SiteRun, after: str = "", namespace: str = CERT_MANAGER) -> Step:
    """Return the step.

    Args:
        run: what the steps share.
        after: the release that brings cert-manager's definitions; empty: they are in the cluster.
        namespace: cert-manager's, where no controller is there yet to tell.
    """
    return _IssuerStep(run, after, namespace)


@dataclass(frozen=True)
class _Found:
    """What there is.

    Attributes:
        namespace: where the Secret belongs.
        live: the Secret; None where there is none.
        problem: why it must be made; empty: it needn't.
    """

    namespace: str
    live: Mapping[str, Any] | None
    problem: str


class _IssuerStep:
    name = NAME

    def __init__(self, run: SiteRun, after: str, namespace: str) -> None:
        self.needs: tuple[str, ...] = ("trust", f"release/{after}") if after else ("trust",)
        self._run = run
        self._fallback = namespace
        self._issuer = run.site.site.ca.issuer
        self._ca = SiteCa.of(run.state, passphrase=run.options.ca_passphrase)

    def plan(self) -> Sequence[Change]:
        if self._ca.exists and not self._may():
            return []
        found = self._look()
        what = f"Secret {found.namespace}/{self._issuer}"
        changes = [Change(what, "change" if found.live else "create")] if found.problem else []
        return [*changes, *change_of(self._run, cluster_issuer(self._issuer))]

    def run(self, _phase: Phase) -> bool:
        cluster = self._run.cluster
        if cluster.resource_of(*ISSUER) is None:
            cluster.forget()
        if cluster.resource_of(*ISSUER) is None:
            raise SiteError(
                f"cluster {cluster.name}: it has no ClusterIssuer in {ISSUER[0]}",
                hint="cert-manager's CustomResourceDefinitions are missing: let its chart install them",
            )
        if not self._may():
            self._run.reporter.warn(
                f"the site's CA may have no CA below it: no ClusterIssuer {self._issuer} is made; bring one of your own"
            )
            return False
        found = self._look()
        changed = bool(found.problem)
        if found.problem:
            self._give(found.namespace)
        changed = put(self._run, NAME, cluster_issuer(self._issuer)) or changed
        what = f"ClusterIssuer {self._issuer}"
        wait_ready(cluster, [issuer_key(self._issuer)], self._run.patience, what=what)
        return changed

    def _may(self) -> bool:
        """Tell whether the CA can have one below it: not where certificates come from elsewhere."""
        return self._ca.exists and bool(self._ca.state.generation) and may_have_issuer(self._ca.own_chain)

    def _look(self) -> _Found:
        namespace = issuer_namespace(self._run.cluster.objects(_DEPLOYMENTS)) or self._fallback
        live = self._run.cluster.get(self._secret_key(namespace))
        if live is None or not self._ca.exists:  # a new site's CA is made before the first step runs
            return _Found(namespace, live, "it is not there")
        chain, key = (secret_bytes(live, name) for name in ("tls.crt", "tls.key"))
        return _Found(namespace, live, issuer_problem(chain, key, self._ca.own_chain))

    def _give(self, namespace: str) -> None:
        """Issue anew, with a new key: nobody gets a certificate for a key that was found in a cluster."""
        ensure_namespaces(self._run, NAME, {namespace: {}})
        issued = issue_below(self._ca, self._run.site.site.name)
        put(self._run, NAME, issuer_secret(self._issuer, namespace, issued.chain, issued.key))
        info = certificate_info(issued.chain)
        self._run.journal.note(NAME, info={"serial": info.serial, "notAfter": f"{info.not_after:%Y-%m-%d}"})

    def _secret_key(self, namespace: str) -> ObjectKey:
        return ObjectKey("v1", "Secret", namespace, self._issuer)


def issue_below(ca: SiteCa, site: str) -> IssuedCertificate:
    """Issue the CA that cert-manager of a site issues with.

    During a change-over it is below the CA's own root: the one before has no room for another, and pods trust both.
    """
    return ca.open(own_root=True).issue_ca(f"issuer {site}"[:_LONGEST_NAME])


def issuer_chain(run: SiteRun) -> dict[str, Any]:
    """Return what is to be told of the CA in the cluster: subject, end, days left; empty where there is none."""
    namespace = issuer_namespace(run.cluster.objects(_DEPLOYMENTS)) or CERT_MANAGER
    secret = run.cluster.get(ObjectKey("v1", "Secret", namespace, run.site.site.ca.issuer))
    chain = secret_bytes(secret, "tls.crt")
    if not chain:
        return {}
    info = certificate_info(chain, what=f"Secret {namespace}/{run.site.site.ca.issuer}")
    return {"subject": info.subject, "notAfter": f"{info.not_after:%Y-%m-%dT%H:%M:%SZ}", "daysLeft": info.days_left()}
