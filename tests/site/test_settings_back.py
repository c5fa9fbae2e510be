"""Settings of nodes and DNS go back with a version: by `rollback`, and after an upgrade that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.release import Release
from tests.support.images import tiny_image
from tests.support.release_bundles import DOMAIN, Host, Shelf
from tests.support.sealed import Site

MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {version: 'VERSION'}\n"
BROKEN = "---\napiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: 0}]}\n"
SECOND = "10.203.0.21"
"""Another address of the operator's host."""
DNS_FILES = "/var/lib/airbundle/sites/berlin/dns"


class Shop:
    """A bundle in three versions, the last of them broken, and a site file that says something else each time."""

    def __init__(self, site: Site, root: Path) -> None:
        self.site = site
        self.root = root
        self.host = Host(root / "host", site.kubeconfig)

    def bundle(self, version: str, more: str = "") -> Path:
        """Write a version: one object."""
        path = self.root / version
        path.mkdir()
        shelf = Shelf(path, {"docker.io/library/app:1": tiny_image("settings")})
        release = Release("plain", "settings", rollback="auto", timeout="20s")
        shelf.manifests(release, {"manifests/a.yaml": MANIFEST.replace("VERSION", version) + more})
        return shelf.write(self.host.key, version, 1767225600 + int(version.replace(".", "")))

    def settings(self, zone: str, www: str, registry: str) -> None:
        """Write the site file."""
        records = {"www": www}
        dns = {"zone": zone, "records": {**records, "registry": registry} if zone == DOMAIN else records}
        self.host.site(nodes={"runtime": "containerd", "access": "daemonset"}, dns=dns)

    def install(self, bundle: Path, code: int = 0) -> dict[str, Any]:
        """Run `install --site`."""
        site_file, key = self.host.root / "site.yaml", self.host.root / "release.pub"
        done = self.site.airbundle("install", bundle, "--key", key, "--site", site_file, "--yes", "--json", check=False)
        assert done.returncode == code, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def seen(self) -> dict[str, Any]:
        """Return what is set: in CoreDNS, on each node, in the files for another DNS server, and the object."""
        corefile = self.site.get("-n", "kube-system", "configmap", "coredns")["data"]["Corefile"]
        lines = [line.strip() for line in corefile.splitlines()]
        hosts = [self.site.node(number, "cat", "/etc/hosts").stdout for number in (1, 2)]
        return {
            "zones": [line for line in lines if line.endswith(":53 {") and line != ".:53 {"],
            "www": [line.split()[-1].rstrip('"') for line in lines if "60 IN A 10.1." in line],
            "nodes": [line.split()[0] for text in hosts for line in text.splitlines() if f"registry.{DOMAIN}" in line],
            "files": self.site.host("ls", DNS_FILES).stdout.split(),
            "object": self.site.get("-n", "settings", "configmap", "plain")["data"]["version"],
        }


@pytest.fixture
def shop(bare_site: Site, tmp_path: Path) -> Shop:
    bare_site.node(
        1, "sh", "-c", f"ip address add {SECOND}/32 dev $(ip -o -4 address | awk '/10.203.0.11/ {{print $2}}')"
    )
    bare_site.node(2, "sh", "-c", f"ip route add {SECOND}/32 via 10.203.0.11")
    return Shop(bare_site, tmp_path)


def test_settings_go_back_with_a_version(shop: Shop) -> None:
    first = shop.site.addresses[0]
    shop.settings(DOMAIN, "10.1.2.3", first)
    shop.install(shop.bundle("1.0.0"))
    before = shop.seen()
    assert before == {
        "zones": [f"{DOMAIN}:53 {{"],
        "www": ["10.1.2.3"],
        "nodes": [first, first],
        "files": ["hosts", f"{DOMAIN}.zone"],
        "object": "1.0.0",
    }

    # An upgrade with another zone fails, and all goes back; of the zone that was tried nothing is left.
    shop.settings("other.internal", "10.1.2.5", "")
    failed = shop.install(shop.bundle("1.1.0", BROKEN), code=6)
    assert failed["outcome"] == "rolled-back", failed
    assert shop.seen() == before

    # One that is well takes another record and another address of the registry, and a rollback takes them back.
    shop.settings(DOMAIN, "10.1.2.4", SECOND)
    shop.install(shop.bundle("1.2.0"))
    assert shop.seen() == {**before, "www": ["10.1.2.4"], "nodes": [SECOND, SECOND], "object": "1.2.0"}
    plan = json.loads(shop.site.airbundle("rollback", "--dry-run", "--json").stdout)
    assert plan["settings"] == ["nodes", "dns"]
    shop.site.airbundle("rollback", "--yes")
    assert shop.seen() == before
