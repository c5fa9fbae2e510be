"""The fields of a file of knowledge of operators (docs/scan.md, "Operators")."""

from __future__ import annotations

from airbundle.bundle import terms
from airbundle.bundle.fields import Field, Flag, ListOf, Record, Text
from airbundle.bundle.reference import parse_reference
from airbundle.bundle.semver import Constraint
from airbundle.scan.fieldpath import check_path

KIND = "OperatorKnowledge"
VERSION_MARK = "{version}"


def _check_image(text: str) -> None:
    parse_reference(text.replace(VERSION_MARK, "1.0.0"))


def _line(expected: str) -> Text:
    return Text(expected, r"[^\x00-\x1f]+", limit=1024)


_NAME = Text("a name, such as cloudnative-pg", r"[A-Za-z0-9][A-Za-z0-9 ._/-]*", limit=100)
_PATH = Text("a field path, such as spec.image or spec.solvers[].http01", r"\S+", check=check_path, limit=256)
_KEY = Text("a name without spaces", r"[^\s=]+", limit=256)
_RESOURCE = Text(
    "an API group and a kind, such as postgresql.cnpg.io/Cluster", r"[a-z0-9.-]+/[A-Z][A-Za-z0-9]*", limit=256
)
_REPOSITORY = Text(
    "the last parts of a repository, without registry and tag, such as cloudnative-pg/cloudnative-pg",
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*",
    limit=255,
)
_SETTER = Record(
    "what sets an image",
    {
        "field": Field(_PATH, "A field of the custom resource"),
        "flag": Field(_KEY, "An argument of the operator, without its dashes"),
        "env": Field(_KEY, "An environment variable of the operator; also one that a ConfigMap or Secret holds"),
        "config": Field(_KEY, "A key of a ConfigMap or Secret in the operator's namespace"),
        "inside": Field(_PATH, "A path into the YAML that `config` holds"),
        "part": Field(
            terms.one_of("image", "registry", "repository", "tag", "sha"),
            "What it sets: the whole image, as by default, or a part of it",
        ),
    },
    one_of=("field", "flag", "env", "config"),
    goes_with={"inside": ("config",)},
)
_DEFAULT = Record(
    "a default image",
    {
        "versions": Field(
            Text("a range of the operator's versions, such as 1.28.0 - 1.28.1", r"[^\x00-\x1f]+", check=Constraint),
            "Versions of the operator",
            required=True,
        ),
        "image": Field(
            Text(
                "an image; {version} stands for the operator's version without v; no tag where a setter must bring it",
                r"\S+",
                check=_check_image,
                limit=512,
            ),
            "The image that those run",
            required=True,
        ),
    },
)
_IMAGE = Record(
    "an image of an operator",
    {
        "name": Field(_NAME, "What it is, such as PgBouncer", required=True),
        "resources": Field(
            ListOf(_RESOURCE, unique=True), "The custom resources that make the operator run it; none: it always does"
        ),
        "has": Field(ListOf(_PATH, unique=True), "Fields that such a resource must have"),
        "lacks": Field(ListOf(_PATH, unique=True), "Fields that it must not have"),
        "set": Field(ListOf(_SETTER), "What sets the image in place of the default; the first that is there wins"),
        "defaults": Field(ListOf(_DEFAULT), "The images that are compiled in"),
        "certain": Field(Flag(), "false: whether it runs depends on what no render says"),
        "source": Field(_line("a file and a name in it"), "Where that is written in the operator's source"),
        "note": Field(_line("one line of text"), "What a reader should know"),
    },
)
_OPERATOR = Record(
    "an operator",
    {
        "name": Field(_NAME, "The operator's name", required=True),
        "repositories": Field(
            ListOf(_REPOSITORY, unique=True, least=1),
            "The last parts of its own image's repository; registry and what mirrors put before don't matter",
            required=True,
        ),
        "arguments": Field(
            ListOf(_line("an argument"), unique=True), "Arguments that its container must have to be the operator"
        ),
        "images": Field(ListOf(_IMAGE), "The images that it runs; none: it is known to run none"),
        "source": Field(_line("a repository"), "Its source"),
        "note": Field(_line("one line of text"), "What a reader should know"),
    },
)
DOCUMENT = Record(
    "knowledge of operators",
    {
        "apiVersion": Field(terms.one_of(terms.API_VERSION), "The form of this document", required=True),
        "kind": Field(terms.one_of(KIND), "What this document is", required=True),
        "operators": Field(ListOf(_OPERATOR), "The operators", required=True),
    },
)
