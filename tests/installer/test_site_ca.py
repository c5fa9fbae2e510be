from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.installer import site_ca
from airbundle.installer.ca import SiteCa
from airbundle.installer.options import EMBEDDED, Options
from airbundle.installer.site_ca import ensure_certificate
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT


@pytest.mark.parametrize("name", ["elsewhere.internal", "notsite.internal"])
def test_a_name_that_the_ca_may_not_issue_for_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(site_ca, "host_name", lambda: name)
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        ca = SiteCa.of(state)
        ca.create("site CA", ["site.internal"])
        options = Options(mode=EMBEDDED, domain="site.internal", host="127.0.0.1")
        certificate = ensure_certificate(ca, options, SILENT)
    assert name not in certificate.info.names
    assert {"site.internal", "registry.site.internal", "localhost"} <= set(certificate.info.names)
