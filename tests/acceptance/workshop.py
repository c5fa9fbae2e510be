"""The release engineer's side of the acceptance tests: inventory, upstream, release key, and the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.charts import Chart, ChartRepository
from tests.support.corpus import Corpus, CorpusImage
from tests.support.measure import Measured, run_measured
from tests.support.registries import Registry

PASSPHRASE = "correct horse battery staple"
AIRBUNDLE = Path(sys.executable).with_name("airbundle")
OCI_HOST = "charts.airbundle.test"

FROM_HTTP = (("redis", "~18"), ("nginx", ">=15"), ("monitoring", "0.9.0"), ("platform", "1.2.0+build.5"))
FROM_OCI = (("postgres", "^12.5"), ("coturn", "2.0.0"), ("prometheus", "25.x"))
LOCAL = ("haproxy", "1.22.0")
"""Which charts the inventory takes from where, with their version ranges."""


@dataclass
class Workshop:
    """A directory to work in, and what upstream has.

    Attributes:
        upstream: registry:2 with the corpus, over TLS with basic auth; the mirror of all its hosts.
        chart_registry: registry:2 with charts, over TLS; the mirror of `charts.airbundle.test`.
        repository: the chart repository, over TLS with basic auth.
    """

    root: Path
    corpus: Corpus
    upstream: Registry
    charts: list[Chart]
    chart_registry: Registry
    repository: ChartRepository
    authority_file: Path

    @property
    def key(self) -> Path:
        """The release key."""
        return self.root / "release.key"

    @property
    def public_key(self) -> Path:
        """Its public half."""
        return self.root / "release.pub"

    @property
    def registries(self) -> Path:
        """registries.yaml."""
        return self.root / "registries.yaml"

    @property
    def env(self) -> dict[str, str]:
        """The environment of commands: nothing of the user's own configuration, no proxies."""
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        own = {name: str(self.root / name.lower()) for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        return {**kept, **own, "AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE}

    def run(self, *words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Measured:
        """Run `airbundle` and measure it; its exit code is not looked at."""
        return run_measured([AIRBUNDLE, *words], cwd=cwd or self.root, env=env or self.env)

    def do(self, *words: str | Path) -> dict[str, Any]:
        """Run `airbundle … --json`, which must end well, and return its document."""
        done = self.run(*words, "--json")
        assert done.code == 0, f"airbundle {' '.join(map(str, words))}: {done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def write_registries(self) -> None:
        """Write registries.yaml: every upstream name leads to the servers on this machine."""
        document = self.upstream.registries_yaml(*self.corpus.hosts)
        charts = self.chart_registry.registries_yaml(OCI_HOST, plain=True)
        document["mirrors"].update(charts["mirrors"])
        document["configs"].update(charts["configs"])
        host = self.repository.url.partition("://")[2].partition("/")[0]
        document["configs"][host] = {
            "tls": {"ca_file": str(self.authority_file)},
            "auth": {"username": self.repository.username, "password": self.repository.password},
        }
        self.registries.write_text(json.dumps(document))

    def write_inventory(
        self, name: str, images: list[CorpusImage], *, charts: bool = True, platforms: tuple[str, ...] = ()
    ) -> Path:
        """Write an inventory and return its directory."""
        directory = self.root / name
        directory.mkdir()
        listed: list[dict[str, str]] = []
        if charts:
            listed += [{"name": chart, "repo": self.repository.url, "version": v} for chart, v in FROM_HTTP]
            listed += [{"name": chart, "repo": f"oci://{OCI_HOST}/team", "version": v} for chart, v in FROM_OCI]
            archive = next(chart.archive for chart in self.charts if (chart.name, chart.version) == LOCAL)
            (directory / archive.name).write_bytes(archive.read_bytes())
            listed.append({"name": LOCAL[0], "path": archive.name, "version": LOCAL[1]})
        document = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Bundle",
            "metadata": {"name": name, "version": "1.0.0"},
            "platforms": list(platforms or ("linux/amd64", "linux/arm64")),
            "images": [image.ref for image in images],
            "charts": listed,
        }
        (directory / "bundle.yaml").write_text(json.dumps(document, indent=1))
        return directory

    def lock(self, inventory: Path) -> dict[str, Any]:
        """Resolve an inventory."""
        return self.do("lock", inventory, "--registries", self.registries)

    def build(self, inventory: Path, output: Path, *words: str) -> Measured:
        """Build a signed bundle into `output`; it must end well."""
        done = self.run("build", inventory, "--registries", self.registries, "--key", self.key, "-o", output, *words)
        assert done.code == 0, done.stderr
        return done
