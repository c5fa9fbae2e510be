"""The CA's part of a handoff: what pods trust, and cert-manager's ClusterIssuer with its own CA below the site's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.crypto.issuer import issuer_problem, may_have_issuer
from airbundle.deploy.brings import DEFAULT_NAMESPACE
from airbundle.deploy.dig import text
from airbundle.deploy.objects import CRD
from airbundle.deploy.trust import (
    BUNDLE,
    CERT_MANAGER,
    ISSUER,
    ISSUER_GROUP,
    cluster_issuer,
    config_map,
    issuer_namespace,
    issuer_secret,
    secret_bytes,
    trust_bundle,
)
from airbundle.deploy.write_yaml import write_documents
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.handoff_release import HandedRelease
from airbundle.installer.site.issuer_step import issue_below
from airbundle.installer.site.step import SiteRun
from airbundle.scan.documents import document_spans
from airbundle.scan.loading import load_document


@dataclass(frozen=True)
class IssuerFile:
    """The issuer: Secret and ClusterIssuer; `after` is the release that brings cert-manager, empty for none."""

    text: bytes = field(repr=False)
    after: str = ""


def trust_file(run: SiteRun, namespaces: Sequence[str], kept: bytes | None) -> bytes:
    """Return what pods trust; empty while there is no CA.

    trust-manager writes it where the cluster has one, unless an earlier handoff began with ConfigMaps: two writers of
    one object are one too many.

    Args:
        run: of which state and cluster are used.
        namespaces: those that releases use, `default` left out.
        kept: what an earlier handoff wrote.
    """
    ca = SiteCa.of(run.state)
    if not ca.exists:
        return b""
    begun = any(text(body, "kind") == "ConfigMap" for body in _bodies(kept))
    if run.cluster.resource_of(*BUNDLE) is not None and not begun:
        return write_documents([trust_bundle(ca.trust_pem)])
    return write_documents(config_map(name, ca.trust_pem) for name in namespaces or (DEFAULT_NAMESPACE,))


def issuer_file(
    run: SiteRun, handed: Sequence[HandedRelease], kept: bytes | None, warnings: list[Finding]
) -> IssuerFile | None:
    """Return the issuer; None where cert-manager is neither in the cluster nor handed over, or the CA may have none.

    A key that an earlier handoff wrote, and that still serves, is written again: equal input, equal bytes.
    """
    ca = SiteCa.of(run.state, passphrase=run.options.ca_passphrase)
    after = next((each for each in handed if _defines_issuers(each)), None)
    if not ca.exists or (after is None and run.cluster.resource_of(*ISSUER) is None):
        return None
    name = run.site.site.ca.issuer
    if not ca.state.generation or not may_have_issuer(ca.own_chain):
        message = f"the site's CA may have no CA below it: there is no ClusterIssuer {name}; bring one of your own"
        warnings.append(Finding(message, where="trust", code="issuer", severity="warning"))
        return None
    chain, key = _kept_issuer(kept)
    if not chain or issuer_problem(chain, key, ca.own_chain):
        issued = issue_below(ca, run.site.site.name)
        chain, key = issued.chain, issued.key
    secret = issuer_secret(name, _namespace(after), chain, key)
    return IssuerFile(write_documents([secret, cluster_issuer(name)]), after.name if after else "")


def _defines_issuers(release: HandedRelease) -> bool:
    return any(
        (text(each.body, "spec", "group"), text(each.body, "spec", "names", "kind")) == (ISSUER_GROUP, ISSUER[1])
        for each in release.objects
        if each.key.kind == CRD
    )


def _namespace(after: HandedRelease | None) -> str:
    """Return where cert-manager looks for Secrets of ClusterIssuers, as far as its own objects tell."""
    if after is None:
        return CERT_MANAGER
    deployments = [each.body for each in after.objects if each.key.kind == "Deployment"]
    return issuer_namespace(deployments) or after.material.namespace


def _kept_issuer(kept: bytes | None) -> tuple[bytes, bytes]:
    for body in _bodies(kept):
        if text(body, "kind") == "Secret":
            return secret_bytes(body, "tls.crt"), secret_bytes(body, "tls.key")
    return b"", b""


def _bodies(raw: bytes | None) -> list[Mapping[str, Any]]:
    try:
        found = [load_document(raw[start:end].decode()).value for start, end in document_spans(raw)] if raw else []
    except (AirbundleError, UnicodeDecodeError):
        return []
    return [body for body in found if isinstance(body, dict)]
