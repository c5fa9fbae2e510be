"""How a read `bundle.yaml` becomes an `Inventory`, with the checks that look at more than one field."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from airbundle.bundle import terms
from airbundle.bundle.image_source import ImageSource, parse_image_source
from airbundle.bundle.inventory import (
    CVDUPDATE,
    DEFAULT_DATABASES,
    DEFAULT_PLATFORMS,
    CaRequest,
    ChartRequest,
    ClamavRequest,
    FileRequest,
    ImageRequest,
    Inventory,
    KubernetesTarget,
    ManifestRequest,
)
from airbundle.bundle.inventory_fields import BUNDLE
from airbundle.bundle.own_name_fields import read_own_names
from airbundle.bundle.own_names import samples
from airbundle.bundle.reading import Reading, Values
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.release import check_releases, read_release
from airbundle.bundle.template import placeholders, refuse_unknown
from airbundle.bundle.terms import normal_path
from airbundle.bundle.yamldoc import load
from airbundle.errors import DocumentError, UsageError

_T = TypeVar("_T")


def read_inventory(raw: bytes, where: str) -> Inventory:
    """Read `bundle.yaml`. Raises DocumentError with every finding."""
    reading = Reading(load(raw, where=where))
    top = reading.record(BUNDLE)
    metadata = top.record("metadata")
    platforms = top.texts("platforms") or DEFAULT_PLATFORMS
    inventory = Inventory(
        name=metadata.text("name") if metadata else "",
        version=metadata.text("version") if metadata else "",
        expires=top.text("expires", "never"),
        platforms=platforms,
        images=_kept(_image(values, platforms, reading) for values in top.records("images")),
        charts=tuple(_chart(values) for values in top.records("charts")),
        manifests=tuple(_manifest(values) for values in top.records("manifests")),
        files=_kept(_file(values, reading) for values in top.records("files")),
        clamav=_clamav(top.record("clamav")),
        ca=_ca(top.record("ca")),
        kubernetes=read_kubernetes(top.record("kubernetes")),
        operators=tuple(map(normal_path, top.texts("operators"))),
        site=read_own_names(top.mapping("site")),
        where=where,
    )
    _refuse_doubles(inventory, reading)
    check_releases(inventory.releases, reading)
    _refuse_unknown_names(inventory, reading)
    reading.finish("docs/inventory.md explains each field; `airbundle schema bundle` is for editors")
    return inventory


def _kept(found: Iterable[_T | None]) -> tuple[_T, ...]:
    return tuple(item for item in found if item is not None)


def _image(values: Values, default: tuple[str, ...], reading: Reading) -> ImageRequest | None:
    source = parse_image_source(values.text("ref"))
    target = _target(values, source, reading)
    platforms = values.texts("platforms")
    if not values.flag("sparse", True):
        if platforms:
            where = values.place("platforms")
            reading.wrong("sparse: false carries all platforms", where, hint="leave out either sparse or platforms")
        platforms = ()
    else:
        platforms = platforms or default
    if target is None:
        return None
    return ImageRequest(values.text("ref"), source, target, platforms, values.where)


def _target(values: Values, source: ImageSource, reading: Reading) -> Reference | None:
    if "as" in values:
        return parse_reference(values.text("as"))
    try:
        name = source.own_name
    except UsageError as error:
        reading.wrong(
            error.problem, values.place("ref"), hint=f"give the image a name with `as`; {error.hint}".strip("; ")
        )
        return None
    if name is None:
        reading.wrong(
            "the image has no name of its own",
            values.place("ref"),
            found=repr(values.text("ref")),
            expected="`as` with the name it shall have, such as internal/myapp:dev",
        )
    return name


def _chart(values: Values) -> ChartRequest:
    path = values.text("path")
    return ChartRequest(
        name=values.text("name"),
        repo=values.text("repo"),
        path=normal_path(path) if path else "",
        version=values.text("version"),
        release=read_release(values.record("release")),
        variants={name: tuple(map(normal_path, paths)) for name, paths in values.mapping("variants").items()},
        where=values.where,
    )


def _manifest(values: Values) -> ManifestRequest:
    return ManifestRequest(normal_path(values.text("path")), read_release(values.record("release")), values.where)


def _file(values: Values, reading: Reading) -> FileRequest | None:
    url, path, digest = values.text("url"), values.text("path"), values.text("sha256")
    name = values.text("name") or _last_part(url, path)
    if not re.fullmatch(terms.FILE_NAME.pattern, name):
        place = values.place("url" if url else "path")
        reading.wrong("the file has no plain name of its own", place, found=repr(name), expected="`name` with one")
        return None
    if digest and not digest.startswith("sha256:"):
        digest = f"sha256:{digest}"
    return FileRequest(name, url, normal_path(path) if path else "", digest, values.where)


def _last_part(url: str, path: str) -> str:
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1]) if url else normal_path(path).rsplit("/", 1)[-1]


def _clamav(values: Values | None) -> ClamavRequest | None:
    if values is None:
        return None
    source = values.text("source")
    if source != CVDUPDATE:
        source = normal_path(source)
    databases = values.texts("databases") if "databases" in values else DEFAULT_DATABASES
    custom = tuple(map(normal_path, values.texts("custom")))
    return ClamavRequest(source, databases, custom, values.where)


def _ca(values: Values | None) -> CaRequest:
    if values is None:
        return CaRequest()
    cert, key = (normal_path(text) if text else "" for text in (values.text("cert"), values.text("key")))
    return CaRequest(values.text("mode", "site"), cert, key, values.texts("permitted"), values.where)


def read_kubernetes(values: Values | None) -> KubernetesTarget:
    """Turn a read record into the cluster that charts are rendered for."""
    if values is None:
        return KubernetesTarget()
    return KubernetesTarget(values.text("version"), values.texts("apiVersions"))


def _refuse_doubles(inventory: Inventory, reading: Reading) -> None:
    """Report what stands twice, also when it is spelled in two ways."""
    images = ((image.target.full_name, image.where) for image in inventory.images)
    _doubles(images, "the image {} is asked for twice", reading)
    charts = ((" ".join([*chart.identity, chart.version]), chart.where) for chart in inventory.charts)
    _doubles(charts, "the chart {} is asked for twice", reading)
    files = ((file.name, file.where) for file in inventory.files)
    _doubles(files, "two files are called {} at the site", reading, hint="give one of them another `name`")


def _refuse_unknown_names(inventory: Inventory, reading: Reading) -> None:
    """Report names of the site that checks of releases ask for and nobody knows."""
    known = samples(inventory.site)
    for check in (check for release in inventory.releases for check in release.checks):
        for text in check.texts():
            try:
                refuse_unknown(placeholders(text), known, check.where)
            except DocumentError as error:
                for found in error.findings:
                    reading.wrong(found.message, check.where, expected=found.expected, hint=found.hint)


def _doubles(named: Iterable[tuple[str, str]], message: str, reading: Reading, *, hint: str = "") -> None:
    seen: dict[str, str] = {}
    for name, where in named:
        first = seen.setdefault(name, where)
        if first != where:
            reading.wrong(message.format(name), where, code="double", found=f"the first at {first}", hint=hint)
