"""Pods and cert-manager of a real cluster get the site's CA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from airbundle.bundle.site import Site as SiteFile
from airbundle.bundle.site import SiteCa as CaOfFile
from airbundle.errors import Conflict, SiteError
from airbundle.installer.ca import SiteCa
from airbundle.installer.site.issuer_step import issuer_chain, issuer_step, issuer_steps
from airbundle.installer.site.step import SiteRun, Step
from airbundle.installer.site.trust_step import trust_step
from airbundle.progress import SILENT
from tests.site.running import site_run
from tests.support.sealed import Site, sealed_site

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Cluster
  names: {{plural: {plural}, singular: {singular}, kind: {kind}}}
  versions:
    - name: {version}
      served: true
      storage: true
      subresources: {{status: {{}}}}
      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""
READY = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KeyPairVerified"}]}}


def with_ca(run: SiteRun) -> SiteCa:
    ca = SiteCa.of(run.state)
    ca.create("site CA", ["shop.test", "10.0.0.0/8"])
    return ca


def do(step: Step) -> bool:
    return step.run(SILENT.phase("test"))


def planned(step: Step) -> list[tuple[str, str]]:
    return [(change.action, change.what) for change in step.plan()]


@pytest.fixture(scope="module", name="bare")
def without_cert_manager() -> Iterator[Site]:
    """A small cluster of these tests' own: definitions are for all of a cluster."""
    with sealed_site(nodes=1) as cluster:
        yield cluster


@pytest.fixture(name="run")
def shared(site: Site, tmp_path: Path) -> Iterator[SiteRun]:
    name = f"t{uuid4().hex[:8]}"
    with site_run(site, tmp_path, SiteFile(name, domain="shop.test", ca=CaOfFile(issuer=f"{name}-ca"))) as run:
        yield run


def test_pods_get_the_ca_in_each_namespace(site: Site, run: SiteRun) -> None:
    one, two = f"{run.site_state.name}-one", f"{run.site_state.name}-two"
    site.kubectl("create", "namespace", one)
    step = trust_step(run, {one: {}, two: {"labels": {"app.kubernetes.io/managed-by": "Helm"}}})
    assert planned(step) == [
        ("create", f"Namespace {two}"),
        ("create", f"ConfigMap {one}/airbundle-ca"),
        ("create", f"ConfigMap {two}/airbundle-ca"),
    ]
    ca = with_ca(run)
    pages = [run.site_state.root / "trust" / name for name in ("ca.crt", "index.html")]
    assert planned(step)[3:] == [("create", str(path)) for path in pages]
    assert do(step)
    for namespace in (one, two):
        assert site.get("configmap", "airbundle-ca", "-n", namespace)["data"] == {"ca.crt": ca.trust_pem.decode()}
    assert site.get("namespace", two)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert (planned(step), do(step)) == ([], False)
    assert [list(each.values()) for each in reversed(run.journal.undo())] == [
        [f"v1/Namespace//{two}"],
        [f"v1/ConfigMap/{one}/airbundle-ca"],
        [f"v1/ConfigMap/{two}/airbundle-ca"],
        *([str(path)] for path in pages),
    ]
    assert [path.stat().st_mode & 0o777 for path in pages] == [0o644, 0o644]
    assert ca.trust_pem == pages[0].read_bytes()
    ca.rotate()
    changes = [*(f"ConfigMap {name}/airbundle-ca" for name in (one, two)), *map(str, pages)]
    assert planned(step) == [("change", what) for what in changes]
    assert do(step)
    assert site.get("configmap", "airbundle-ca", "-n", two)["data"]["ca.crt"].count("BEGIN") == 2


def test_a_config_map_of_somebody_else_is_not_taken_over(site: Site, run: SiteRun) -> None:
    namespace = run.site_state.name
    site.kubectl("create", "namespace", namespace)
    site.kubectl("create", "configmap", "airbundle-ca", "-n", namespace, "--from-literal=ca.crt=theirs")
    with_ca(run)
    with pytest.raises(Conflict, match="conflict"):
        do(trust_step(run, {namespace: {}}))
    assert site.get("configmap", "airbundle-ca", "-n", namespace)["data"] == {"ca.crt": "theirs"}
    assert run.journal.undo() == []


def test_trust_manager_does_it_where_it_is_there(bare: Site, tmp_path: Path) -> None:
    definition = {"plural": "bundles", "singular": "bundle", "kind": "Bundle", "version": "v1alpha1"}
    with site_run(bare, tmp_path, SiteFile("s")) as run:
        ca = with_ca(run)
        before = trust_step(run, {"default": {}})
        assert do(before)
        bare.apply(CRD.format(group="trust.cert-manager.io", **definition))
        bare.kubectl("wait", "--for=condition=Established", "crd/bundles.trust.cert-manager.io")
        run.cluster.forget()
        # It came later: ConfigMaps of ours go on being ours.
        assert planned(before) == []
        bare.kubectl("create", "namespace", "other")
        step = trust_step(run, {"other": {}})
        assert planned(step) == [("create", "Bundle airbundle-ca")]
        assert do(step)
        assert bare.get("bundles", "airbundle-ca")["spec"] == {
            "sources": [{"inLine": ca.trust_pem.decode()}],
            "target": {"configMap": {"key": "ca.crt"}},
        }
        assert (planned(step), do(step)) == ([], False)


def define_issuers(site: Site) -> None:
    definition = {"plural": "clusterissuers", "singular": "clusterissuer", "kind": "ClusterIssuer", "version": "v1"}
    site.apply(CRD.format(group="cert-manager.io", **definition))
    site.kubectl("wait", "--for=condition=Established", "crd/clusterissuers.cert-manager.io")


def test_the_issuer_step_without_a_controller(bare: Site, tmp_path: Path) -> None:
    with site_run(bare, tmp_path, SiteFile("s"), patience=3) as run:
        assert issuer_steps(run, []) == []
        step = issuer_step(run, "cm", "cm-space")
        assert step.needs == ("trust", "release/cm")
        assert planned(step) == [("create", "Secret cm-space/airbundle-ca"), ("create", "ClusterIssuer airbundle-ca")]
        ca = with_ca(run)
        with pytest.raises(SiteError, match="it has no ClusterIssuer"):
            do(step)
        define_issuers(bare)
        run.cluster.forget()
        (step,) = issuer_steps(run, [])
        with pytest.raises(SiteError, match="ClusterIssuer airbundle-ca"):
            do(step)
        status = ("patch", "clusterissuer", "airbundle-ca", "--subresource=status", "--type=merge")
        bare.kubectl(*status, "-p", json.dumps(READY))
        assert (planned(step), do(step)) == ([], False)
        assert issuer_chain(run)["subject"] == "CN=issuer s,O=airbundle"
        ca.renew()  # another certificate of the root: what chains to it has to be made again
        assert planned(step) == [("change", "Secret cert-manager/airbundle-ca")]
        assert do(step)
        assert planned(step) == []
        journal = run.journal.path.read_text()
        key = bare.get("secret", "airbundle-ca", "-n", "cert-manager")["data"]["tls.key"]
        assert key not in journal
        assert "PRIVATE" not in journal
