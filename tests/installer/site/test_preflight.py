"""installer.site.preflight: the table of codes in docs/preflight.md, and the rules, say the same."""

from __future__ import annotations

import re
from pathlib import Path

from airbundle.deploy.rules.catalogue import CODES

ROOT = Path(__file__).parents[3]
TABLE = re.compile(r"(?m)^\| (`[^|]*`) \| [^|]+ \| (error|warning|error or warning) \| [^|]+ \|$")
HOST = ("preflight", "ports", "host_checks", "missing", "container_checks")
"""Modules of the installer whose findings are the host's."""


def table() -> dict[str, str]:
    text = (ROOT / "docs" / "preflight.md").read_text()
    found = [(code, grade) for codes, grade in TABLE.findall(text) for code in re.findall(r"`([a-z-]+)`", codes)]
    assert len(dict(found)) == len(found), "a code stands twice"
    return dict(found)


def test_each_code_of_the_rules_is_in_the_table_with_its_grade() -> None:
    listed = table()
    words = {"error": "error", "warning": "warning", "either": "error or warning"}
    wrong = {code: grade for code, grade in CODES.items() if listed.get(code) != words[grade]}
    # What looking at the nodes themselves finds has the same code, and is an error.
    assert wrong == {"node-access": "warning"}


def test_each_code_of_the_table_is_one_that_something_finds() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "airbundle").rglob("*.py"))
    unknown = [code for code in table() if f'"{code}"' not in sources]
    assert unknown == []


def test_each_code_of_the_hosts_checks_is_in_the_table() -> None:
    texts = [(ROOT / "airbundle" / "installer" / f"{name}.py").read_text() for name in HOST]
    found = {code for text in texts for code in re.findall(r'code="([a-z-]+)"', text)}
    assert found <= table().keys(), found - table().keys()
