"""Issuers that nobody makes."""

from __future__ import annotations

import pytest

from tests.scan.rules.scenery import codes, findings, thing

CERTIFICATE = thing("cert-manager.io/v1", "Certificate", "spec: {secretName: s, issuerRef: {kind: KIND, name: ca}}")
INGRESS = "networking.k8s.io/v1"


@pytest.mark.parametrize("kind", ["Issuer", "ClusterIssuer"])
def test_certificates(kind: str) -> None:
    text = CERTIFICATE.replace("KIND", kind)
    (finding,) = findings(text)
    assert (finding.code, finding.severity) == ("missing-issuer", "error")
    assert findings(text + "---\n" + thing("cert-manager.io/v1", kind, "spec: {selfSigned: {}}", name="ca")) == []


def test_an_issuer_serves_its_own_namespace() -> None:
    text = CERTIFICATE.replace("kind: KIND, ", "") + "---\n"
    issuer = thing("cert-manager.io/v1", "Issuer", "spec: {selfSigned: {}}", name="ca, namespace: other")
    assert codes(findings(text + issuer)) == ["missing-issuer"]


def test_issuers_of_other_groups_are_not_ours_to_judge() -> None:
    assert findings(CERTIFICATE.replace("KIND", "AWSPCAIssuer, group: awspca.cert-manager.io")) == []


@pytest.mark.parametrize("annotation", ["cluster-issuer", "issuer"])
def test_annotated_ingresses(annotation: str) -> None:
    name = f"i, annotations: {{cert-manager.io/{annotation}: letsencrypt}}"
    (finding,) = findings(thing(INGRESS, "Ingress", "spec: {tls: [{secretName: s}]}", name=name))
    assert finding.code == "missing-issuer"
    assert finding.where.endswith(f"metadata.annotations.cert-manager.io/{annotation}")
