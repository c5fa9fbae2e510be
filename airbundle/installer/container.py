"""`install --registry container`: the private registry is registry:2 or 3 from the bundle itself, in a Docker engine.

The image is streamed out of the bundle into the engine. The container has a volume for its data, TLS by the site's
CA, and starts again by itself. A change of certificate, port or image makes a new container over the same data; the
one before is kept aside until the new one answers, and comes back when it doesn't (docs/container-registry.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airbundle.errors import AirbundleError, Finding, NoPermission
from airbundle.installer.container_checks import (
    ASIDE,
    CONFIG,
    IMAGE_REF,
    Blobs,
    check_loadable,
    check_name,
    choose_image,
    is_ours,
    last_words,
)
from airbundle.installer.container_config import NAME, ContainerConfig, RunningRegistry, container_name, volume_name
from airbundle.installer.container_run import Ensuring, remove_image
from airbundle.progress import SILENT, Reporter
from airbundle.store.reader import BundleFile
from airbundle.transfer.containers import open_containers
from airbundle.transfer.docker_engine import engine_host

__all__ = [
    "NAME",
    "ContainerConfig",
    "ContainerStatus",
    "RunningRegistry",
    "container_name",
    "container_status",
    "ensure_container",
    "find_problems",
    "remove_container",
]


@dataclass(frozen=True)
class ContainerStatus:
    """What the engine says of the registry's container.

    Attributes:
        name, volume: in the engine.
        state: the engine's word: `running`, `restarting`, `exited`, …
        restarts: how often the engine has restarted it.
        image: name in the bundle of the image that it runs.
        instance: digest of the configuration that it runs with.
        started: when, RFC 3339.
        problem: why it is not well; empty when it is.
    """

    name: str
    volume: str
    state: str
    restarts: int
    image: str
    instance: str
    started: str
    problem: str


def find_problems(
    bundle: BundleFile,
    *,
    name: str = NAME,
    image: str = "",
    environ: Mapping[str, str] | None = None,
    blobs: Blobs | None = None,
) -> Iterator[Finding]:
    """Yield what stands in the way of a registry in a container; looks only.

    Args:
        bundle: whose head has verified.
        name: of the container.
        image: as in `ContainerConfig`.
        environ: the environment, for DOCKER_HOST.
        blobs: the bundle's, with those that were found for a delta.
    """
    elsewhere = engine_host(environ)
    if elsewhere:
        yield Finding(
            "the Docker engine of DOCKER_HOST is on another host, and its registry would be looked for on this one",
            where="--registry container",
            code="container",
            found=elsewhere,
            expected="an engine of this host",
            hint=f"unset DOCKER_HOST, or run the install on {elsewhere}; a registry there is used with --registry URL",
        )
        return
    try:
        with open_containers(environ) as engine:
            check_name(engine, name)
            chosen = choose_image(engine, bundle, name=name, wanted=image)
            check_loadable(engine, bundle, chosen, blobs or bundle)
    except AirbundleError as error:
        code = "permission" if isinstance(error, NoPermission) else "container"
        yield Finding(error.problem, where="--registry container", code=code, hint=error.hint)


def ensure_container(
    bundle: BundleFile,
    config: ContainerConfig,
    reporter: Reporter = SILENT,
    *,
    environ: Mapping[str, str] | None = None,
    blobs: Blobs | None = None,
) -> RunningRegistry:
    """Make the container run as `config` says, and wait until it answers over TLS.

    One that does is left alone. One with another certificate, port or image is made anew; its data are kept.

    Args:
        bundle: verified; carries the image.
        config: how it is to run.
        reporter: gets progress.
        environ: the environment, for DOCKER_HOST.
        blobs: the bundle's, with those that were found for a delta.

    Raises:
        HostError, NoPermission, Unreachable: the engine can't be used; the outcome is `unchanged`.
        UsageError, SiteError, VerificationError: the image can't be used, or something that is not ours has one of
            the names; the outcome is `unchanged`.
        SiteError, RemoteError: it could not be started, or does not answer; the outcome is `rolled-back`: the
            container before runs again, where there was one.
    """
    try:
        with open_containers(environ) as engine:
            return Ensuring(engine, bundle, config, reporter, blobs or bundle).run()
    except AirbundleError as error:
        error.outcome = error.outcome or "unchanged"
        raise


def container_status(name: str = NAME, *, environ: Mapping[str, str] | None = None) -> ContainerStatus | None:
    """Return what the engine says of the registry's container; None when there is none of ours.

    Raises:
        HostError, NoPermission, RemoteError: the engine can't be used.
    """
    with open_containers(environ) as engine:
        found = engine.find(name)
        if found is None or not is_ours(found.labels):
            return None
        problem = ""
        if found.status != "running":
            problem = f"container {name} is {found.status}; {last_words(engine, found)}"
        labels = found.labels
        return ContainerStatus(
            name=name,
            volume=volume_name(name),
            state=found.status,
            restarts=found.restarts,
            image=labels.get(IMAGE_REF, ""),
            instance=labels.get(CONFIG, ""),
            started=found.started,
            problem=problem,
        )


def remove_container(name: str = NAME, *, keep_volume: bool, environ: Mapping[str, str] | None = None) -> bool:
    """Remove the container, its image where nothing else uses it, and its data.

    Args:
        name: of the container.
        keep_volume: leave the data.
        environ: the environment, for DOCKER_HOST.

    Returns:
        Whether there was anything to remove.

    Raises:
        SiteError: what has the name is not airbundle's; it is left alone.
        HostError, NoPermission, RemoteError: the engine can't be used, or refuses.
    """
    removed = False
    with open_containers(environ) as engine:
        check_name(engine, name)
        for each in (name + ASIDE, name):
            found = engine.find(each)
            if found is not None:
                engine.remove(found)
                remove_image(engine, found)
                removed = True
        if not keep_volume:
            removed |= engine.remove_volume(volume_name(name))
    return removed
