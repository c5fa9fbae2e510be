"""Sizes as people write them, `4GiB`, `4.7GB`, `650M` or plain bytes, and numbers of things as they read them."""

from __future__ import annotations

import re

from airbundle.errors import UsageError

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([a-zA-Z]*)")


def parse_size(text: str) -> int:
    """Return a size in bytes; `K M G T` and `KiB …` are powers of 1024, `KB …` of 1000.

    Raises:
        UsageError: it is no size, or is zero.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size <= 0:
        raise UsageError(f"{text!r} is no size", hint="write it as 4GiB, 4.7GB, 650M or a number of bytes")
    return size


def human(size: float) -> str:
    """Return a number of bytes as people read it: `12.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def counted(number: int, word: str, plural: str = "") -> str:
    """Return `1 image` or `2 images`; `plural` where that is not the word with an s."""
    return f"{number} {word if number == 1 else plural or word + 's'}"
