from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.fields import AnyScalar, Flag, ListOf, MapOf, Record, Spec, Text
from airbundle.bundle.inventory import parse_inventory
from airbundle.bundle.inventory_fields import BUNDLE
from airbundle.bundle.schema import json_schema, published
from airbundle.bundle.site import parse_site
from airbundle.bundle.site_fields import SITE
from airbundle.errors import DocumentError
from tests.bundle.documents import bundle_body, site_body, to_yaml

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema"
PARSERS: dict[str, Callable[[bytes], object]] = {"bundle": parse_inventory, "site": parse_site}
COMPLETE: dict[str, Callable[[], dict[str, Any]]] = {"bundle": bundle_body, "site": site_body}
RECORDS = {"bundle": BUNDLE, "site": SITE}
KINDS = sorted(PARSERS)
VALIDATORS = {kind: jsonschema.Draft202012Validator(json_schema(kind)) for kind in KINDS}


def accepts(kind: str, body: object) -> bool:
    try:
        PARSERS[kind](to_yaml(body))
    except DocumentError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_the_current_one(kind: str) -> None:
    written = (PUBLISHED / f"{kind}.json").read_text(encoding="utf-8")
    assert written == published(json_schema(kind)), f"write it again: airbundle schema {kind} > docs/schema/{kind}.json"


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_document_is_valid_by_both(kind: str) -> None:
    body = COMPLETE[kind]()
    assert accepts(kind, body)
    VALIDATORS[kind].validate(body)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_explains_itself(kind: str) -> None:
    def check(spec: Spec, path: str) -> None:
        if isinstance(spec, Record):
            for name, field in spec.fields.items():
                assert field.doc, f"{path}.{name}"
                check(field.spec, f"{path}.{name}")
        elif isinstance(spec, ListOf):
            check(spec.item, f"{path}[]")
        elif isinstance(spec, MapOf):
            check(spec.value, f"{path}.*")

    check(RECORDS[kind], kind)


def _places(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value in a document."""
    found = [path] if path else []
    if isinstance(body, dict):
        children: list[tuple[Any, Any]] = list(body.items())
    else:
        children = list(enumerate(body)) if isinstance(body, list) else []
    for key, value in children:
        found += _places(value, (*path, key))
    return found


def _parent(body: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        body = body[key]
    return body


WRONG: st.SearchStrategy[Any] = st.sampled_from(
    [5, -1, True, "", "  ", "x" * 5000, [], {}, [[]], {"x": 1}, None, "A B", "/x", 1.5]
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_the_schema_refuses_airbundle_refuses(kind: str, data: st.DataObject) -> None:
    body = COMPLETE[kind]()
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_places(body)))
        parent = _parent(body, path)
        action = data.draw(st.sampled_from(["replace", "drop", "add"]))
        if action == "drop":
            del parent[path[-1]]
        elif action == "add" and isinstance(parent, dict):
            parent[data.draw(st.sampled_from(["nonsense", "ref", "mode", "url", "path"]))] = copy.deepcopy(
                data.draw(WRONG)
            )
        else:
            parent[path[-1]] = copy.deepcopy(data.draw(WRONG))
        if not _places(body):
            break
    if not VALIDATORS[kind].is_valid(body):
        assert not accepts(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_both_refuse_every_value_of_a_wrong_type_and_every_unknown_field(kind: str) -> None:
    for path in _places(COMPLETE[kind]()):
        body = COMPLETE[kind]()
        parent = _parent(body, path)
        original = parent[path[-1]]
        parent[path[-1]] = [original] if isinstance(original, dict) else {"nonsense": original}
        agreed = (accepts(kind, body), VALIDATORS[kind].is_valid(body))
        # Free names (`values`, `records`) take a mapping with any key; all else refuses it.
        assert agreed in [(False, False), (True, True)], path
        if isinstance(original, dict):
            body = COMPLETE[kind]()
            _parent(body, path)[path[-1]]["Non Sense"] = "x"
            assert (accepts(kind, body), VALIDATORS[kind].is_valid(body)) == (False, False), path


@pytest.mark.parametrize("kind", KINDS)
def test_both_refuse_a_document_without_what_it_must_have(kind: str) -> None:
    for name in ("apiVersion", "kind", "metadata"):
        body = COMPLETE[kind]()
        del body[name]
        assert (accepts(kind, body), VALIDATORS[kind].is_valid(body)) == (False, False)


def _documents(spec: Spec) -> st.SearchStrategy[Any]:
    """Return documents by the description of the fields alone; conditions between fields may still refuse them."""
    if isinstance(spec, Record):
        required = {name: _documents(field.spec) for name, field in spec.fields.items() if field.required}
        optional = {name: _documents(field.spec) for name, field in spec.fields.items() if not field.required}
        whole = st.fixed_dictionaries(required, optional=optional)
        return whole | _documents(spec.fields[spec.shorthand].spec) if spec.shorthand else whole
    if isinstance(spec, ListOf):
        items = st.lists(_documents(spec.item), min_size=spec.least, max_size=2)
        return items | _documents(spec.item) if spec.single else items
    if isinstance(spec, MapOf):
        return st.dictionaries(_documents(spec.key), _documents(spec.value), max_size=2)
    if isinstance(spec, Text):
        if spec.choices:
            return st.sampled_from(spec.choices)
        return st.from_regex(spec.pattern, fullmatch=True) if spec.pattern else st.sampled_from(["a", "a/b.yaml"])
    if isinstance(spec, Flag):
        return st.booleans()
    if isinstance(spec, AnyScalar):
        return st.text(max_size=9) | st.booleans() | st.integers() | st.floats(allow_nan=False)
    return st.integers(spec.low, spec.high)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_random_documents_that_airbundle_accepts_are_valid_by_the_schema(kind: str, data: st.DataObject) -> None:
    body = copy.deepcopy(data.draw(_documents(RECORDS[kind])))
    if accepts(kind, body):
        VALIDATORS[kind].validate(body)
