"""The scripts of a handoff: what they do in which order, and CoreDNS's part against `deploy.corefile`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from airbundle.deploy.corefile import with_zones
from airbundle.deploy.zone import Zone
from airbundle.installer.site.handoff_dns import dns_script
from airbundle.installer.site.handoff_scripts import (
    AFTER,
    BEFORE,
    CRDS,
    DATA,
    MANIFESTS,
    ClusterFiles,
    ReleaseFiles,
    apply_script,
    undo_script,
)

SHELLS = [name for name in ("dash", "bash", "sh") if shutil.which(name)]
ZONES = [Zone("shop.internal", {"registry.shop.internal": ("10.0.0.1",), "*.apps.shop.internal": ("10.0.0.2",)})]
KUBEADM = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
}
"""
PLAIN = ".:5353 {\n    errors\n    forward . 10.1.1.1\n}\nother.test {\n    forward . 10.1.1.2\n}\n"
ALONE = ".:53 {\n    errors\n}\n"
FULL = ReleaseFiles(
    "base",
    (CRDS, DATA, BEFORE, MANIFESTS, AFTER),
    (("Deployment", "ns", "web"), ("Job", "ns", "once")),
    ((BEFORE, "ns", "migrate"), (MANIFESTS, "ns", "once")),
    90,
)
CLUSTER = ClusterFiles(
    namespaces=("a", "b"),
    dns="cluster/20-dns.sh",
    trust="cluster/30-trust.yaml",
    rights="cluster/40-operator-rights.yaml",
    issuer="cluster/50-issuer.yaml",
    issuer_name="airbundle-ca",
    issuer_after="base",
)


def run(script: str, *arguments: str, stdin: str = "", shell: str = "sh") -> subprocess.CompletedProcess[str]:
    command = [shell, "-c", script, "script", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def lines(script: str) -> list[str]:
    return [line.strip() for line in script.splitlines()]


def in_order(script: str, wanted: Sequence[str]) -> bool:
    found = iter(lines(script))
    return all(line in found for line in wanted)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("forward", [[], ["10.0.0.53", "10.0.0.54"]])
@pytest.mark.parametrize("corefile", [KUBEADM, PLAIN, ALONE])
def test_dns_is_what_the_step_would_write(corefile: str, forward: list[str], shell: str) -> None:
    script = dns_script("berlin", ZONES, forward)
    expected = with_zones(corefile, "berlin", ZONES, forward)
    for before in (corefile, expected, with_zones(corefile, "berlin", [], ["10.3.3.3"])):
        done = run(script, "show", stdin=before, shell=shell)
        assert (done.returncode, done.stdout) == (0, expected)


@pytest.mark.parametrize(
    ("corefile", "forward", "expected"),
    [
        (KUBEADM + "shop.internal:53 {\n}\n", [], "has a block for shop[.]internal already"),
        (KUBEADM + "# airbundle begin berlin zones\n", [], "one mark of airbundle is missing"),
        (".:53 {\n    forward . 1.1.1.1\n    forward . 1.1.1.2\n}\n", ["10.0.0.1"], "has not one forward"),
    ],
)
def test_dns_refuses(corefile: str, forward: list[str], expected: str) -> None:
    done = run(dns_script("berlin", ZONES, forward), "show", stdin=corefile)
    assert done.returncode == 1
    assert expected in done.stderr


def test_apply_does_it_in_order() -> None:
    script = apply_script("shop 1.0", "berlin", "1-2", CLUSTER, [FULL, ReleaseFiles("more", (MANIFESTS,))])
    assert in_order(
        script,
        [
            "uid=1-2",
            "namespace a",
            "sh cluster/20-dns.sh apply",
            "apply cluster/30-trust.yaml",
            "apply cluster/40-operator-rights.yaml",
            "definitions releases/base/crds.yaml",
            "apply releases/base/data.yaml",
            "hooks releases/base/before.yaml",
            "finished ns migrate 90",
            "again releases/base/manifests.yaml 90",
            "finished ns once 90",
            "k -n ns rollout status deployment/web --timeout=90s",
            "hooks releases/base/after.yaml",
            "again cluster/50-issuer.yaml 300",
            "again releases/more/manifests.yaml 300",
        ],
    )


def test_undo_does_it_backwards_and_keeps_data() -> None:
    script = undo_script("shop 1.0", "berlin", "", CLUSTER, [FULL, ReleaseFiles("more", (MANIFESTS,))])
    assert in_order(
        script,
        [
            "gone cluster/50-issuer.yaml",
            "gone releases/more/manifests.yaml",
            "gone releases/base/after.yaml",
            "gone releases/base/manifests.yaml",
            "gone_data releases/base/data.yaml",
            "gone_data releases/base/crds.yaml",
            "gone cluster/40-operator-rights.yaml",
            "gone cluster/30-trust.yaml",
            "sh cluster/20-dns.sh undo || wrong=1",
            "namespace_gone b",
            "namespace_gone a",
        ],
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_them(shell: str, tmp_path: Path) -> None:
    for text in (
        apply_script("shop 1.0", "berlin", "", CLUSTER, [FULL]),
        undo_script("shop 1.0", "berlin", "", ClusterFiles(), []),
        dns_script("berlin", ZONES),
    ):
        (tmp_path / "script").write_text(text)
        done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_another_cluster_is_left_alone(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho other\n")
    kubectl.chmod(0o755)
    (tmp_path / "apply.sh").write_text(apply_script("shop 1.0", "berlin", "mine", CLUSTER, []))
    environ = {"PATH": "/usr/bin:/bin", "KUBECTL": str(kubectl)}
    done = subprocess.run(["sh", tmp_path / "apply.sh"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "another cluster: kube-system has the uid other, expected mine\n"
