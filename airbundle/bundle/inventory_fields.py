"""The fields of `bundle.yaml`, and how they become an `Inventory`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from airbundle.bundle import terms
from airbundle.bundle.fields import Field, Flag, ListOf, Reading, Record, Text, Values, When
from airbundle.bundle.image_source import ImageSource, check_image_source, check_target, parse_image_source
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
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.release import RELEASE, check_releases, read_release
from airbundle.bundle.terms import normal_path
from airbundle.bundle.yamldoc import load
from airbundle.errors import UsageError

_PLATFORMS = ListOf(terms.PLATFORM, unique=True, least=1)
_IMAGE = Record(
    "an image",
    {
        "ref": Field(
            Text(
                "an image reference, such as docker.io/library/redis:7.2, or docker-daemon:NAME, oci:DIR:REF, "
                "oci-archive:FILE:REF, docker-archive:FILE:REF",
                r"\S+",
                check=check_image_source,
                limit=1024,
            ),
            "Where the image comes from",
            required=True,
        ),
        "as": Field(
            Text("an image name with a tag, such as internal/myapp:dev", r"\S+", check=check_target, limit=512),
            "The image's name in the bundle, where it isn't that of its source",
        ),
        "platforms": Field(_PLATFORMS, "The platforms to carry of a multi-platform image; else those of the bundle"),
        "sparse": Field(
            Flag(),
            "false: carry all platforms of the index, for registries that refuse an index whose children are missing",
        ),
    },
    shorthand="ref",
)
_CHART = Record(
    "a chart",
    {
        "name": Field(terms.CHART_NAME, "The chart's name", required=True),
        "repo": Field(terms.CHART_REPOSITORY, "The chart repository: http(s):// or oci://, without the chart's name"),
        "path": Field(terms.INSIDE_PATH, "A chart's directory or .tgz below the inventory"),
        "version": Field(terms.CHART_VERSION, "A version or a range; a range resolves once, when the bundle is locked"),
        "release": Field(RELEASE, "How the chart is deployed at the site; without it the chart is only carried"),
    },
    one_of=("repo", "path"),
    goes_with={"repo": ("version",)},
)
_MANIFESTS = Record(
    "manifests",
    {
        "path": Field(terms.INSIDE_PATH, "A manifest or a directory of manifests below the inventory", required=True),
        "release": Field(RELEASE, "How they are applied at the site"),
    },
    shorthand="path",
)
_DATABASE = Text("a database's name, such as daily", r"[A-Za-z0-9][A-Za-z0-9_-]*", limit=64)
_CLAMAV = Record(
    "clamav",
    {
        "source": Field(
            terms.ANY_PATH,
            "cvdupdate, which downloads the official databases, or a directory of .cvd, .cld, .cdiff and .sign files",
            required=True,
        ),
        "databases": Field(
            ListOf(_DATABASE, unique=True), "The databases that must be there; main, daily and bytecode by default"
        ),
        "custom": Field(
            ListOf(terms.INSIDE_PATH, unique=True),
            "Signature files of your own (.ndb, .hdb, .yar, …) below the inventory",
        ),
    },
)
_FILE = Record(
    "a file",
    {
        "url": Field(terms.URL, "Where the file is downloaded from"),
        "path": Field(terms.INSIDE_PATH, "A file below the inventory"),
        "sha256": Field(terms.SHA256, "The digest of the file; with `url` it is needed"),
        "name": Field(terms.FILE_NAME, "The file's name at the site; by default the last part of its URL or path"),
    },
    one_of=("url", "path"),
    goes_with={"url": ("sha256",)},
)
_CA = Record(
    "ca",
    {
        "mode": Field(
            terms.one_of("site", "bundled", "external"),
            "site: made at the site, where its key stays; bundled: certificate and encrypted key travel along; "
            "external: the site asks another CA",
            required=True,
        ),
        "cert": Field(terms.INSIDE_PATH, "bundled: the CA's certificate, a PEM file below the inventory"),
        "key": Field(terms.INSIDE_PATH, "bundled: the CA's encrypted private key, a PEM file below the inventory"),
        "permitted": Field(ListOf(terms.PERMITTED, unique=True), "Names and networks that the CA may vouch for"),
    },
    whens=(
        When("mode", "bundled", needs=("cert", "key")),
        When("mode", "site", excludes=("cert", "key")),
        When("mode", "external", excludes=("cert", "key")),
    ),
)
BUNDLE = Record(
    "the inventory",
    {
        "apiVersion": Field(terms.one_of(terms.API_VERSION), "The form of this document", required=True),
        "kind": Field(terms.one_of("Bundle"), "Bundle", required=True),
        "metadata": Field(
            Record(
                "metadata",
                {
                    "name": Field(terms.dns_label("the bundle's name"), "The bundle's name", required=True),
                    "version": Field(terms.VERSION, "The bundle's version", required=True),
                },
            ),
            "Name and version: the bundle is the file NAME-VERSION.airbundle",
            required=True,
        ),
        "expires": Field(terms.EXPIRES, "When sites stop to install it: 90d, a date, or never (the default)"),
        "platforms": Field(_PLATFORMS, "The platforms to carry; linux/amd64 by default"),
        "kubernetes": Field(
            Record(
                "kubernetes",
                {
                    "version": Field(terms.KUBERNETES_VERSION, "The cluster's version"),
                    "apiVersions": Field(
                        ListOf(terms.API_GROUP_VERSION, unique=True), "API versions that the cluster has beside its own"
                    ),
                },
            ),
            "The cluster that charts are rendered for",
        ),
        "images": Field(ListOf(_IMAGE), "Container images"),
        "charts": Field(ListOf(_CHART), "Helm charts"),
        "manifests": Field(ListOf(_MANIFESTS), "Kubernetes manifests of your own"),
        "clamav": Field(_CLAMAV, "ClamAV databases"),
        "files": Field(ListOf(_FILE), "Other files"),
        "ca": Field(_CA, "The site's internal CA"),
    },
)


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
        kubernetes=_kubernetes(top.record("kubernetes")),
        where=where,
    )
    _refuse_doubles(inventory, reading)
    check_releases(inventory.releases, reading)
    reading.finish("docs/inventory.md explains each field; `airbundle schema bundle` is for editors")
    return inventory


_T = TypeVar("_T")


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


def _kubernetes(values: Values | None) -> KubernetesTarget:
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


def _doubles(named: Iterable[tuple[str, str]], message: str, reading: Reading, *, hint: str = "") -> None:
    seen: dict[str, str] = {}
    for name, where in named:
        first = seen.setdefault(name, where)
        if first != where:
            reading.wrong(message.format(name), where, code="double", found=f"the first at {first}", hint=hint)
