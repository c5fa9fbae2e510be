"""Objects as YAML that people read and kubectl takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]{2,}")
"""Texts that every reader of YAML 1.1 and 1.2 takes for texts, but for the words that PyYAML quotes itself."""


def write_documents(bodies: Iterable[Mapping[str, Any]]) -> bytes:
    """Return objects as documents, each begun with `---`; equal objects give equal bytes."""
    return "".join(f"---\n{_text(body)}" for body in bodies).encode()


def _text(body: Mapping[str, Any]) -> str:
    written: str = yaml.dump(
        body, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False, width=1 << 20
    )
    return written


class _Dumper(yaml.SafeDumper):
    """Writes texts so that no reader takes one for a number, and never refers from one place to another."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands twice twice."""
        del data
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None if _PLAIN.fullmatch(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)
