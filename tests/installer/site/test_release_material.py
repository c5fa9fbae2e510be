"""installer.site.release_material: the values of a release are read once, and what is wrong with them is told."""

from __future__ import annotations

from threading import Lock
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.bundle.release import Release
from airbundle.errors import CheckFailed, Finding
from airbundle.installer.site.release_material import Materials


class Source:
    """Renders nothing, and counts."""

    def __init__(self, *findings: Finding) -> None:
        self.found = list(findings)
        self.read = self.rendered = 0

    def values(self, *_: object) -> tuple[list[Any], list[Finding]]:
        self.read += 1
        return [], self.found

    def renderings(self, _carried: object, _release: object, given: object = None) -> tuple[list[Any], list[Finding]]:
        self.rendered += 1
        if given is None:
            self.values()
        return [], []


class Made(Materials):
    """Materials of a source."""

    def __init__(self, source: Source) -> None:
        self._lock = Lock()
        self.source = source
        self._cluster = cast(Any, SimpleNamespace(resource_of=lambda *_: None))

    def _opened(self, carried: object) -> Any:
        del carried
        return self.source


CARRIED = cast(Any, SimpleNamespace(chart="", manifests="base.yaml"))


def test_values_are_read_once() -> None:
    source = Source()
    Made(source).of(CARRIED, Release("app"))
    assert (source.read, source.rendered) == (1, 1)


def test_what_is_wrong_with_values_is_told_and_nothing_is_rendered() -> None:
    source = Source(Finding("no such name", where="values.yaml"))
    with pytest.raises(CheckFailed) as caught:
        Made(source).of(CARRIED, Release("app"))
    assert ([str(each) for each in caught.value.findings], source.rendered) == (["values.yaml: no such name"], 0)


def test_values_of_then_are_not_read_at_all() -> None:
    source = Source(Finding("no such name", where="values.yaml"))
    assert (
        Made(source).with_values(CARRIED, Release("app"), []).inputs
        == Made(Source()).of(CARRIED, Release("app")).inputs
    )
    assert (source.read, source.rendered) == (0, 1)
