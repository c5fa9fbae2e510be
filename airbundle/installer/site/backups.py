"""Backups that releases made before they were changed (`before:`), and which of them belongs to a moment. Pure.

What a backup is, and where it lies, only the bundle's manifests know. airbundle gives each a name, writes into the
site's journal of which version's data it is, and names the right one when they are restored. Manifests that take it, in
the variable `AIRBUNDLE_BACKUP` of a container that declares it, keep backups apart; others keep the newest alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from airbundle.deploy.desired import Desired
from airbundle.installer.journal import Entry
from airbundle.installer.site.deployment import DeployedRelease, Deployment, same_release

VARIABLE = "AIRBUNDLE_BACKUP"
_STEP = "before/"
_ODD = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Backup:
    """A backup that ended well.

    Attributes:
        name: what manifests call it by; no two runs give the same one.
        version: of the bundle that was up, whose data it has.
        inputs: of the release that was up.
        deployment: number of the one that was begun; what was up before is in the backup.
        statement: digest of the bundle whose `before:` made it.
        apart: whether its manifests keep it apart from others.
        time: when it had ended, RFC 3339.
    """

    name: str
    version: str
    inputs: str
    deployment: int
    statement: str
    apart: bool
    time: str = ""

    def __str__(self) -> str:
        """Return whose it is, and when it was made."""
        return f"the backup of {self.version} made {self.time}"

    def info(self) -> dict[str, Any]:
        """Return what the journal has of it."""
        names = ("name", "version", "inputs", "deployment", "statement", "apart")
        return {"backup": {name: getattr(self, name) for name in names}}


def new_backup(
    deployments: Sequence[Deployment], record: DeployedRelease | None, run: str, objects: Iterable[Desired]
) -> Backup:
    """Return what a backup is to be that is about to be made.

    Args:
        deployments: of the site, oldest first; the last is the one that has begun.
        record: the release as it is up; None where that is not known.
        run: tells runs apart.
        objects: what makes it.
    """
    now = deployments[-1]
    had = (each for each in reversed(deployments[:-1]) if record and _has(each, record))
    version = next((each.version for each in had), now.version if record else "unknown")
    name = f"{_ODD.sub('_', version)}-{run}"
    return Backup(name, version, record.inputs if record else "", now.number, now.statement, declares(objects))


def _has(deployment: Deployment, record: DeployedRelease) -> bool:
    found = deployment.release(record.name)
    return found is not None and same_release(found, record)


def step_of(release: str) -> str:
    """Return the journal's step of a release's backups."""
    return f"{_STEP}{release}"


def backups_of(entries: Iterable[Entry], release: str) -> list[Backup]:
    """Return the backups that ended well, oldest first; what an entry does not say right is none."""
    ended = (each for each in entries if (each.step, each.event) == (step_of(release), "done"))
    return [backup for entry in ended for backup in _parse(entry)]


def _parse(entry: Entry) -> Iterator[Backup]:
    body = entry.info.get("backup")
    if not isinstance(body, Mapping):
        return
    texts = [body.get(name) for name in ("name", "version", "inputs", "statement")]
    number, apart = body.get("deployment"), body.get("apart")
    if all(isinstance(each, str) for each in texts) and type(number) is int and isinstance(apart, bool):
        name, version, inputs, statement = map(str, texts)
        yield Backup(name, version, inputs, number, statement, apart, entry.time)


def since(backups: Sequence[Backup], then: Deployment) -> list[Backup]:
    """Return the backups that were made after a deployment, while it or a later one was up."""
    return [each for each in backups if each.deployment > then.number]


def first_of(backups: Sequence[Backup]) -> Backup:
    """Return the one made when the moment was left after which all of them were made.

    Of those that were made of one and the same state, as by runs that were cut off, it is the last.
    """
    return list(takewhile(lambda each: each.inputs == backups[0].inputs, backups))[-1]


def declares(objects: Iterable[Desired]) -> bool:
    """Tell whether manifests take a backup's name."""
    return any(_is_variable(each) for item in objects for box in _containers(item.body) for each in _env(box))


def named(body: Mapping[str, Any], backup: str) -> dict[str, Any]:
    """Return a Job or Pod with the name of a backup where it takes one."""
    made: dict[str, Any] = deepcopy(dict(body))
    for container in _containers(made):
        for place, each in enumerate(_env(container)):
            if _is_variable(each):
                container["env"][place] = {"name": VARIABLE, "value": backup}
    return made


def _containers(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    spec = body.get("spec")
    if body.get("kind") == "Job" and isinstance(spec, dict):
        template = spec.get("template")
        spec = template.get("spec") if isinstance(template, dict) else None
    elif body.get("kind") != "Pod":
        return
    for name in ("initContainers", "containers"):
        found = spec.get(name) if isinstance(spec, dict) else None
        yield from (each for each in found or () if isinstance(each, dict))


def _env(container: Mapping[str, Any]) -> Sequence[Any]:
    found = container.get("env")
    return found if isinstance(found, list) else ()


def _is_variable(each: object) -> bool:
    return isinstance(each, dict) and each.get("name") == VARIABLE


@dataclass(frozen=True)
class Choice:
    """Which backup is restored.

    Attributes:
        backup: None where none is known.
        warning: why it may not be the right one; empty when it is.
    """

    backup: Backup | None = None
    warning: str = ""


def choose(made: Sequence[Backup], then: Deployment, release: DeployedRelease, *, apart: bool) -> Choice:
    """Choose the backup of the moment that is gone back to, where it is still there, else the newest.

    Args:
        made: since `then`; at least one.
        then: what is gone back to.
        release: as it was up in it.
        apart: whether what restores takes a backup's name.
    """
    right, newest = first_of(made), made[-1]
    found = right if right.apart and apart else newest
    if found.inputs != right.inputs:
        return Choice(
            found,
            f"it is not the one that was made when {then.version} was left: {right} is older, and these manifests keep "
            f"the newest alone, not each by its name ({VARIABLE})",
        )
    if found.inputs != release.inputs:
        return Choice(found, f"no backup was made when {then.version} was left: this is the first one since")
    return Choice(found)
