"""installer.host_checks: noexec and FIPS mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.installer.host_checks import host_findings
from tests.support.disk import mounted


@pytest.mark.parametrize(("said", "codes"), [(b"1\n", ["fips"]), (b"0\n", []), (None, [])])
def test_fips_mode(tmp_path: Path, said: bytes | None, codes: list[str]) -> None:
    fips = tmp_path / "fips_enabled"
    if said is not None:
        fips.write_bytes(said)
    found = [finding.code for finding in host_findings(tmp_path, fips=fips)]
    assert [code for code in found if code == "fips"] == codes


def test_a_place_from_which_nothing_runs(tmp_path: Path) -> None:
    with mounted(tmp_path / "noexec", "size=1m,noexec") as place:
        found = list(host_findings(place / "state", fips=tmp_path / "none"))
    assert [(finding.code, finding.severity, finding.where) for finding in found] == [("noexec", "warning", str(place))]
