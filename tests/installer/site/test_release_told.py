"""Tests for airbundle.installer.site.release_told."""

from __future__ import annotations

import pytest

from airbundle.errors import Finding, SiteError
from airbundle.installer.site.release_told import told_as


def test_an_error_begins_with_what_it_means() -> None:
    found = [Finding("no space")]
    with pytest.raises(SiteError) as caught, told_as("app was not changed"):
        raise SiteError("1 of 1 objects are not up", hint="mend it", findings=found)
    error = caught.value
    assert (error.problem, error.hint) == ("app was not changed: 1 of 1 objects are not up", "mend it")
    assert error.findings == tuple(found)
