"""What libraries log is told in the console's own way, and only airbundle's."""

from __future__ import annotations

import logging

import pytest

from airbundle.cli.console import Console
from airbundle.cli.logs import Told


@pytest.mark.parametrize(
    ("mode", "expected"),
    [({}, "warning: two\n"), ({"verbose": True}, "one\nwarning: two\n"), ({"quiet": True}, "")],
)
def test_warnings_are_told_and_all_else_with_verbose(
    mode: dict[str, bool], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.configure(**mode)
    told = Told(console)
    before = logging.getLogger("airbundle").level
    told.begin()
    logging.getLogger("airbundle.store.cache").info("one")
    logging.getLogger("airbundle.store.cache").warning("%s", "two")
    logging.getLogger("httpx").warning("https://user:secret@host/")
    told.end()
    logging.getLogger("airbundle.store.cache").info("after")
    assert capsys.readouterr().err == expected
    assert logging.getLogger("airbundle").level == before
