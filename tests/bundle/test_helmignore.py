from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.helmignore import IgnoreRules
from airbundle.errors import UsageError
from tests.support.helm import package, write_chart

FILES = [
    *(
        "README.md",
        "NOTES.txt",
        "a",
        "ab",
        "a.txt",
        "docs/a.txt",
        "docs/deep/a.txt",
        "docs/deep/b.md",
        ".hidden",
        "x/.git/y",
    ),
    *(
        "templates/.hidden",
        "templates/tests/.x",
        "templates/a.tpl",
        "crds/a.yaml",
        "ci/values-a.yaml",
        "ci/values-b.yaml",
    ),
]
PATTERNS = [
    *(
        "*.txt",
        "a",
        "a*",
        "a?",
        "docs/",
        "docs",
        "/docs/a.txt",
        "docs/*.txt",
        "docs/*/a.txt",
        "/a",
        "/*.md",
        ".*",
        "x/.git",
    ),
    *(
        "[a-c]",
        "[^a-c]*",
        "[a",
        "\\a",
        "*.md ",
        "# comment",
        "",
        "!*",
        "!/*",
        "!docs/",
        "values-[ab].yaml",
        "ci/values-[^b].yaml",
    ),
    *(
        "[b-a]",
        "[]a]",
        "[a-]",
        "docs[/]a.txt",
        "*/*",
        "templates/*.tpl",
        "a\\",
        "**",
        "deep/",
        "deep/a.txt",
        "Chart.yaml?",
    ),
]


def packaged_by_helm(directory: Path, ignore: str) -> set[str]:
    chart = write_chart(directory, "x", files={**dict.fromkeys(FILES, "a: 1\n"), ".helmignore": ignore})
    with tarfile.open(package(chart, directory / "out", home=directory)) as tar:
        return {name[2:] for name in tar.getnames()}


@pytest.mark.parametrize("seed", range(6))
def test_the_same_files_are_ignored_as_by_helm(tmp_path: Path, seed: int) -> None:
    chooser = random.Random(seed)
    for number in range(6):
        patterns = chooser.sample(PATTERNS, chooser.randint(1, 4))
        ignore = "\n".join(patterns)
        directory = tmp_path / str(number)
        directory.mkdir()
        try:
            helms = packaged_by_helm(directory, ignore)
        except RuntimeError as error:
            if "Chart.yaml file is missing" in str(error):
                continue
            with pytest.raises(UsageError):
                IgnoreRules(ignore, what=".helmignore")
            continue
        rules = IgnoreRules(ignore, what=".helmignore")
        own = {path for path in FILES if not rules.ignores_file(path)}
        assert own == helms & set(FILES), patterns


@pytest.mark.parametrize("line", ["**/x", "[a", "a\\", "[]", "[a-", "[^", "[\\"])
def test_what_helm_refuses_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(UsageError, match=r"^charts/x/\.helmignore:2: "):
        IgnoreRules(f"*.txt\n{line}", what="charts/x/.helmignore")


@given(st.text(max_size=30), st.text(min_size=1, max_size=10))
def test_any_rules_are_rules_or_refused(text: str, path: str) -> None:
    try:
        rules = IgnoreRules(text, what="x")
    except UsageError:
        return
    assert rules.ignores_file(path) in (True, False)
