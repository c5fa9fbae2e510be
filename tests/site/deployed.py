"""A host with a registry of its own, and bundles with releases, deployed at a real cluster step by step."""

from __future__ import annotations

import io
import json
import secrets
import signal
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from airbundle.bundle.release import Release
from airbundle.cli.main import main
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import AirbundleError
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.history import bundles_at, history_of
from airbundle.installer.site.releases import release_steps
from airbundle.installer.site.rollback_failed import roll_back_failed
from airbundle.installer.site.runner import run_steps
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT
from airbundle.transfer import tls
from airbundle.transfer.cluster_write import open_cluster_writer
from tests.support.images import Artifact, tiny_image
from tests.support.process import free_port
from tests.support.release_bundles import DOMAIN, Host, Shelf
from tests.support.sealed import Site

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-config"}
data: {version: "VERSION"}
"""
BROKEN = "apiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: 0}]}\n"
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""
RESTORED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: restored}\n"
WORD = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-word"}
data: {version: "{{ .Values.word }}"}
"""
PLAIN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {version: 'VERSION'}\n"


class World:
    """A host with a registry, a site of its own, and bundles with releases in a namespace of their own."""

    def __init__(self, site: Site, root: Path) -> None:
        self.host = Host(root / "host", site.kubeconfig)
        self.root = root
        self.port = free_port()
        self.namespace = f"back-{secrets.token_hex(3)}"
        self.state = StateDirectory(self.host.root / "state")
        self.site = SiteState(self.state, "berlin")
        self.kubeconfig = site.kubeconfig
        self.images = {version: tiny_image(f"app-{version}") for version in ("1.0.0", "1.1.0", "1.2.0")}

    def bundle(
        self, version: str, *, more: bool = False, broken: bool = False, policy: str = "ask", restore: bool = False
    ) -> Path:
        """Write the bundle of a version: a chart `app`, manifests `plain`, and with `more` a chart `extra`."""
        path = self.root / version
        path.mkdir()
        images: dict[str, Artifact] = {"docker.io/library/app:1": self.images[version]}
        shelf = Shelf(path, images)
        files = {"templates/config.yaml": CONFIG.replace("VERSION", version)}
        given = {"restore.yaml": RESTORED} if restore else {}
        paths = tuple(given)
        shelf.chart(
            Release("app", self.namespace, rollback=policy, restore=paths, timeout="20s"),
            {**files, **({"templates/broken.yaml": BROKEN} if broken else {})},
            given,
        )
        plain = Release("plain", self.namespace, rollback=policy, needs=("app",), timeout="20s")
        shelf.manifests(plain, {"manifests/a.yaml": PLAIN.replace("VERSION", version)})
        if more:
            files.update({"templates/claim.yaml": CLAIM, "templates/word.yaml": WORD})
            shelf.chart(Release("extra", self.namespace, timeout="20s"), files)
        return shelf.write(self.host.key, version, 1767225600 + int(version.replace(".", "")))

    def tools(self, version: str, *, broken: bool = False) -> Path:
        """Write a version of another bundle, `tools`: a chart `gauge`."""
        path = self.root / f"tools-{version}"
        path.mkdir()
        shelf = Shelf(path, {"docker.io/library/gauge:1": tiny_image(f"tools-{version}")})
        files = {"templates/config.yaml": CONFIG.replace("VERSION", version)}
        more = {"templates/broken.yaml": BROKEN} if broken else {}
        shelf.chart(Release("gauge", self.namespace, rollback="auto", timeout="20s"), {**files, **more})
        return shelf.write(self.host.key, version, 1767225600 + int(version.replace(".", "")), "tools")

    def kubeconfig_to_nowhere(self) -> Path:
        """Write a kubeconfig whose cluster does not answer."""
        body = yaml.safe_load(self.kubeconfig.read_text())
        for each in body["clusters"]:
            each["cluster"]["server"] = "https://127.0.0.1:1"
        path = self.root / "nowhere.conf"
        path.write_text(yaml.safe_dump(body))
        path.chmod(0o600)
        return path

    def command(self, *words: object) -> tuple[int, dict[str, Any]]:
        """Run a command in this process and read its answer."""
        out, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
        tls._contexts.clear()
        with redirect_stdout(out):
            code = main([*map(str, words), "--state-dir", str(self.state.root), "--json"])
        signal.signal(signal.SIGTERM, before)
        return code, json.loads(out.getvalue())

    def deploy(self, bundle: Path) -> dict[str, AirbundleError]:
        """Install a bundle and deploy its releases; return what failed."""
        key = ["--key", self.host.key.public, "--listen", f"127.0.0.1:{self.port}", "--domain", DOMAIN]
        code, answer = self.command("install", bundle, *key)
        assert code == 0, answer
        deployments = self.site.deployments()
        with self.host.run(bundle, ask=lambda _question: False) as run, release_steps(run, ()) as steps:
            uid = str((run.cluster.get(ObjectKey("v1", "Namespace", "", "kube-system")) or {})["metadata"]["uid"])
            run.site_state.write_cluster(SiteCluster(uid, kubeconfig=str(self.kubeconfig)))
            with self.state.locked("test"):
                ran = run_steps(steps, run.journal, SILENT)
                if not ran.failed:
                    run.site_state.finish()
                elif deployments:
                    name = run.trusted.statement.name
                    before = [each for each in history_of(deployments, name) if each.complete]
                    others = [each for each in deployments[-1].releases if each.bundle != name]
                    roll_back_failed(run, ran.failed, ran.changed, before[-1] if before else None, others)
        return dict(ran.failed)

    def claim(self) -> str:
        """Return the uid of the volume claim of `extra`."""
        with open_cluster_writer(self.kubeconfig) as cluster:
            found = cluster.get(ObjectKey("v1", "PersistentVolumeClaim", self.namespace, "data"))
        return str(found["metadata"]["uid"]) if found else ""

    def config(self, name: str = "app-config") -> str | None:
        """Return the version that an object has; None where it isn't there."""
        with open_cluster_writer(self.kubeconfig) as cluster:
            found = cluster.get(ObjectKey("v1", "ConfigMap", self.namespace, name))
        return (found.get("data") or {}).get("version", "") if found else None

    @property
    def served(self) -> str:
        """The version whose names the registry has."""
        return self.state.read().bundles[0].version

    def version_of(self, bundle: str) -> str:
        """The version of a bundle whose names the registry has."""
        return next(each.version for each in self.state.read().bundles if each.name == bundle)

    def there(self) -> list[Deployment]:
        """Return what is up of each bundle."""
        return bundles_at(self.site.deployments())

    def latest(self) -> Deployment:
        found = self.site.latest()
        assert found is not None
        return found
