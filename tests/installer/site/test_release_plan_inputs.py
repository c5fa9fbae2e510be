"""installer.site.release_step: a reviewed plan holds for what was rendered, also where a release is made anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airbundle.installer.site import release_step
from airbundle.installer.site.release_step import ReleaseStep
from airbundle.installer.site.step import Change


def test_what_is_made_anew_says_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(directory=lambda *_: None, root=None)
    run = SimpleNamespace(cluster=None, site_state=state)
    material = SimpleNamespace(inputs="sha256:what-it-is")
    works: Any = SimpleNamespace(run=run, materials=SimpleNamespace(of=lambda *_: material))
    release: Any = SimpleNamespace(name="web", before=())
    monkeypatch.setattr(release_step, "Tracks", lambda *_: None)
    found = SimpleNamespace(done=False, exists=False, taken=False, saved=False, edited=False, record=None)
    monkeypatch.setattr(ReleaseStep, "_find", lambda *_: found)
    monkeypatch.setattr(release_step, "planned_changes", lambda *_: [Change("Deployment shop/web", "create")])
    monkeypatch.setattr(release_step, "applied_before", lambda *_: {})
    carried: Any = None
    changes = ReleaseStep(works, carried, release, ()).plan()
    assert changes == [Change("Deployment shop/web", "create", inputs="sha256:what-it-is")]
