"""Making the registry's container run: the image into the engine, the container in place of the one before.

The one before is kept aside until the new one answers over TLS, and comes back when it doesn't.
"""

from __future__ import annotations

import logging
import time

from airbundle.bundle.reference import parse_reference
from airbundle.errors import AirbundleError, Outcome, SiteError
from airbundle.installer.container_checks import (
    ASIDE,
    CONFIG,
    IMAGE_DIGEST,
    IMAGE_REF,
    IMAGE_USER,
    OURS,
    ROLE,
    Blobs,
    check_loadable,
    check_name,
    choose_image,
    last_words,
)
from airbundle.installer.container_config import (
    CONTAINER_PORT,
    INSTANCE,
    VOLUME_PATH,
    ContainerConfig,
    RunningRegistry,
    Setup,
    make_setup,
)
from airbundle.installer.container_image import REPOSITORY, RegistryImage, archive
from airbundle.progress import Reporter
from airbundle.store.reader import BundleFile
from airbundle.transfer.containers import Container, ContainerEngine, ContainerSpec
from airbundle.transfer.hosts import Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings

START_SECONDS = 60.0
"""How long the registry may take until it answers."""

_POLL_SECONDS = 0.1
_ANSWER_LIMIT = 64 * 1024

_log = logging.getLogger(__name__)


def remove_image(engine: ContainerEngine, container: Container) -> None:
    """Remove the image that a container had, where it is ours and nothing else uses it."""
    if container.image.startswith(f"{REPOSITORY}:"):
        engine.remove_image(container.image)


class Ensuring:
    """One run over the steps."""

    def __init__(
        self, engine: ContainerEngine, bundle: BundleFile, config: ContainerConfig, reporter: Reporter, blobs: Blobs
    ) -> None:
        self._engine = engine
        self._bundle = bundle
        self._config = config
        self._reporter = reporter
        self._blobs = blobs

    def run(self) -> RunningRegistry:
        """Go through the steps; each looks first whether it is done."""
        engine, config = self._engine, self._config
        check_name(engine, config.name)
        image = choose_image(engine, self._bundle, name=config.name, wanted=config.image)
        setup = make_setup(config, image=image.digest, user=image.user)
        self._recover()
        found = engine.find(config.name)
        if found is not None and found.labels.get(CONFIG) == setup.instance:
            changed = found.status != "running"
            if self._runs(found, setup):
                return self._running(image, changed=changed)
        self._load(image)
        self._replace(found, image, setup)
        return self._running(image, changed=True)

    def _running(self, image: RegistryImage, *, changed: bool) -> RunningRegistry:
        config = self._config
        return RunningRegistry(config.here, changed, image.ref, config.name, config.volume)

    def _recover(self) -> None:
        """Undo a change that was cut off: what was put aside is the one that is known to have answered."""
        before = self._engine.find(self._config.name + ASIDE)
        if before is None:
            return
        new = self._engine.find(self._config.name)
        if new is not None:
            self._engine.remove(new)
        self._engine.rename(before, self._config.name)

    def _runs(self, container: Container, setup: Setup) -> bool:
        """Tell whether a container of the right configuration answers, started where it was stopped."""
        try:
            if container.status in ("created", "exited"):
                self._reporter.event(f"start container {container.name}")
                self._start(container)
            elif container.status == "paused":
                self._engine.unpause(container)
            self._wait(setup, container.restarts)
        except AirbundleError as error:
            self._reporter.warn(f"{error.problem}; it is made anew")
            return False
        return True

    def _load(self, image: RegistryImage) -> None:
        """Bring the image into the engine, unless it is there."""
        engine = self._engine
        check_loadable(engine, self._bundle, image, self._blobs)
        if engine.image_layers(image.name) == image.diff_ids:
            return
        what = f"load {image.ref} into the Docker engine"
        with self._reporter.phase("load the registry's image", total=image.size) as phase:
            with phase.item(parse_reference(image.ref).full_name, image.size) as item:
                engine.load_image(archive(self._blobs, image, item), what=what)
            found = engine.image_layers(image.name)
            if found != image.diff_ids:
                raise SiteError(
                    f"{what}: the engine has {len(found or ())} layers as {image.name} now, which are not the image's",
                    outcome="unchanged",
                    hint=f"`docker rmi {image.name}`, then run the same command again",
                )

    def _replace(self, found: Container | None, image: RegistryImage, setup: Setup) -> None:
        """Make the container; the one before is put aside until the new one answers."""
        engine, config = self._engine, self._config
        fresh = engine.volume_labels(config.volume) is None
        if fresh:
            engine.create_volume(config.volume, {ROLE: OURS})
        try:
            if found is not None:
                # Stopped first: the engine can't rename one that it restarts at that moment ("sandbox not found").
                engine.stop(found)
                engine.rename(found, config.name + ASIDE)
            self._reporter.event(
                f"run {image.ref} as container {config.name}, published at {config.host}:{config.port}"
            )
            self._start(engine.create(self._spec(image, setup)))
            self._wait(setup)
        except BaseException as error:
            outcome = self._roll_back(found, fresh=fresh)
            if isinstance(error, AirbundleError):
                error.outcome = outcome
            raise
        if found is not None:
            engine.remove(found)
            if found.image != image.name:
                remove_image(engine, found)

    def _roll_back(self, found: Container | None, *, fresh: bool) -> Outcome:
        """Take the new container away and let the one before run again; tell what state that left."""
        engine, config = self._engine, self._config
        try:
            new = engine.find(config.name)
            if new is not None and (found is None or new.id != found.id):
                engine.remove(new)
            if fresh:
                engine.remove_volume(config.volume)
            if found is not None:
                if engine.find(config.name) is None:
                    engine.rename(found, config.name)
                if found.status in ("running", "restarting"):
                    self._start(found)
        except AirbundleError as error:
            _log.warning("the registry's container before could not be brought back: %s", error.problem)
            return "partial"
        return "rolled-back"

    def _spec(self, image: RegistryImage, setup: Setup) -> ContainerSpec:
        config = self._config
        return ContainerSpec(
            name=config.name,
            image=image.name,
            command=setup.command,
            environment=dict(setup.environment),
            labels={
                ROLE: OURS,
                CONFIG: setup.instance,
                IMAGE_REF: image.ref,
                IMAGE_DIGEST: image.digest,
                IMAGE_USER: image.user,
            },
            volume=config.volume,
            volume_path=VOLUME_PATH,
            port=CONTAINER_PORT,
            host=config.host,
            host_port=config.port,
            files=setup.files,
        )

    def _start(self, container: Container) -> None:
        self._engine.start(container, host=self._config.host, port=self._config.port)

    def _wait(self, setup: Setup, restarts: int = 0) -> None:
        """Wait until the registry answers over TLS, with the site's CA, and runs with this setup.

        Args:
            setup: that the container has.
            restarts: how often the engine has restarted it before.

        Raises:
            SiteError: it ended, or does not answer in time; with what it said last.
        """
        config = self._config
        end = time.monotonic() + START_SECONDS
        with _client(config) as client:
            while True:
                problem = _ask(client, config.here, setup.instance)
                if not problem:
                    return
                container = self._engine.find(config.name)
                if container is None or container.status != "running" or container.restarts > restarts:
                    raise self._died(container)
                if time.monotonic() > end:
                    said = last_words(self._engine, container)
                    raise SiteError(
                        f"container {config.name} runs, but does not answer at {config.here} after "
                        f"{START_SECONDS:.0f} s: {problem}; its log: {said}",
                        hint="a firewall of this host, or another DOCKER_HOST than before, may be in the way",
                    )
                time.sleep(_POLL_SECONDS)

    def _died(self, container: Container | None) -> SiteError:
        name = self._config.name
        if container is None:
            return SiteError(f"container {name} has been removed by somebody else", hint="run the same command again")
        return SiteError(
            f"container {name} ended at once; {last_words(self._engine, container)}",
            hint="mend what it says; the whole log is gone with the container",
        )


def _client(config: ContainerConfig) -> HttpClient:
    """Return a client that trusts the site's CA and does not wait for a server that isn't there."""
    settings = HttpSettings(retry_time=0.0, first_contact_time=0.0, stall_timeout=10.0)
    tls = TlsSettings(ca_file=str(config.ca_file))
    return HttpClient(settings, side="site", registries=Registries().with_registry(config.here, tls=tls))


def _ask(client: HttpClient, url: str, instance: str) -> str:
    """Return why the registry is not there yet; empty when it is."""
    try:
        answer = client.request(
            "GET", f"{url}/v2/", what="the registry's container", expect=(200,), limit=_ANSWER_LIMIT, bare=True
        )
    except AirbundleError as error:
        return error.problem
    found = answer.headers.get(INSTANCE.lower(), "")
    return "" if found == instance else f"another server answers at {url}"
