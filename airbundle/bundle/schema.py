"""JSON Schema (draft 2020-12) of the documents people write, for editors; from the same fields as the validator.

A document that airbundle accepts is valid by its schema. The reverse does not hold: what a schema can't say (a
reference's grammar, needs in a circle, names in two spellings) only airbundle checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airbundle.bundle.fields import AnyScalar, Flag, ListOf, MapOf, Record, Spec, Text, When

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BASE = "https://airbundle.dev/schema/v1/"

Schema = dict[str, Any]


def json_schema(kind: str) -> Schema:
    """Return the JSON Schema of a document.

    Args:
        kind: `bundle` or `site`.

    Raises:
        KeyError: it is neither.
    """
    return document_schema(kind, _documents()[kind])


def document_schema(kind: str, record: Record) -> Schema:
    """Return the JSON Schema of a document of any part, from its fields."""
    return {
        "$schema": DIALECT,
        "$id": f"{_BASE}{kind}.json",
        "title": f"{kind}.yaml of airbundle",
        **spec_schema(record),
    }


def published(schema: Schema) -> str:
    """Return a schema as the file that is published."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _documents() -> Mapping[str, Record]:
    from airbundle.bundle.inventory_fields import BUNDLE
    from airbundle.bundle.site_fields import SITE

    return {"bundle": BUNDLE, "site": SITE}


def spec_schema(spec: Spec) -> Schema:
    """Return the schema of one kind of value."""
    if isinstance(spec, Record):
        body = _record(spec)
        if spec.shorthand:
            return {"anyOf": [spec_schema(spec.fields[spec.shorthand].spec), body]}
        return body
    if isinstance(spec, ListOf):
        return _list(spec)
    if isinstance(spec, MapOf):
        return {
            "type": "object",
            "propertyNames": spec_schema(spec.key),
            "additionalProperties": spec_schema(spec.value),
        }
    if isinstance(spec, Text):
        return _text(spec)
    if isinstance(spec, Flag):
        return {"type": "boolean"}
    if isinstance(spec, AnyScalar):
        line = {"type": "string", "maxLength": spec.limit, "pattern": r"^[^\u0000-\u001f\u007f]*$"}
        return {"anyOf": [line, {"type": ["number", "boolean"]}]}
    return {"type": "integer", "minimum": spec.low, "maximum": spec.high}


def _text(spec: Text) -> Schema:
    if spec.choices:
        return {"enum": list(spec.choices)}
    body: Schema = {"type": "string", "maxLength": spec.limit}
    if not spec.empty:
        body["minLength"] = 1
    if spec.pattern:
        body["pattern"] = f"^(?:{spec.pattern}{'|' if spec.empty else ''})$"
    return body


def _list(spec: ListOf) -> Schema:
    body: Schema = {"type": "array", "items": spec_schema(spec.item)}
    if spec.unique:
        body["uniqueItems"] = True
    if spec.least:
        body["minItems"] = spec.least
    return {"anyOf": [spec_schema(spec.item), body]} if spec.single else body


def _record(spec: Record) -> Schema:
    body: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
    for name, field in spec.fields.items():
        inner = spec_schema(field.spec)
        if not field.required and "type" in inner and inner["type"] in {"array", "object"}:
            # An empty field is one that isn't there.
            inner["type"] = [inner["type"], "null"]
        hint = f" ({field.spec.expected})" if isinstance(field.spec, Text) else ""
        body["properties"][name] = {"description": field.doc + hint, **inner}
    required = [name for name, field in spec.fields.items() if field.required]
    if required:
        body["required"] = required
    if spec.one_of:
        body["oneOf"] = [{"required": [name]} for name in spec.one_of]
    if spec.goes_with:
        body["dependentRequired"] = {name: list(others) for name, others in spec.goes_with.items()}
    if spec.whens:
        body["allOf"] = [_when(when) for when in spec.whens]
    return body


def _when(when: When) -> Schema:
    then: Schema = {}
    if when.needs:
        then["required"] = list(when.needs)
    if when.excludes:
        then["not"] = {"anyOf": [{"required": [name]} for name in when.excludes]}
    return {"if": {"properties": {when.name: {"const": when.value}}, "required": [when.name]}, "then": then}
