"""What is shown of foreign texts."""

from __future__ import annotations

from airbundle.installer.site.why import shown


def test_a_long_chain_of_errors_keeps_its_cause() -> None:
    text = "it: ErrImagePull: " + "failed to resolve reference: " * 50 + "connect: connection refused"
    told = shown(text, 200)
    assert told.startswith("it: ErrImagePull: failed")
    assert told.endswith("connect: connection refused")
    assert len(told) <= 200


def test_a_short_text_is_one_line() -> None:
    assert shown("a\n  b") == "a b"
