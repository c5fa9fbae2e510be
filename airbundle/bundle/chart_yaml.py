"""YAML as helm reads it: go-yaml's view of plain scalars, and its way to turn them into text.

`appVersion: 1.10` is the text `1.1` to helm, and `version: 20240101` the text `20240101`. Sources: go-yaml v2
`resolve.go`, sigs.k8s.io/yaml `convertToJSONableObject`, Go `encoding/json` and `strconv.FormatFloat`.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import yaml

from airbundle.errors import VerificationError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOOLS = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
}
_SPECIAL = {
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_BOOL = re.compile("|".join(_BOOLS))
_NULL = re.compile("~|null|Null|NULL|")
_INT = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_LARGEST_INT = 1 << 64
_DIGITS_LIMIT = 400  # of a number; int() and float() of hostile length are slow
_VALUES_LIMIT = 200_000
_DEPTH_LIMIT = 100


class _Loader(_Base):  # type: ignore[misc]  # its base is chosen at run time
    """SafeLoader with go-yaml's implicit types, as whole matches."""


_PLAIN_TAG = "tag:airbundle.dev,2026:plain"
_PLAIN_TAGS = frozenset({_PLAIN_TAG, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))})
_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(_PLAIN_TAG, re.compile(r"(?s:.*)$"), None)


def plain_value(text: str) -> Any:
    """Return what a plain scalar is to go-yaml: nothing, a truth value, a number, else the text itself."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return _BOOLS[text]
    if text in _SPECIAL:
        return _SPECIAL[text]
    if len(text) > _DIGITS_LIMIT:
        return text
    digits = text.replace("_", "")
    if _INT.fullmatch(text):
        whole = _int(digits)
        if whole is not None and -_LARGEST_INT // 2 <= whole < _LARGEST_INT:
            return whole
    if _FLOAT.fullmatch(text) and (text[0] != "." or "_" not in text):
        number = float(digits)
        return text if math.isinf(number) else number
    return text


def _plain(loader: Any, node: yaml.ScalarNode) -> Any:  # noqa: ARG001  (PyYAML's signature)
    return plain_value(node.value)


def _int(digits: str) -> int | None:
    sign = -1 if digits[0] == "-" else 1
    body = digits.lstrip("+-")
    try:
        if body[:2].lower() in ("0x", "0o", "0b"):
            return sign * int(body, 0)
        return sign * int(body, 8 if body[0] == "0" else 10)
    except ValueError:
        return None


_Loader.add_constructor(_PLAIN_TAG, _plain)
# A bare `=` is text to go-yaml, and an error to PyYAML.
_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))
_Loader.add_constructor("tag:yaml.org,2002:bool", _plain)
_Loader.add_constructor("tag:yaml.org,2002:int", _plain)
_Loader.add_constructor("tag:yaml.org,2002:float", _plain)


def load_yaml(raw: bytes | str, *, what: str) -> Any:
    """Parse one YAML document (or JSON) as helm does.

    Args:
        raw: the document; the caller has bounded its size.
        what: the thing, for errors.

    Raises:
        VerificationError: it isn't YAML.
    """
    try:
        _check_events(raw, what)
        loader = _Loader(raw)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError) as error:
        problem = " ".join(str(error).split())
        raise VerificationError(f"{what}: not YAML: {problem[:300]}") from None


def compose_yaml(raw: bytes | str, *, what: str) -> tuple[yaml.Node | None, bool]:
    """Compose the first document into nodes, as `load_yaml` reads them; merge keys are left to the caller.

    Returns:
        The root, None for an empty document; and whether another document follows, which helm does not read.

    Raises:
        VerificationError: it isn't YAML.
    """
    try:
        _check_events(raw, what, merge_keys=True)
        loader = _Loader(raw)
        try:
            root = loader.get_node() if loader.check_node() else None
            return root, bool(loader.check_node())
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise VerificationError(f"{what}: not YAML: {problem[:300]}") from None


def scalar_of(node: yaml.ScalarNode) -> Any:
    """Return what helm makes of a scalar: plain ones by their form, all others as text."""
    return _plain(None, node) if node.tag in _PLAIN_TAGS else node.value


def _check_events(raw: bytes | str, what: str, *, merge_keys: bool = False) -> None:
    """Refuse what would overflow the C stack of libyaml's binding, and merge keys, which can grow without end."""
    depth = 0
    for event in yaml.parse(raw, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH_LIMIT:
                raise VerificationError(f"{what}: nested deeper than {_DEPTH_LIMIT}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif not merge_keys and isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise VerificationError(f"{what}: merge keys (<<) are not supported")


def text_of(value: object, *, what: str) -> str:
    """Return a scalar as the text that helm makes of it where it wants text.

    Raises:
        VerificationError: it is a list or an object.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _go_float(value)
    raise VerificationError(f"{what}: found {type(value).__name__}, expected text")


def _go_float(value: float) -> str:
    """Format as Go's `FormatFloat(value, 'g', -1, 32)`: the fewest digits that make the same 32-bit number."""
    single = _single(value)
    if not math.isfinite(single):
        return "NaN" if math.isnan(single) else "+Inf" if single > 0 else "-Inf"
    shortest = next(text for text in (f"{single:.{digits}e}" for digits in range(9)) if _single(float(text)) == single)
    mantissa, _, exponent = shortest.partition("e")
    places = len(mantissa.partition(".")[2]) - int(exponent)
    if -4 <= int(exponent) < 6:
        return f"{float(shortest):.{max(places, 0)}f}"
    return f"{mantissa}e{int(exponent):+03d}"


def _single(value: float) -> float:
    """Return the 32-bit number next to `value`."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def go_json(value: object, *, what: str) -> bytes:
    """Return JSON as Go's `json.Marshal` writes it: order kept, no spaces, `<`, `>`, `&` and U+2028/9 escaped.

    Raises:
        VerificationError: there are more values than any sane document has (aliases of aliases), or one JSON lacks.
    """
    for count, _ in enumerate(_values(value)):
        if count > _VALUES_LIMIT:
            raise VerificationError(f"{what}: has more than {_VALUES_LIMIT} values")
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        raw = text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise VerificationError(f"{what}: can't be written as JSON: {error}") from None
    for character in "<>&\u2028\u2029":
        raw = raw.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return raw


def _values(value: object) -> Iterator[object]:
    stack = [value]
    while stack:
        value = stack.pop()
        yield value
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
