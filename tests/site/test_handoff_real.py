"""The same system without cluster-admin and without root on nodes: an operator, and administrators who run what he
hands over (issue 6, must show 7). The real command line, real images, a real cert-manager, two nodes.

The operator is an ordinary user of the host with the registry, and to the cluster somebody without any right. Whatever
root or the cluster's administrator does here is a script of the handoff, in the order that its README tells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.site.bring_up import DOMAIN, write_inventory, write_site
from tests.site.desk import Desk, open_desk
from tests.support import cert_manager
from tests.support.sealed import Answer, Site

HOME = "/var/lib/operator"
STATE = f"{HOME}/.local/state/airbundle"
HANDOFF = "/var/lib/handoff"
UID = "1234"
NAMESPACES = ("bring-up", "cert-manager")
KINDS = (
    "serviceaccounts,services,configmaps,secrets,deployments,roles,rolebindings,clusterroles,clusterrolebindings,"
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions,namespaces"
)
OURS = "clusterissuers.cert-manager.io,certificates.cert-manager.io,runners.test.airbundle.dev"
TLS = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
with socket.create_connection((sys.argv[2], 443), timeout=30) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[3]) as secured:
        secured.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(secured.makefile().read())
"""


@dataclass
class Two:
    """An operator and the administrators of one site.

    Attributes:
        site: the cluster; what is done by it is done by an administrator.
        desk: where bundles come from.
    """

    site: Site
    desk: Desk

    def operator(self, *words: str | Path, code: int = 0) -> Answer[str]:
        """Run a command as the operator, on his host."""
        user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
        env = ("env", "-i", f"HOME={HOME}", f"KUBECONFIG={HOME}/kubeconfig", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8")
        done = self.site.host(*user, *env, "sh", "-c", f'cd {HOME} && exec "$@"', "sh", *words, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def airbundle(self, version: str, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a bundle as the program that it is, and return its document."""
        answer = self.operator("python3", f"bring-up-{version}.airbundle", *words, "--json", code=code)
        document: dict[str, Any] = json.loads(answer.stdout)
        return document

    def install(self, version: str, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run `install` for the site."""
        return self.airbundle(version, "install", "--key", "release.pub", "--site", "site.yaml", *words, code=code)

    def take_over(self) -> None:
        """Have the administrators receive what the operator handed over."""
        self.site.host("rm", "-rf", HANDOFF)
        self.site.host("cp", "-r", f"{HOME}/handoff", HANDOFF)

    def nodes(self, argument: str) -> str:
        """Have root run nodes.sh on each node, which gets it over standard input; return what they said."""
        script = self.site.host("cat", f"{HANDOFF}/nodes.sh").stdout
        numbers = range(1, len(self.site.nodes) + 1)
        return "".join(self.site.node(each, "sh", "-s", argument, stdin=script).stdout for each in numbers)


@pytest.fixture
def two(bare_site: Site, tmp_path: Path) -> Iterator[Two]:
    if cert_manager.cert_manager() is None:
        pytest.skip(cert_manager.MISSING)
    with open_desk(tmp_path) as desk:
        inventory = write_inventory(desk.root / "bring-up")
        bundles = [desk.build(_version(inventory, each)) for each in ("1.0.0", "1.1.0")]
        write_site(tmp_path / "site", bare_site)
        path = tmp_path / "site" / "site.yaml"
        body = yaml.safe_load(path.read_text())
        body["nodes"]["access"] = "manual"
        path.write_text(yaml.safe_dump(body))
        _settle(bare_site, [*bundles, desk.public_key, path, path.with_name("addresses.yaml")])
        yield Two(bare_site, desk)


def _version(inventory: Path, version: str) -> Path:
    """Make the inventory that of a version; what the operator deploys, and what is handed over, changes."""
    bundle = yaml.safe_load((inventory / "bundle.yaml").read_text())
    bundle["metadata"]["version"] = version
    bundle["charts"] = [each for each in bundle["charts"] if each["name"] != "redis"]  # nothing here needs it
    (inventory / "bundle.yaml").write_text(yaml.safe_dump(bundle))
    web, runners = inventory / "charts" / "web" / "values.yaml", inventory / "manifests" / "runners.yaml"
    web.write_text(re.sub("(?m)^text:.*", f"text: it runs, {version}", web.read_text()))
    definition = yaml.safe_load(runners.read_text())
    definition["metadata"]["annotations"] = {"test.airbundle.dev/version": version}
    runners.write_text(yaml.safe_dump(definition))
    return inventory


def _settle(site: Site, files: list[Path]) -> None:
    """Give the operator a home on his host, with a kubeconfig of his own: the cluster knows him, and gives no right."""
    script = f"""
set -eu
mkdir {HOME}
cd {HOME}
cp -- "$@" .
openssl req -newkey rsa:2048 -nodes -keyout op.key -subj /CN=olga -out op.csr 2>/dev/null
pki=/etc/kubernetes/pki
openssl x509 -req -in op.csr -CA $pki/ca.crt -CAkey $pki/ca.key -set_serial 7771 -days 2 -out op.crt 2>/dev/null
cp /etc/kubernetes/admin.conf kubeconfig
user=$(kubectl --kubeconfig kubeconfig config view -o 'jsonpath={{.contexts[0].context.user}}')
kubectl --kubeconfig kubeconfig config set-credentials "$user" --client-certificate op.crt --client-key op.key \\
    --embed-certs >/dev/null
chown -R {UID}:{UID} .
"""
    site.host("sh", "-c", script, "sh", *files)


def test_two_people_bring_up_what_one_would(two: Two, tmp_path: Path) -> None:
    site = two.site
    bare = _names(site)

    _bring_up(two)
    _it_serves(two, tmp_path)
    assert two.install("1.0.0", "--phases", "secrets,releases")["changed"] is False
    status = two.airbundle("1.0.0", "status")
    assert status["healthy"] is True
    assert {each["name"]: each["state"] for each in status["sites"][0]["releases"]} == {
        **dict.fromkeys(("base", "cert-manager"), "up, handed over"),
        **dict.fromkeys(("edge", "runner", "web"), "up"),
    }
    assert {each["code"] for each in status["sites"][0]["findings"]} <= {"closed"}

    _upgrade(two)
    assert "1.1.0" in site.get("configmap", "web", "-n", "bring-up")["data"]["index.html"]
    assert two.airbundle("1.1.0", "status")["healthy"] is True
    made_by_two = _system(site)

    kept = two.airbundle("1.1.0", "uninstall", "--yes")["kept"]
    assert all(f"release {name}, which was handed over" in "\n".join(kept) for name in ("base", "cert-manager"))
    assert "undo.sh" in kept[0]
    two.operator("test", "!", "-e", STATE)
    site.host("sh", f"{HANDOFF}/undo.sh", "--delete-data")
    assert "removed" in two.nodes("undo")
    assert _names(site) == bare

    _by_one(two, tmp_path)
    assert _system(site) == made_by_two


def _bring_up(two: Two) -> None:
    """Do what docs/deploy.md tells, in its order."""
    site = two.site
    before = _names(site)
    two.install("1.0.0", "--phases", "registry")
    handed = two.install("1.0.0", "--handoff", "handoff")
    assert sorted(handed["unmarked"]) == ["base", "cert-manager"]
    assert two.install("1.0.0", "--handoff", "handoff")["changed"] is False, "equal input, equal bytes"
    marks = yaml.safe_dump({"releases": {name: {"handedOver": True} for name in handed["unmarked"]}})
    two.operator("sh", "-c", f"cat >>site.yaml <<'END'\n{marks}END")
    refused = two.install("1.0.0", "--phases", "secrets,releases", code=3)["errors"][0]
    hints = [each.get("hint", "") for each in refused["findings"]]
    assert any("--handoff" in each for each in hints), "before the administrator gave rights"
    assert _names(site) == before, "nothing was changed at the cluster"

    two.take_over()
    assert two.nodes("apply").count("written") >= 2 * len(site.nodes)
    assert "wrong" not in two.nodes("check")
    site.host("sh", f"{HANDOFF}/apply.sh")
    report = two.install("1.0.0", "--phases", "secrets,releases")
    assert {each["name"]: each["kind"] for each in report["releases"]} == {
        **dict.fromkeys(("base", "cert-manager"), "handed-over"),
        **dict.fromkeys(("edge", "runner", "web"), "chart"),
    }
    for verb, what in (("list", "nodes"), ("create", "clusterroles"), ("get", "secrets/airbundle-ca")):
        answer = two.operator("kubectl", "auth", "can-i", verb, what, "-n", "cert-manager", code=1)
        assert answer.stdout.strip() == "no"


def _it_serves(two: Two, tmp_path: Path) -> None:
    """Ask over HTTPS, trusting the site's CA alone; the app's pods run on both nodes' pulls from the registry."""
    ca = tmp_path / "ca.crt"
    ca.write_text(two.site.host("cat", f"{STATE}/certs/ca.crt").stdout)
    assert "it runs, 1.0.0" in two.site.python(TLS, ca, two.site.addresses[1], f"www.{DOMAIN}")


def _upgrade(two: Two) -> None:
    two.install("1.1.0", "--phases", "registry")
    assert "releases/base/crds.yaml" in two.install("1.1.0", "--handoff", "handoff")["written"]
    two.take_over()
    two.site.host("sh", f"{HANDOFF}/apply.sh")
    assert two.install("1.1.0", "--phases", "secrets,releases")["changed"] is True


def _by_one(two: Two, tmp_path: Path) -> None:
    """Have the cluster's administrator, who is root on the host, do it all by one command."""
    path = tmp_path / "site" / "site.yaml"
    body = yaml.safe_load(path.read_text())
    body["nodes"]["access"] = "daemonset"
    path.write_text(yaml.safe_dump(body))
    bundle = f"{HOME}/bring-up-1.1.0.airbundle"
    two.site.host("python3", bundle, "install", "--key", two.desk.public_key, "--site", path, "--quiet")


def _names(site: Site) -> set[str]:
    """Return what a way back must care for, and the text of CoreDNS's configuration."""
    kinds = f"{KINDS},daemonsets,statefulsets,jobs,persistentvolumeclaims"
    found = set(site.kubectl("get", kinds, "-A", "--ignore-not-found", "-o", "name").split())
    return found | {site.get("configmap", "coredns", "-n", "kube-system")["data"]["Corefile"]}


def _system(site: Site) -> dict[str, Any]:
    """Return what was brought up: each object as far as it is not made anew, or known by another name, each time."""
    found = {}
    for body in site.get(f"{KINDS},{OURS}", "-A")["items"]:
        metadata = body["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        ours = namespace in NAMESPACES or (namespace, name) == ("kube-system", "coredns") or not namespace
        of_helm = body.get("type") == "helm.sh/release.v1"
        of_handoff = name == "airbundle-bring-up"  # the operator's rights
        if ours and not of_helm and not of_handoff and not name.startswith("system:"):
            found[f"{body['kind']} {namespace}/{name}"] = _content(body)
    return found


def _content(body: dict[str, Any]) -> Any:
    kind, metadata = body["kind"], body["metadata"]
    rest = {key: value for key, value in body.items() if key not in ("metadata", "status", "secrets")}
    random = kind == "Secret" or metadata["name"] in ("airbundle-ca", "kube-root-ca.crt")
    if random and "data" in rest:
        rest["data"] = sorted(rest["data"])
    if kind == "Service":
        rest["spec"] = {key: value for key, value in rest["spec"].items() if not key.startswith("clusterIP")}
    text = json.dumps({"labels": metadata.get("labels"), **rest}, sort_keys=True)
    return json.loads(re.sub(r'"caBundle": "[^"]*"', '"caBundle": ""', text))
