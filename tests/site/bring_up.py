"""The bundle of tests/site/inventory on a cluster: what is built, and the site file for the cluster that is there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.site.desk import Desk
from tests.support.cert_manager import write_cert_manager_chart
from tests.support.sealed import CHECKOUT, Site

HERE = Path(__file__).parent / "inventory"
SMALL = CHECKOUT / "manifests-index" / "messenger-small"
DOMAIN = "bring-up.internal"
NAMESPACE = "bring-up"
STATE = "/var/lib/airbundle"


@dataclass
class BroughtUp:
    """A cluster on which the bundle was installed.

    Attributes:
        site: the cluster.
        desk: where the bundle was built.
        words: the command that brought it up.
        report: its answer.
    """

    site: Site
    desk: Desk
    words: tuple[str | Path, ...]
    report: dict[str, Any]

    def ca(self) -> str:
        """The site's CA."""
        return self.site.host("cat", f"{STATE}/certs/ca.crt").stdout

    def requests(self) -> str:
        """The registry's access log."""
        return self.site.host("cat", f"{STATE}/log/server.log").stdout


def write_inventory(directory: Path) -> Path:
    """Write the whole inventory: ours, charts of the small messenger, and cert-manager's chart."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(HERE, directory)
    for name in ("redis", "edge"):
        shutil.copytree(SMALL / "charts" / name, directory / "charts" / name)
    write_cert_manager_chart(directory / "charts")
    return directory


def write_site(directory: Path, site: Site) -> Path:
    """Write the site file, for the addresses that this cluster's nodes have."""
    directory.mkdir(exist_ok=True)
    body = yaml.safe_load((HERE / "site.yaml").read_text())
    body["dns"]["records"]["www"] = list(site.addresses)
    path = directory / "site.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    (directory / "addresses.yaml").write_text(yaml.safe_dump({"addresses": list(site.addresses)}))
    return path


def build(desk: Desk) -> Path:
    """Build the signed bundle."""
    return desk.build(write_inventory(desk.root / "bring-up"))
