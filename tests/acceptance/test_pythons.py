"""Must show 5 (and 6, without a clock): Pythons that have nothing installed run the bundle itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.test_install import skopeo
from tests.acceptance.workshop import Workshop
from tests.support.helm import helm
from tests.support.measure import Measured, run_measured
from tests.support.process import free_port
from tests.support.pythons import pythons
from tests.support.registries import Registry

WANTED = ("python3.9", "python3.11", "python3.13")
FOUND = [path for path in pythons() if path.name in WANTED] or pythons()[-1:]


@pytest.fixture(params=FOUND, ids=lambda path: path.name)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A Python of which nothing but the standard library can be imported."""
    made = tmp_path / "python"
    subprocess.run([request.param, "-m", "venv", "--without-pip", made], check=True)
    return made / "bin" / "python3"


class Site:
    """A disconnected host: a bundle, a bare Python, and nothing of the builder's environment."""

    def __init__(self, python: Path, home: Path) -> None:
        self.python = python
        self.home = home
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(home)}

    def run(self, bundle: Path, *words: str | Path) -> Measured:
        """Run the bundle."""
        return run_measured([self.python, bundle, *words], cwd=self.home, env=self.env)

    def do(self, bundle: Path, *words: str | Path) -> dict[str, Any]:
        """Run the bundle with `--json`, which must end well."""
        done = self.run(bundle, *words, "--json")
        assert done.code == 0, done.stderr + done.stdout
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture
def site(bare: Path, tmp_path: Path) -> Iterator[Site]:
    """A site whose home is taken away again."""
    home = tmp_path / "home"
    home.mkdir()
    yield Site(bare, home)
    shutil.rmtree(home)


def test_help_verify_and_inspect(workshop: Workshop, built: BuiltCorpus, site: Site) -> None:
    assert "install" in site.run(built.path, "--help").stdout
    site.do(built.path, "verify", "--key", workshop.public_key)
    shown = site.run(built.path, "inspect")
    assert shown.code == 0, shown.stderr
    assert all(image.ref.partition("@")[0] in shown.stdout for image in workshop.corpus.images)


def test_install(workshop: Workshop, built: BuiltCorpus, site: Site, tmp_path: Path) -> None:
    server = f"127.0.0.1:{free_port()}"
    state = ["--state-dir", str(site.home / "state")]
    try:
        report = site.do(built.path, "install", "--key", workshop.public_key, "--listen", server, "--yes", *state)
        assert report["images"] == len(workshop.corpus.images)
        registry = Registry(server, site.home, Path(report["registry"]["ca"]), "", "", str)
        for image in workshop.corpus.images:
            assert sha256(skopeo(registry, image.site_name, tmp_path / "certs")) == image.digest
        pull = ["redis", "--repo", f"https://{server}/charts", "--ca-file", str(registry.ca_file), "-d", str(tmp_path)]
        helm("pull", *pull, home=tmp_path / "helm")
        assert site.do(built.path, "install", "--listen", server, "--yes", *state)["changed"] is False
    finally:
        gone = site.run(built.path, "uninstall", "--yes", *state)
    assert gone.code == 0, gone.stderr
    assert not (site.home / "state").exists()  # with its copy of the bundle
