"""The real cert-manager issues certificates that chain to the site's CA, and can issue no others."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from airbundle.bundle.site import Site as SiteFile
from airbundle.deploy.brings import crd_provider, namespaces_of
from airbundle.deploy.wanted import WantedRelease
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.issuer_step import issuer_chain, issuer_steps
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.trust_step import trust_step
from airbundle.progress import SILENT
from airbundle.scan.documents import read_manifests
from airbundle.scan.model import Origin, Rendering
from tests.crypto.tools import openssl_verify
from tests.site.importing import import_images
from tests.site.running import site_run
from tests.support.cert_manager import MISSING, cert_manager, cert_manager_images, write_cert_manager_chart
from tests.support.helm import helm
from tests.support.sealed import Site, sealed_site

SPACE = "cm-space"
CERTIFICATE = """
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {{name: {name}, namespace: shop}}
spec: {{secretName: {name}, dnsNames: ["{host}"], issuerRef: {{name: airbundle-ca, kind: ClusterIssuer}}}}
"""


@pytest.fixture(name="run")
def site_with_cert_managers_images(tmp_path: Path) -> Iterator[tuple[Site, SiteRun]]:
    if cert_manager() is None:
        pytest.skip(MISSING)
    with ExitStack() as ending:
        site = ending.enter_context(sealed_site(nodes=1))
        import_images(site, 1, cert_manager_images(), tmp_path / "images.tar")
        yield site, ending.enter_context(site_run(site, tmp_path, SiteFile("berlin", domain="shop.test")))


def release(directory: Path) -> tuple[str, WantedRelease]:
    chart = write_cert_manager_chart(directory)
    words = ("template", "cert-manager", chart, "-n", SPACE, "--set", "installCRDs=true", "--no-hooks")
    text = helm(*words, "--kube-version", "1.33.0", home=directory / "helm")
    manifests, _ = read_manifests(Rendering(Origin("chart", "cert-manager", SPACE), text.encode()))
    return text, WantedRelease("cert-manager", SPACE, tuple(manifests), chart="cert-manager")


def secret(site: Site, name: str) -> dict[str, bytes]:
    """Return what cert-manager wrote for a Certificate; it takes some seconds."""
    for _ in range(240):
        found = site.kubectl("get", "secret", name, "-n", "shop", "-o", "json", "--ignore-not-found")
        if found:
            return {key: base64.b64decode(value) for key, value in json.loads(found)["data"].items()}
        time.sleep(0.5)
    raise AssertionError(site.kubectl("describe", "certificate,certificaterequest", "-n", "shop"))


def test_what_the_cluster_issuer_issues(run: tuple[Site, SiteRun], tmp_path: Path) -> None:
    site, shared = run
    ca = SiteCa.of(shared.state)
    ca.create("site CA", ["shop.test", "svc", "10.0.0.0/8"])
    rendered, wanted = release(tmp_path)
    assert crd_provider([wanted], "cert-manager.io", "ClusterIssuer") == "cert-manager"
    (step,) = issuer_steps(shared, [wanted])
    assert step.needs == ("trust", "release/cert-manager")
    assert [change.what for change in step.plan()] == [f"Secret {SPACE}/airbundle-ca", "ClusterIssuer airbundle-ca"]
    phase = SILENT.phase("test")
    assert trust_step(shared, {**namespaces_of([wanted]), "shop": {}}).run(phase)
    # As a release is deployed: at once after it, its webhook may not answer yet.
    site.kubectl("apply", "--server-side", "-f", "-", stdin=rendered)
    assert step.run(phase)
    assert not step.run(phase)
    assert issuer_steps(shared, [])[0].plan() == []  # found in the cluster, in the namespace of its controller
    assert issuer_chain(shared)["daysLeft"] > 1800

    site.apply(CERTIFICATE.format(name="web", host="web.shop.test"))
    issued = secret(site, "web")
    assert openssl_verify(tmp_path, issued["tls.crt"], ca.trust_pem, name="web.shop.test") == "OK"
    assert issued["ca.crt"] == ca.trust_pem

    site.apply(CERTIFICATE.format(name="foreign", host="www.example.org"))
    stolen = secret(site, "foreign")
    assert "permitted subtree violation" in openssl_verify(tmp_path, stolen["tls.crt"], ca.trust_pem)

    ca.rotate()
    assert [change.action for change in step.plan()] == ["change"]
    assert step.run(phase)
    site.apply(CERTIFICATE.format(name="later", host="later.shop.test"))
    later = secret(site, "later")
    assert openssl_verify(tmp_path, later["tls.crt"], ca.trust_pem, name="later.shop.test") == "OK"
    assert openssl_verify(tmp_path, issued["tls.crt"], ca.trust_pem, name="web.shop.test") == "OK"
