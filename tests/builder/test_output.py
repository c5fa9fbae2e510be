"""Where `build` writes to."""

from __future__ import annotations

from pathlib import Path

from tests.builder.conftest import UPSTREAM, Workshop
from tests.support import images


def test_an_output_that_ends_with_a_slash_is_a_directory(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("app"), "app", "1")
    workshop.inventory(images=[f"{UPSTREAM}/app:1"])
    answer = workshop.build(Path("unused"), "-o", f"{workshop.root}/new/dist/")
    assert answer.code == 0, answer.text
    assert Path(answer.body["path"]) == workshop.root / "new/dist/shop-1.0.0.airbundle"
    taken = workshop.root / "taken"
    taken.write_text("")
    answer = workshop.build(Path("unused"), "-o", f"{taken}/")
    assert answer.code == 2
    assert "expected a directory" in answer.errors
    assert taken.read_text() == ""


def test_an_output_that_leads_nowhere_is_refused(workshop: Workshop) -> None:
    """The disk that it leads to may only have to be mounted: nothing else may take the link's place."""
    workshop.put(images.tiny_image("app"), "app", "1")
    workshop.inventory(images=[f"{UPSTREAM}/app:1"])
    link = workshop.root / "x.airbundle"
    link.symlink_to("/no/such/disk/x.airbundle")
    answer = workshop.build(link)
    assert answer.code == 2
    assert "is a symbolic link to /no/such/disk/x.airbundle, which is not there" in answer.errors
    assert link.is_symlink()
