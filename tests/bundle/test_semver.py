from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.semver import Constraint, find, parse_version
from airbundle.errors import UsageError

NUMBERS = ["0", "1", "2", "10"]
OPERATORS = ["", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^", "~ ", ">= "]
TERMS = [
    *NUMBERS,
    *(f"{a}.{b}" for a, b in itertools.product(NUMBERS, NUMBERS)),
    *(f"{a}.{b}.{c}" for a, b, c in itertools.product(NUMBERS, NUMBERS, ["0", "1", "3"])),
    *("*", "x", "1.x", "1.2.*", "1.2.X", "0.0.x", "0.x", "0.0", "v1.2.3", "v1"),
    *("1.2.3-0", "1.0.0-alpha.1", "1.0.0-rc.2", "0.0.0-0", "1-0", "1.2-beta", "*-0", "2.x-a", "1.2.3+build", "0.0.1-a"),
]
VERSIONS = [
    *(f"{a}.{b}.{c}" for a, b, c in itertools.product(NUMBERS, NUMBERS, ["0", "1", "3", "4"])),
    *("v1.2.3", "1", "1.2", "v2", "1.2.3+build.5", "01.2.3"),
    *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.11", "1.0.0-beta.2", "1.0.0-rc.1", "1.0.0-rc.10"),
    *("1.2.3-0", "1.2.3-beta", "1.2.4-rc1", "2.0.0-a", "0.0.0-0", "0.0.1-a", "0.0.1-b", "10.0.0--", "1.2.0-x.7.z.92"),
]

TEMPLATE = """out: "
{{- range $range := .Values.ranges }}
{{- range $version := $.Values.versions }}{{ semverCompare $range $version | ternary 1 0 }}{{ end }}
{{- end }}"
"""


def test_ranges_hold_as_in_helm(tmp_path: Path) -> None:
    chooser = random.Random(3)
    terms = [operator + term for operator in OPERATORS for term in TERMS]
    ranges = chooser.sample(terms, 450)
    ranges += [" ".join(chooser.sample(terms, 2)) for _ in range(60)]
    ranges += [", ".join(chooser.sample(terms, 2)) for _ in range(60)]
    ranges += [" || ".join(chooser.sample(terms, 3)) for _ in range(60)]
    ranges += [" - ".join(chooser.sample(TERMS, 2)) for _ in range(60)]
    told = iter(compared_by_helm(tmp_path, ranges))
    differing = []
    for text in ranges:
        own = Constraint(text)
        for spelled in VERSIONS:
            version, helms = parse_version(spelled), next(told)
            assert version is not None
            if own.holds(version) != helms:
                differing.append((text, spelled, helms))
    assert differing == []


def compared_by_helm(directory: Path, ranges: list[str]) -> list[bool]:
    """Let helm's own `semverCompare` judge each range with each version, in one run."""
    (directory / "templates").mkdir()
    (directory / "Chart.yaml").write_text("apiVersion: v2\nname: compare\nversion: 1.0.0\n")
    (directory / "templates" / "out.yaml").write_text(TEMPLATE)
    (directory / "values.yaml").write_text(json.dumps({"ranges": ranges, "versions": VERSIONS}))
    helm = Path(sys.executable).with_name("helm")
    done = subprocess.run([helm, "template", str(directory)], capture_output=True, text=True, check=True)
    answers = done.stdout.partition('"')[2].partition('"')[0]
    assert len(answers) == len(ranges) * len(VERSIONS)
    return [answer == "1" for answer in answers]


@pytest.mark.parametrize(
    "text",
    [
        *("latest", "1.2.3.4", ">", "^", "1 ||", "|| 1", ">>1", "1.2.3 foo", "1,,2", "-1", "1.2.3-01", "a.b.c"),
        *("1" * 300, "9" * 20),
    ],
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="version range"):
        Constraint(text)


@pytest.mark.parametrize("text", ["", "a", "1.2.3.4", "1.2.3-01", "1..2", "1.2.3-", "1.2.3+", " 1", "1\n", "١"])
def test_what_is_no_version(text: str) -> None:
    assert parse_version(text) is None


def test_strict_versions() -> None:
    assert parse_version("1.2.3-a+b", strict=True) is not None
    for text in ("v1.2.3", "1.2", "1", "01.2.3"):
        assert parse_version(text) is not None
        assert parse_version(text, strict=True) is None


def test_finding() -> None:
    available = ["1.0.0", "junk", "1.2.0", "2.0.0-rc.1", "1.10.0", "v1.11.0"]
    assert find(available, "") == "v1.11.0"
    assert find(available, "1.2.0") == "1.2.0"
    assert find(available, "^1.0 <1.11") == "1.10.0"
    assert find(available, ">=2.0.0-0") == "2.0.0-rc.1"
    assert find(available, "3.x") is None
    assert find(available, "1.11.0") == "v1.11.0"


@given(st.text(alphabet="0123456789.x*-+v><=~^!|, ab", max_size=40))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        constraint = Constraint(text)
    except UsageError:
        return
    for version in ("1.2.3", "0.0.0", "1.0.0-a"):
        parsed = parse_version(version)
        assert parsed is not None
        assert constraint.holds(parsed) in (True, False)
