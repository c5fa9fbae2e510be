"""The fields of `bundle.yaml` (design §8)."""

from __future__ import annotations

from airbundle.bundle import terms
from airbundle.bundle.fields import Field, Flag, ListOf, MapOf, Record, Text, When
from airbundle.bundle.image_source import check_image_source, check_target
from airbundle.bundle.own_name_fields import OWN_NAMES
from airbundle.bundle.release import RELEASE

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
_VARIANT = terms.dns_label("a variant's name")
_CHART = Record(
    "a chart",
    {
        "name": Field(terms.CHART_NAME, "The chart's name", required=True),
        "repo": Field(terms.CHART_REPOSITORY, "The chart repository: http(s):// or oci://, without the chart's name"),
        "path": Field(terms.INSIDE_PATH, "A chart's directory or .tgz below the inventory"),
        "version": Field(terms.CHART_VERSION, "A version or a range; a range resolves once, when the bundle is locked"),
        "release": Field(RELEASE, "How the chart is deployed at the site; without it the chart is only carried"),
        "variants": Field(
            MapOf(_VARIANT, ListOf(terms.INSIDE_PATH, least=1, single=True)),
            "Further value sets that sites may use: name → values files, laid over those of the release; the images "
            "of all of them are looked for",
        ),
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
KUBERNETES = Record(
    "kubernetes",
    {
        "version": Field(terms.KUBERNETES_VERSION, "The cluster's version"),
        "apiVersions": Field(
            ListOf(terms.API_GROUP_VERSION, unique=True), "API versions that the cluster has beside its own"
        ),
    },
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
        "kubernetes": Field(KUBERNETES, "The cluster that charts are rendered for"),
        "site": Field(OWN_NAMES, "What values ask of each site as {{ site.NAME }}, beside what every bundle knows"),
        "images": Field(ListOf(_IMAGE), "Container images"),
        "charts": Field(ListOf(_CHART), "Helm charts"),
        "manifests": Field(ListOf(_MANIFESTS), "Kubernetes manifests of your own"),
        "clamav": Field(_CLAMAV, "ClamAV databases"),
        "operators": Field(
            ListOf(terms.INSIDE_PATH, unique=True),
            "Files that say which images operators run by themselves, beside what airbundle knows",
        ),
        "files": Field(ListOf(_FILE), "Other files"),
        "ca": Field(_CA, "The site's internal CA"),
    },
)
