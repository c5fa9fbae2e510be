"""airbundle's own server at the site: its configuration, its start, and the proof that it answers.

In mode `embedded` it is the registry, too; in the others it serves charts, files and the ClamAV mirror. It runs as a
systemd unit, or as a process (`installer.service`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import BUNDLE, CONFIG_LIMIT, PARTLY, SUPPLEMENT, ServedBundle, ServerConfig, parse_config
from airbundle.errors import Refused, RemoteError, SiteError
from airbundle.installer.ca_servers import ServerCertificate
from airbundle.installer.files import FILE, read_file, write_file
from airbundle.installer.load_plan import LoadPlan, Tag
from airbundle.installer.options import Options
from airbundle.installer.program import Program
from airbundle.installer.service import Service, Start
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.target import Target
from airbundle.installer.workers import Stop, for_each
from airbundle.progress import Reporter
from airbundle.transfer.hosts import Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.local import port_problem
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings

CONFIG = "config.json"
START_SECONDS = 120.0
"""How long the server may take until it answers: it verifies the heads of all bundles before."""

_POLL_SECONDS = 0.1
_ORPHAN_SECONDS = 5.0
_HEALTH_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class Health:
    """What the server says of itself.

    Attributes:
        answers: whether it does.
        instance: digest of the configuration that it runs with.
        problem: why it is not well; empty when it is.
    """

    answers: bool
    instance: str = ""
    problem: str = ""


def make_config(
    state: StateDirectory, installed: Installed, options: Options, certificate: ServerCertificate, url: str
) -> ServerConfig:
    """Return how the server runs with what is installed."""
    return ServerConfig(
        bundles=tuple(served_bundles(state, installed)),
        host=options.host,
        port=options.port,
        tls_cert=certificate.certificate,
        tls_key=certificate.key,
        ca=state.ca_file,
        prefix=options.prefix,
        serves=options.serves,
        url=url,
        access_log="-" if options.access_log else "",
    )


def served_bundles(state: StateDirectory, installed: Installed) -> Iterator[ServedBundle]:
    """Yield what the server serves: the copies that are there. One that is lost keeps the others from nobody."""
    for bundle in installed.bundles:
        path = state.bundles / bundle.file
        if bundle.file and bundle.fingerprint and path.is_file():
            yield ServedBundle((path,), (bundle.fingerprint,), BUNDLE if bundle.whole else PARTLY)
        path = state.bundles / bundle.supplement
        if bundle.supplement and bundle.supplement_fingerprint and path.is_file():
            yield ServedBundle((path,), (bundle.supplement_fingerprint,), SUPPLEMENT)


def start_server(state: StateDirectory, service: Service, program: Program, config: ServerConfig, url: str) -> bool:
    """Make the server run with `config`; return whether anything had to be done.

    One that runs and only gets other bundles reads its configuration again, so that pulls under way go on. What it
    runs with is asked of itself: an earlier run may have been cut off between writing and restarting.

    Args:
        state: where the configuration lies.
        service: keeps it running.
        program: what is run.
        config: what it is given.
        url: at which this host reaches it.

    Raises:
        SiteError, HostError: it can't be started.
    """
    path = state.directory("server") / CONFIG
    logged = _access_log(path)
    write_file(path, config.to_bytes(), FILE)
    start = Start(
        command=(*program.command, "serve", "--config", str(path)),
        environment=program.environment,
        host=config.host,
        port=config.port,
        digest=program.digest,
    )
    if not service.running():
        _wait_for_port(start)
    if service.ensure(start):
        return True
    with local_client(state, url) as client:
        health = ask_health(client, url)
    if health.instance == sha256(config.to_bytes()):
        return False
    # Where it logs to is told once, when it starts.
    if health.answers and logged == config.access_log:
        service.reload()
    else:
        service.restart(start)
    return True


def _access_log(path: Path) -> str:
    raw = read_file(path, limit=CONFIG_LIMIT)
    return parse_config(raw, where=str(path)).access_log if raw else ""


def _wait_for_port(start: Start) -> None:
    """Give workers of a server that was killed the time to notice it and to let go of its port."""
    end = time.monotonic() + _ORPHAN_SECONDS
    while port_problem(start.host, start.port) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def local_client(state: StateDirectory, url: str) -> HttpClient:
    """Return a client that trusts the site's CA and does not wait for a server that isn't there."""
    tls = TlsSettings(ca_file=str(state.ca_file))
    settings = HttpSettings(retry_time=0.0, first_contact_time=0.0, stall_timeout=30.0)
    return HttpClient(settings, side="site", registries=Registries().with_registry(url, tls=tls))


def ask_health(client: HttpClient, url: str) -> Health:
    """Ask the server how it is."""
    try:
        response = client.request(
            "GET", f"{url}/healthz", what="the server's health", expect=(200, 503), limit=_HEALTH_LIMIT, bare=True
        )
        body = json.loads(response.body)
        instance, bundles = str(body["instance"]), body["bundles"]
        damaged = sum(len(each["damaged"]) for each in [*bundles, *body.get("others", ())])
        titles = [f"{each['name']} {each['version']}" for each in bundles if each["damaged"]]
    except (RemoteError, Refused) as error:
        return Health(answers=False, problem=error.problem)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Health(answers=True, problem=f"{url}/healthz: what answers is not airbundle's server")
    of = f" ({', '.join(titles)})" if titles else ""
    problem = f"{damaged} blobs of its copies are damaged{of}" if response.status != 200 else ""
    return Health(True, instance, problem)


def wait_ready(
    state: StateDirectory, config: ServerConfig, url: str, alive: Callable[[], bool], log: Callable[[], str]
) -> None:
    """Wait until the server answers over TLS, with the site's CA, and runs with `config`.

    Args:
        state: with the CA's certificate.
        config: that it was given.
        url: at which this host reaches it.
        alive: whether its process is there.
        log: the end of what it printed, for the error.

    Raises:
        SiteError: it ended, does not answer in time, or is not well.
    """
    wanted = sha256(config.to_bytes())
    end = time.monotonic() + START_SECONDS
    with local_client(state, url) as client:
        while True:
            health = ask_health(client, url)
            if health.answers and health.instance == wanted:
                break
            ended = not alive()
            if ended or time.monotonic() > end:
                why = "ended" if ended else f"does not answer as it should after {START_SECONDS:.0f} s"
                raise SiteError(
                    f"the server at {url} {why}: {_last_lines(log()) or health.problem}",
                    hint="mend that, then run the same command again: it goes on from here",
                )
            time.sleep(_POLL_SECONDS)
    if health.problem:
        raise SiteError(f"the server at {url}: {health.problem}", hint="install that bundle again: it makes a new copy")


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])


def check_tags(plan: LoadPlan, target: Target, reporter: Reporter, jobs: int) -> list[str]:
    """Ask the registry for every tag; return what is wrong, one line each."""
    wrong: list[str] = []

    def check(tag: Tag) -> None:
        found = client.repository(f"{target.host}/{tag.repository}").has_manifest(tag.tag)
        allowed = {tag.descriptor.digest, tag.substitute.descriptor.digest if tag.substitute else ""}
        if found not in allowed:
            wrong.append(f"{tag.ref}: found {found or 'nothing'}, expected {tag.descriptor.digest}")

    with target.client(reporter) as client:
        for_each(plan.tags, check, jobs=jobs, stop=Stop(client.close))
    return sorted(wrong)
