"""Step `secrets`: the Secrets that releases need are there before these are deployed (docs/deploy.md).

A value is made once. Keys that are there are never changed, so that a second run, a new bundle or a cut-off run change
nothing; keys that are missing are added. Values go from their source to the cluster's API, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airbundle.bundle.site import SiteSecret
from airbundle.deploy.secret_values import (
    VALUE_LIMIT,
    missing_keys,
    new_secret,
    parse_source,
    random_value,
    secret_key,
    told_keys,
    with_values,
)
from airbundle.errors import AirbundleError, CheckFailed, Conflict, Finding, Unauthorized
from airbundle.installer.site.put import ensure_namespaces
from airbundle.installer.site.step import Change, SiteRun
from airbundle.progress import Phase
from airbundle.store.host import read_bounded

NAME = "secrets"
Prompt = Callable[[str], str]
"""Asks a person for a value without showing it; an empty answer is none."""
_ATTEMPTS = 5


class SecretValues:
    """Gives each value once: what is asked for again is the same, so that a lost answer of the API does no harm."""

    def __init__(self, root: Path, prompt: Prompt | None = None, environ: Mapping[str, str] = os.environ) -> None:
        """Name the sources.

        Args:
            root: the directory of the site file.
            prompt: asks a person; None where nobody can be asked.
            environ: the environment.
        """
        self._root = root
        self._prompt = prompt
        self._environ = environ
        self._made: dict[tuple[str, str, str], bytes] = {}

    def problem(self, secret: SiteSecret, key: str) -> Finding | None:
        """Return why a value can't be had; None where it can. Asks nobody."""
        source = parse_source(secret.keys[key])
        where = f"{secret.where} {key}"
        if source.kind == "env" and not self._environ.get(source.argument):
            return Finding(
                f"the environment has no {source.argument}", where, "secret", hint="set it, also through sudo"
            )
        if source.kind == "prompt" and self._prompt is None:
            hint = "run at a terminal, or write env:NAME or file:PATH"
            return Finding("nobody can be asked for this value", where, "secret", hint=hint)
        if source.kind == "file":
            try:
                if not read_bounded(self._root / source.argument, VALUE_LIMIT):
                    return Finding(f"{source.argument} is empty", where, "secret")
            except AirbundleError as error:
                return Finding(error.problem, where, "secret", hint=error.hint)
        return None

    def get(self, secret: SiteSecret, key: str) -> bytes:
        """Return a value, made or asked for when it is wanted for the first time.

        Raises:
            CheckFailed: it can't be had.
        """
        name = (secret.namespace, secret.name, key)
        if name not in self._made:
            problem = self.problem(secret, key)
            if problem is not None:
                raise CheckFailed(f"Secret {secret.namespace}/{secret.name} can't be made", findings=[problem])
            self._made[name] = self._make(secret, key)
        return self._made[name]

    def _make(self, secret: SiteSecret, key: str) -> bytes:
        source = parse_source(secret.keys[key])
        if source.kind == "random":
            return random_value(source)
        if source.kind == "env":
            return self._environ[source.argument].encode()
        if source.kind == "file":
            return read_bounded(self._root / source.argument, VALUE_LIMIT)
        assert self._prompt is not None  # noqa: S101 - `problem` found nothing
        value = self._prompt(f"{key} of Secret {secret.namespace}/{secret.name}")
        if not value:
            raise CheckFailed(f"Secret {secret.namespace}/{secret.name}: {key} was left empty", hint="run again")
        return value.encode()


class SecretsStep:
    """The step. `gather` asks for what a person has to type, before anything changes."""

    name = NAME
    needs: tuple[str, ...] = ()

    def __init__(self, run: SiteRun, values: SecretValues, namespaces: Mapping[str, Mapping[str, Any]]) -> None:
        self._run = run
        self._values = values
        self._namespaces = namespaces

    def findings(self) -> list[Finding]:
        """Return why missing values can't be had, all at once, or that this user may not look."""
        try:
            missing = self._missing()
        except Unauthorized as error:
            return [Finding(error.problem, "site.yaml secrets", "secret", hint=error.hint)]
        found = [self._values.problem(secret, key) for secret, key in missing]
        return [finding for finding in found if finding is not None]

    def gather(self) -> None:
        """Have all missing values at hand; people are asked now.

        Raises:
            CheckFailed: one can't be had.
        """
        for secret, key in self._missing():
            self._values.get(secret, key)

    def plan(self) -> Sequence[Change]:
        """Return the Secrets that are made, and those that get keys; of keys only the names."""
        changes = []
        for secret in self._run.site.site.secrets:
            live = self._run.cluster.get(secret_key(secret))
            keys = missing_keys(secret, live)
            if keys or live is None:
                what = secret_key(secret).title
                changes.append(Change(what, "create" if live is None else "change", told_keys(secret, keys)))
        return changes

    def run(self, _phase: Phase) -> bool:
        """Make what is missing."""
        changed = [self._ensure(secret) for secret in self._run.site.site.secrets]
        return any(changed)

    def _missing(self) -> list[tuple[SiteSecret, str]]:
        cluster = self._run.cluster
        secrets = self._run.site.site.secrets
        return [(each, key) for each in secrets for key in missing_keys(each, cluster.get(secret_key(each)))]

    def _ensure(self, secret: SiteSecret) -> bool:
        for attempt in range(_ATTEMPTS):
            live = self._run.cluster.get(secret_key(secret))
            keys = missing_keys(secret, live)
            if live is not None and not keys:
                # One that this run made, and whose answer was lost, is found here on the second look.
                return attempt > 0
            values = {key: self._values.get(secret, key) for key in keys}
            try:
                if live is None:
                    self._create(secret, values)
                else:
                    self._run.journal.note(NAME, info={"secret": str(secret_key(secret)), "keys": keys})
                    self._run.cluster.replace(with_values(live, values))
            except Conflict:
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                return True
        return False

    def _create(self, secret: SiteSecret, values: Mapping[str, bytes]) -> None:
        ensure_namespaces(self._run, NAME, {secret.namespace: self._namespaces.get(secret.namespace, {})})
        self._run.journal.note(NAME, undo=[{"object": str(secret_key(secret))}])
        self._run.cluster.create(new_secret(secret, values))


def secrets_step(
    run: SiteRun, prompt: Prompt | None = None, namespaces: Mapping[str, Mapping[str, Any]] | None = None
) -> SecretsStep:
    """Return the step.

    Args:
        run: what the steps share.
        prompt: asks a person for a value; None where nobody can be asked.
        namespaces: the metadata that a namespace has to get where it isn't there yet (`deploy.brings.namespaces_of`).
    """
    return SecretsStep(run, SecretValues(run.site.root, prompt), namespaces or {})
