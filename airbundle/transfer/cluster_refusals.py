"""What the API server means when it refuses: whether another attempt may end better, and who is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airbundle.bundle.oci import parse_json
from airbundle.errors import VerificationError
from airbundle.transfer.problems import Response, clean

_LASTING = frozenset({501, 505})
_LASTING_WORDS = ("failed to create typed patch object", "failed to create typed live object")
"""What is said with a 500 of objects that have fields which their kind doesn't."""


def passes(response: Response) -> bool:
    """Tell whether another attempt may end better, for an answer that is not expected."""
    if response.status in _LASTING:
        return False
    message = status_of(response).get("message") if response.status == 500 else ""
    return not (isinstance(message, str) and any(words in message for words in _LASTING_WORDS))


def conflicts(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return who sets which field, as a Status of reason Conflict tells it ("Server-Side Apply", conflicts)."""
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    found = []
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("reason") == "FieldManagerConflict":
            message, field = str(cause.get("message") or ""), str(cause.get("field") or "")
            manager = message.partition('"')[2].partition('"')[0] or message
            found.append((clean(manager, 80), clean(field, 200)))
    return found


def conflict_hint(status: Mapping[str, Any]) -> str:
    """Return the next step after a conflict."""
    fields = conflicts(status)
    if not fields:
        made = status.get("reason") == "AlreadyExists"
        return "" if made else "it was changed meanwhile: run again"
    told = ", ".join(f"{manager} sets {field}" for manager, field in fields[:5])
    more = f" and {len(fields) - 5} more" if len(fields) > 5 else ""
    return f"{told}{more}: agree on who does, or take the fields over"


def status_of(response: Response) -> Mapping[str, Any]:
    """Return the Status that an answer holds; an empty one where it holds none."""
    try:
        body = parse_json(response.body, what="status")
    except VerificationError:
        return {}
    return body if isinstance(body, dict) else {}
