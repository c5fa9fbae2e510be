"""Kubernetes' quantities: `500m`, `1.5`, `128Mi`, `1e3`, as exact numbers.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Optional

_FORM = re.compile(
    r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?"
)
_UNITS = {
    "": Decimal(1),
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{
        unit: Decimal(1000) ** power for power, unit in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
}


def parse_quantity(value: object) -> Optional[Decimal]:
    """Return a quantity as a number of cores, bytes or pieces; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _FORM.fullmatch(str(value).strip())
    if match is None:
        return None
    number, unit = Decimal(match[1]), match[2] or ""
    return number * _UNITS[unit] if unit in _UNITS else number * Decimal(f"1{unit}")


def shown(resource: str, number: Decimal) -> str:
    """Return a quantity for people: `1.5 cores`, `512 MiB`, `3`."""
    if resource.endswith("cpu"):
        return f"{_short(number)} cores"
    if resource.endswith(("memory", "storage")) and abs(number) >= 1024:
        power = min((int(abs(number)).bit_length() - 1) // 10, 4)
        return f"{_short(number / Decimal(1024) ** power)} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
    return _short(number)


def _short(number: Decimal) -> str:
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
