"""scripts/demo-messenger: builds the small messenger, brings it up on a sealed cluster, and lets two people talk.

python -m tests.site.demo DIR
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.site.desk import Desk, open_desk
from tests.support.cert_manager import write_cert_manager_chart
from tests.support.sealed import CHECKOUT, NotThere, Site, sealed_site

INVENTORY = CHECKOUT / "manifests-index" / "messenger-small"
CLIENT = Path(__file__).with_name("messenger_client.py")
BASE = "https://matrix.messenger.internal"
CLUSTER_DNS = "10.96.0.10"
PYTHON = "/usr/bin/python3"
"""A bare one: what a site has."""


@contextmanager
def part(title: str) -> Iterator[None]:
    """Say what begins, and how long it took."""
    print(f"\n== {title}", flush=True)
    began = time.monotonic()
    yield
    print(f"   ({time.monotonic() - began:.0f} s)", flush=True)


def show(text: str) -> None:
    """Print what a command said."""
    print("".join(f"   {line}\n" for line in text.strip().splitlines()), end="", flush=True)


def build(desk: Desk, version: str, base: Path | None = None) -> Path:
    """Build a version of the bundle; 1.1.0 takes smaller uploads than 1.0.0."""
    inventory = desk.root / f"messenger-{version}"
    shutil.rmtree(inventory, ignore_errors=True)
    shutil.copytree(INVENTORY, inventory)
    write_cert_manager_chart(inventory / "charts")
    described = inventory / "bundle.yaml"
    described.write_text(described.read_text().replace("version: 1.0.0}", f"version: {version}}}"))
    if version != "1.0.0":
        values = inventory / "values" / "synapse.yaml"
        body = yaml.safe_load(values.read_text())
        body["settings"]["max_upload_size"] = "20M"
        values.write_text(yaml.safe_dump(body))
    return desk.build(inventory, "--base", base) if base else desk.build(inventory)


@dataclass
class Demo:
    """What the demo goes through, part by part."""

    desk: Desk
    site: Site
    state: Path
    ca: Path

    def install(self, bundle: Path, *more: str | Path) -> None:
        """Install a bundle by itself, with a bare Python."""
        words = ["--key", self.desk.public_key, "--site", INVENTORY / "sites" / "sealed.yaml", *more]
        self.site.watch(PYTHON, bundle, "install", *words)
        self.ca.write_text(self.site.host("cat", "/var/lib/airbundle/certs/ca.crt").stdout)

    def airbundle(self, *words: str) -> None:
        """Run what the install left on the operator's host."""
        self.site.watch("/var/lib/airbundle/bin/airbundle", *words)

    def people(self, what: str) -> None:
        """Let both people do something at a computer on the site's network, whose DNS is the site's (node 2)."""
        resolver = self.desk.root / "resolv.conf"
        resolver.write_text(f"nameserver {CLUSTER_DNS}\n")
        script = f'mount --bind "$0" /etc/resolv.conf && exec {PYTHON} "$@"'
        words: list[str | Path] = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            resolver,
            CLIENT,
            what,
            BASE,
            self.ca,
            self.state,
        ]
        show(self.site.node(2, *words).stdout)

    def settle(self) -> None:
        """Wait until all is ready again after the nodes restarted."""
        for kind in ("statefulset/postgres", "deployment/redis", "statefulset/synapse", "deployment/edge"):
            self.site.kubectl("-n", "messenger", "rollout", "status", kind, "--timeout=300s")


def run(desk: Desk, site: Site) -> None:
    """Go through it all."""
    demo = Demo(desk, site, desk.root / "people.json", desk.root / "ca.crt")
    with part("Build two versions: 1.0.0, and 1.1.0 as a delta that carries only what changed"):
        first = build(desk, "1.0.0")
        second = build(desk, "1.1.0", first)
        for path in (first, second):
            show(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB")
    with part("The site: a bare cluster of two nodes, without a way out"):
        show(site.kubectl("get", "nodes", "-o", "wide"))
    with part("One command: airbundle install --key release.pub --site site.yaml"):
        demo.install(first)
        show(site.kubectl("-n", "messenger", "get", "pods", "-o", "wide"))
    with part("Two people, who trust the site's CA only, register over HTTPS; one reads what the other wrote"):
        demo.people("meet")
    with part("Upgrade to 1.1.0: only Synapse changes (uploads of 20 MB at most)"):
        demo.install(second, "--base", first, "--yes")
        demo.people("again")
    with part("airbundle rollback: 1.0.0 again, and what was written is still there"):
        demo.airbundle("rollback", "--yes")
        demo.people("again")
    with part("Both nodes restart, and nothing else is done"):
        site.restart()
        demo.settle()
        demo.people("again")
    print(
        "\nWhat this showed: from one signed file, on a cluster that reaches nothing, one command brought up a"
        "\nregistry, mirrors on each node, DNS, a CA, cert-manager with an issuer of that CA, PostgreSQL, Redis,"
        "\ncoturn, Synapse and HAProxy; images run by the digests that were signed; people use it over HTTPS;"
        "\nthere is a way back."
    )


def main() -> None:
    """Run it in the directory that the command line names."""
    root = Path(sys.argv[1])
    root.mkdir(exist_ok=True)
    with ExitStack() as ending:
        with part("Upstream: images of the real programs, made once per machine"):
            desk = ending.enter_context(open_desk(root, synapse=True))
        try:
            run(desk, ending.enter_context(sealed_site(nodes=2)))
        except NotThere as error:
            sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
