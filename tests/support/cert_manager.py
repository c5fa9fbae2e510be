"""The real cert-manager: its programs built from its Go module, its chart from the same module.

Building takes minutes, so it is done once per machine, as for cosign: `AIRBUNDLE_TEST_CERT_MANAGER=build scripts/test`,
CI, or scripts/demo-messenger. What is there is used.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import yaml

from tests.support import images
from tests.support.corpus import cache_root
from tests.support.images import Artifact

VERSION = "v1.11.5"
PROGRAMS = ("controller", "webhook", "cainjector", "acmesolver")
HOME = cache_root() / f"cert-manager-{VERSION}"
MISSING = f"no cert-manager in {HOME}; AIRBUNDLE_TEST_CERT_MANAGER=build scripts/test builds it (some minutes)"


def cert_manager() -> Path | None:
    """Return the directory with `bin` and the module's `chart` and `crds`; None where it was not built."""
    return HOME if (HOME / "bin" / PROGRAMS[-1]).exists() else None


def image_name(program: str) -> str:
    """Return what upstream calls the image of a program."""
    return f"quay.io/jetstack/cert-manager-{program}:{VERSION}"


@lru_cache(maxsize=1)
def cert_manager_images() -> dict[str, Artifact]:
    """Return an image of each program, by its upstream name; they run as a user with a number, as upstream's do."""
    made = {}
    for program in PROGRAMS:
        path = f"app/cmd/{program}/{program}"
        layer = images.layer({path: (HOME / "bin" / program).read_bytes()}, level=1)
        made[image_name(program)] = images.image([layer], Entrypoint=[f"/{path}"], User="1000", WorkingDir="/")
    return made


def write_cert_manager_chart(directory: Path) -> Path:
    """Write the chart as upstream releases it into `directory`/cert-manager, and return that.

    A release is the module's chart with versions filled in, and its CRDs as templates that `installCRDs` brings.
    """
    chart = directory / "cert-manager"
    shutil.rmtree(chart, ignore_errors=True)
    shutil.copytree(HOME / "chart", chart)
    metadata = yaml.safe_load((chart / "Chart.template.yaml").read_text())
    metadata.update(version=VERSION, appVersion=VERSION)
    metadata.pop("annotations", None)
    for name in ("Chart.template.yaml", "README.template.md", "signkey_annotation.txt"):
        (chart / name).unlink()
    (chart / "Chart.yaml").write_text(yaml.safe_dump(metadata, sort_keys=False))
    definitions = [path.read_text() for path in sorted((HOME / "crds").glob("crd-*.yaml"))]
    text = "---\n".join(definitions)
    (chart / "templates" / "crds.yaml").write_text(f"{{{{- if .Values.installCRDs }}}}\n{text}{{{{- end }}}}\n")
    for path in (chart, *chart.rglob("*")):  # Go's module cache is read-only
        path.chmod(0o755 if path.is_dir() else 0o644)
    return chart
