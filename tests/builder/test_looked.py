"""What is in a render, with and without the cache beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.builder.looked import look
from airbundle.builder.render_cache import RenderCache
from airbundle.builder.scan_options import code_digest
from airbundle.scan.model import Origin, Rendering

POD = b"""\
kind: Pod
metadata: {name: p}
spec:
  containers:
    - {name: good, image: "quay.io/a/b:1"}
    - {name: bad, image: "quay.io/Upper/case:1"}
"""


def test_a_container_image_that_is_no_reference_is_told(tmp_path: Path) -> None:
    cache = RenderCache(tmp_path)
    for _ in range(2):
        looked = look(Rendering(Origin("chart x 1.0.0"), POD), cache)
        assert [str(sighting.image) for sighting in looked.sightings] == ["quay.io/a/b:1"]
        (finding,) = looked.findings
        assert finding.code == "image-unreadable"
        assert "spec.containers[1].image" in finding.message


def test_what_another_version_found_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    code_digest.cache_clear()
    own = code_digest()
    monkeypatch.setattr("airbundle.builder.scan_options.__version__", "0.0.0")
    code_digest.cache_clear()
    assert code_digest() != own
    code_digest.cache_clear()
