"""Plain manifests and kustomizations of an inventory, as renders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airbundle.builder.render_kustomize import has_kustomization, is_kustomization, kustomize
from airbundle.bundle.release import Release
from airbundle.bundle.site import SiteValue
from airbundle.bundle.template import used_names
from airbundle.bundle.template_yaml import fill_yaml
from airbundle.errors import AirbundleError, DocumentError, Finding, HostError, Interrupted
from airbundle.scan.model import Origin, Rendering
from airbundle.store.host import read_bounded
from airbundle.store.inventory_dir import InventoryDir

FILE_LIMIT = 32 * 1024 * 1024
TOTAL_LIMIT = 256 * 1024 * 1024
"""Most bytes of one manifest, and of all manifests of an entry."""
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Setting:
    """What fills `{{ site.NAME }}` in: the placeholders, or a site.

    Attributes:
        variant: see `Origin`.
    """

    variant: str
    names: Mapping[str, SiteValue]


def read_manifests(
    opened: InventoryDir, path: str, release: Release | None, settings: Sequence[Setting], *, where: str
) -> tuple[list[Rendering], list[Finding]]:
    """Return each manifest at or below a path; with each setting where the names of the site stand in it.

    Args:
        opened: the inventory.
        path: of a file or a directory in it; one with a kustomization is built.
        release: how they are applied.
        settings: the first one counts for files that are the same at each site.
        where: the place that names the path.
    """
    findings: list[Finding] = []
    renderings: list[Rendering] = []
    try:
        for name, raw in _texts(opened, path, where, findings):
            renderings += _filled(name, raw, release, settings, findings)
    except Interrupted:
        raise
    except HostError as error:
        findings.append(Finding(error.problem, where, "manifest", hint=error.hint))
    except AirbundleError as error:
        findings += error.findings or [Finding(error.problem, where, "manifest", hint=error.hint)]
    return renderings, findings


def _texts(opened: InventoryDir, path: str, where: str, findings: list[Finding]) -> Iterator[tuple[str, bytes]]:
    files = dict(opened.files(path, where=where, odd=findings))
    if has_kustomization(files):
        built, about = kustomize(opened, path, where=where)
        findings += about
        if built is not None:
            yield path, built
            return
    left = TOTAL_LIMIT
    for name, real in files.items():
        if name and (not name.endswith(SUFFIXES) or _is_hidden(name) or is_kustomization(name)):
            continue
        raw = _read(real, f"{path}/{name}" if name else path, where, findings)
        left -= len(raw)
        if left < 0:
            message = f"{path} holds more than the {TOTAL_LIMIT} bytes of manifests that are read"
            findings.append(Finding(message, where, "manifest"))
            return
        yield (f"{path}/{name}" if name else path), raw


def _read(real: Path, name: str, where: str, findings: list[Finding]) -> bytes:
    try:
        return read_bounded(real, FILE_LIMIT)
    except Interrupted:
        raise
    except AirbundleError as error:
        findings.append(Finding(f"{name}: {error.problem}", where, "manifest", hint=error.hint))
        return b""


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _filled(
    name: str, raw: bytes, release: Release | None, settings: Sequence[Setting], findings: list[Finding]
) -> Iterator[Rendering]:
    """Yield a manifest as each site has it."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:  # whoever reads the objects tells it
        text = ""
    wanted = settings if any(used_names(text)) else settings[:1]
    for setting in wanted:
        try:
            output = fill_yaml(text, setting.names, name).encode() if text else raw
        except DocumentError as error:
            findings += error.findings
            continue
        release_name, namespace = (release.name, release.namespace) if release else ("", "")
        yield Rendering(Origin(name, release_name, namespace, setting.variant), output)
