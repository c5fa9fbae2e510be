"""Reading knowledge of operators: everything wrong at once; own entries laid over airbundle's."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.schema import document_schema, published
from airbundle.bundle.semver import parse_version
from airbundle.errors import DocumentError
from airbundle.scan.knowledge import Default, Knowledge, Setter, parse_knowledge
from airbundle.scan.knowledge_fields import DOCUMENT

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "operators.json"
HEAD = "apiVersion: airbundle.dev/v1\nkind: OperatorKnowledge\noperators:\n"
ENTRY = """\
  - name: brewer
    repositories: [example/brewer]
    images:
      - name: kettle
        resources: [brew.example.org/Beer]
        has: [spec.hot]
        set:
          - field: spec.image
          - {flag: kettle-base, part: repository}
          - {config: config.yaml, inside: kettle.image}
        defaults:
          - versions: 2.0.0 - 2.1.3 || 3.0.0
            image: example/kettle:2
          - versions: 1.x
            image: example/kettle:v{version}
        source: pkg/kettle.go defaultKettle
"""


def knowledge(text: str) -> Knowledge:
    return parse_knowledge((HEAD + text).encode(), "operators.yaml")


def wrong(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        knowledge(text)
    return [str(finding) for finding in caught.value.findings]


def test_an_entry_is_read_whole() -> None:
    (operator,) = knowledge(ENTRY).operators
    (image,) = operator.images
    assert operator.repositories == ("example/brewer",)
    assert (image.name, image.resources, image.has) == ("kettle", ("brew.example.org/Beer",), ("spec.hot",))
    assert image.setters == (
        Setter("field", "spec.image"),
        Setter("flag", "kettle-base", "repository"),
        Setter("config", "config.yaml", inside="kettle.image"),
    )
    assert image.certain


@pytest.mark.parametrize(
    ("version", "image"),
    [
        ("2.0.0", "example/kettle:2"),
        ("2.1.3", "example/kettle:2"),
        ("3.0.0", "example/kettle:2"),
        ("1.4.0", "example/kettle:v1.4.0"),
        ("2.1.4", ""),
        ("3.0.1", ""),
    ],
)
def test_ranges(version: str, image: str) -> None:
    added = knowledge(ENTRY).operators[0].images[0]
    parsed = parse_version(version)
    default = added.default_for(parsed)
    assert (default.of(parsed) if default else "") == image


@pytest.mark.parametrize(
    ("version", "versions"), [("2.5.0", "2.0.0"), ("9.0.0", "2.0.0"), ("0.9.0", "1.x"), ("", "2.0.0")]
)
def test_the_nearest_is_the_closest_older_one(version: str, versions: str) -> None:
    nearest = knowledge(ENTRY).operators[0].images[0].nearest(parse_version(version) if version else None)
    assert nearest is not None
    assert nearest.versions.startswith(versions)


def test_an_image_of_the_operators_version_takes_a_version() -> None:
    assert Default("1.x", "example/kettle:v{version}").of(None) == ""
    assert Default("1.x", "example/kettle:1").of(None) == "example/kettle:1"


def test_everything_wrong_is_told_at_once() -> None:
    found = wrong(
        """\
  - name: brewer
    repositories: [example/Brewer]
    images:
      - name: kettle
        resources: [Beer]
        defaults: [{versions: newest, image: "example/Kettle:1"}]
      - name: spoon
      - name: tap
        set: [{field: spec.x, env: X}, {env: Y, inside: a.b}, {env: Z, part: half}]
  - name: baker
    image: example/baker
"""
    )
    for part in (
        "'example/Brewer'",
        "'Beer'",
        "version range 'newest'",
        "'example/Kettle' is no repository",
        "spoon",
        "field and env",
        "'config'",
        "'half'",
        "unknown field 'image'",
        "lacks 'repositories'",
    ):
        assert part == "spoon" or any(part in line for line in found), (part, found)


def test_an_image_needs_a_default_or_what_sets_it() -> None:
    (found,) = wrong("  - name: a\n    repositories: [a/a]\n    images: [{name: spoon}]\n")
    assert "neither a default nor what sets the image" in found
    assert found.startswith("operators.yaml:6 ")


def test_doubles_are_refused() -> None:
    (found,) = wrong(ENTRY + ENTRY)
    assert "'brewer' twice" in found
    twice = "      - {name: k, set: [{env: A}]}\n"
    (found,) = wrong(f"  - name: a\n    repositories: [a/a]\n    images:\n{twice}{twice}")
    assert "'k' twice" in found


def test_own_entries_win_and_leave_the_rest() -> None:
    own = knowledge(
        """\
  - name: brewer
    repositories: [mirror/our-brewer]
    images:
      - name: kettle
        set: [{env: KETTLE}]
        defaults: [{versions: 2.1.0 - 2.2.0, image: "ours/kettle:2"}]
  - name: baker
    repositories: [example/baker]
"""
    )
    brewer, baker = own.over(knowledge(ENTRY)).operators
    assert baker.name == "baker"
    assert brewer.repositories == ("mirror/our-brewer", "example/brewer")
    (kettle,) = brewer.images
    assert kettle.resources == ("brew.example.org/Beer",)
    assert kettle.setters == (Setter("env", "KETTLE"),)
    images = {version: kettle.default_for(parse_version(version)) for version in ("2.0.0", "2.1.0", "2.2.0", "3.0.0")}
    assert [default.image if default else "" for default in images.values()] == [
        "example/kettle:2",
        "ours/kettle:2",
        "ours/kettle:2",
        "example/kettle:2",
    ]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_knowledge(text.encode("utf-8", "replace"), "operators.yaml")
    except DocumentError:
        pass


def test_the_published_schema_is_the_current_one_and_takes_a_file() -> None:
    schema = document_schema("operators", DOCUMENT)
    assert PUBLISHED.read_text() == published(schema), "airbundle schema operators > docs/schema/operators.json"
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(HEAD + ENTRY))
    assert not validator.is_valid(yaml.safe_load(HEAD + ENTRY.replace("flag: kettle-base", "flag: a, env: A")))
