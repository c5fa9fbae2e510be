"""What airbundle's server has, and what the registry calls by a name, made anew from what is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import CONFIG_LIMIT, fingerprint, parse_config
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.embedded import CONFIG, ask_health, local_client, served_bundles, wait_ready
from airbundle.installer.files import FILE, read_file, write_file
from airbundle.installer.journal import Journal
from airbundle.installer.kept import installed_target
from airbundle.installer.load_plan import LoadPlan, Tag
from airbundle.installer.options import EMBEDDED
from airbundle.installer.places import registry_name
from airbundle.installer.service import Service
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.steps import load_into, plan_of
from airbundle.installer.target import Target
from airbundle.installer.verify import Gate, Trusted, open_trusted
from airbundle.installer.workers import Stop, for_each
from airbundle.progress import Reporter
from airbundle.store.reader import open_bundle

_JOBS = 4
_SHOWN = 20


def serve_anew(state: StateDirectory, installed: Installed) -> None:
    """Make the server serve what is installed; downloads under way go on, for it holds what it has opened."""
    path = state.path("server", CONFIG)
    raw = read_file(path, limit=CONFIG_LIMIT)
    if raw is None:
        return
    config = replace(parse_config(raw, where=str(path)), bundles=tuple(served_bundles(state, installed)))
    write_file(path, config.to_bytes(), FILE)
    service, url = Service.of(state), installed.server_here
    if not service.running():
        return  # whoever starts it next, starts it with that
    with local_client(state, url) as client:
        health = ask_health(client, url)
    if health.instance != sha256(config.to_bytes()):
        service.reload()
        wait_ready(state, config, url, service.running, service.log)


def find_kept(state: StateDirectory, statement: str) -> InstalledBundle:
    """Return an installed bundle whose copy is there as it was when it was verified.

    Args:
        state: of this host.
        statement: digest of the bundle's statement.

    Raises:
        SiteError: it isn't; nothing has changed.
    """
    found = next((each for each in state.read().bundles if each.statement == statement), None)
    path = state.bundles / found.file if found and found.file else None
    if found is None or path is None or not path.is_file():
        raise _gone("its copy is not here any more" if found else "it was pruned, or never installed here")
    if fingerprint(path.stat()) != found.fingerprint:
        raise _gone(f"its copy {path} was touched since it was verified")
    return found


def _gone(why: str) -> SiteError:
    hint = "install the bundle of that version again, with --allow-older"
    return SiteError(f"the bundle to go back to can't be had: {why}", outcome="unchanged", hint=hint)


@contextmanager
def open_kept(state: StateDirectory, statement: str) -> Iterator[Trusted]:
    """Open the copy of a bundle that was installed here: it was trusted then, and age and expiry do not matter.

    Raises:
        SiteError: it is not here. VerificationError: it is damaged, or its keys are trusted no more.
    """
    bundle = find_kept(state, statement)
    gate = Gate(allow_older=True, allow_expired=True)
    with open_trusted([state.bundles / bundle.file], state, gate) as trusted:
        yield trusted


def is_served(state: StateDirectory, statement: str) -> bool:
    """Tell whether the names of the registry are those of this bundle, as far as it has them."""
    return state.read().serves(statement)


def lacking_images(state: StateDirectory, trusted: Trusted, reporter: Reporter) -> list[Finding]:
    """Return a finding for each image or chart of a bundle that the registry no longer has.

    Raises:
        RemoteError: the registry does not answer.
    """
    installed = state.read()
    target = installed_target(state, installed)
    lacking = _lacking(plan_of(trusted.bundle, installed.prefix), target, reporter)
    hint = "install the bundle of that version again, with --allow-older"
    more = [f"{len(lacking) - _SHOWN} more are not there"] if len(lacking) > _SHOWN else []
    return [Finding(line, where=target.url, code="image", hint=hint) for line in (*lacking[:_SHOWN], *more)]


def _lacking(plan: LoadPlan, target: Target, reporter: Reporter) -> list[str]:
    lacking: list[str] = []

    def check(tag: Tag) -> None:
        repository = client.repository(f"{target.host}/{tag.repository}")
        digests = [tag.descriptor.digest, *([tag.substitute.descriptor.digest] if tag.substitute else [])]
        if not any(repository.has_manifest(digest) for digest in digests):
            lacking.append(f"{tag.ref}: found nothing, expected {digests[0]}")

    with target.client(reporter) as client:
        for_each(plan.tags, check, jobs=_JOBS, stop=Stop(client.close))
    return sorted(lacking)


def serve_back(state: StateDirectory, trusted: Trusted, statement: str, journal: Journal, reporter: Reporter) -> bool:
    """Make the names of the registry, and of charts and files, those of an earlier bundle; return whether they weren't.

    The lock is held. What the registry lacks is sent from the copy.

    Raises:
        SiteError, RemoteError, HostError: as the steps of an install.
    """
    if is_served(state, statement):
        return False
    bundle, installed = find_kept(state, statement), state.read()
    after = installed.with_bundle_back(bundle)
    with journal.step("serve-back", bundle=f"{bundle.name} {bundle.version}", statement=statement):
        if installed.mode != EMBEDDED:
            _load(state, after, trusted, journal, reporter)
        serve_anew(state, after)
        state.write(after)
    return True


def _load(state: StateDirectory, after: Installed, trusted: Trusted, journal: Journal, reporter: Reporter) -> None:
    target = installed_target(state, after)
    plan = plan_of(trusted.bundle, after.prefix)
    taken = _names_before(state, after, trusted.statement.name)
    plan = replace(plan, tags=tuple(tag for tag in plan.tags if (tag.repository, tag.tag) not in taken))
    name = registry_name(state, after.mode, target.url)
    try:
        load_into(trusted, plan, target, journal, reporter, state=state, registry=name)
    except AirbundleError as error:
        error.hint = error.hint or "install the bundle of that version again, with --allow-older"
        raise


def _names_before(state: StateDirectory, after: Installed, name: str) -> set[tuple[str, str]]:
    """Return repository and tag of what bundles have that stand before those of this name: they keep them."""
    found: set[tuple[str, str]] = set()
    for each in takewhile(lambda each: each.name != name, after.bundles):
        if each.file and (state.bundles / each.file).is_file():
            with open_bundle([state.bundles / each.file]) as copy:
                found.update((tag.repository, tag.tag) for tag in plan_of(copy, after.prefix).tags)
    return found
