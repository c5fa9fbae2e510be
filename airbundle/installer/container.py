"""`install --registry container`: the private registry is registry:2 or 3 from the bundle itself, in a Docker engine.

The image is streamed out of the bundle into the engine. The container has a volume for its data, TLS by the site's
CA, and starts again by itself. What talks to the engine is in `transfer.engine_registry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from airbundle.progress import SILENT, Reporter
from airbundle.store.reader import BundleFile


@dataclass(frozen=True)
class ContainerConfig:
    """How the registry's container is to run.

    Attributes:
        certificate, key: its TLS certificate (with chain) and key, PEM files.
        ca_file: by which this host checks that it answers.
        host, port: where it is published on this host.
        name: of the container; its data's volume is called the same, with `-data`.
        image: which image of the bundle; empty: the registry image is found.
    """

    certificate: Path
    key: Path
    ca_file: Path
    host: str = "0.0.0.0"  # noqa: S104 - nodes pull from it
    port: int = 5000
    name: str = "airbundle-registry"
    image: str = ""


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that answers.

    Attributes:
        url: at which this host reaches it.
        changed: whether anything had to be done.
        image: the reference in the bundle that it runs.
        container: its name in the engine.
    """

    url: str
    changed: bool
    image: str
    container: str


def ensure_container(
    bundle: BundleFile,
    config: ContainerConfig,
    reporter: Reporter = SILENT,
    *,
    environ: Mapping[str, str] | None = None,
) -> RunningRegistry:
    """Make the container run as `config` says; one that does is left alone, the data are kept in any case."""
    raise NotImplementedError
