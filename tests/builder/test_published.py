"""`--cache oci://…` and `--base oci://…`: a published bundle gives what has not changed, to hosts that keep nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.builder.conftest import UPSTREAM, Workshop
from tests.builder.test_reuse import NAME, asked, build, count, flip, good, key, sizes
from tests.support import images

__all__ = ["key"]

LARGE = images.layer({"large": images.noise("large", 2_500_000)})
SMALL = images.layer({"small": images.noise("small", 300_000)})
APP = images.tiny_image("app", sizes=(1000, 2000), shared=[LARGE, SMALL])
NEW = images.tiny_image("new", sizes=(150_000,), shared=[LARGE, SMALL])


@pytest.fixture
def published(workshop: Workshop, key: Path) -> Workshop:
    """A workshop whose bundle lies in the registry; this host has kept nothing of it but `want.airbundle`."""
    workshop.put(APP, "app", "1.0")
    workshop.put(NEW, "new", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    path = Path(good(build(workshop, "old")).body["path"])
    words: list[str | Path] = [
        path,
        f"{workshop.registry.host}/bundles/shop:1",
        "--registries",
        workshop.root / "registries.yaml",
    ]
    good(workshop.run("publish", *words))
    path.rename(workshop.root / "want.airbundle")
    shutil.rmtree(workshop.root / "cache")
    return workshop


def url(workshop: Workshop, tag: str = "1") -> str:
    return f"oci://{workshop.registry.host}/bundles/shop:{tag}"


def want(workshop: Workshop) -> bytes:
    return (workshop.root / "want.airbundle").read_bytes()


def of_upstream(workshop: Workshop, since: int) -> list[str]:
    return [path for path in asked(workshop, since) if not path.startswith("/v2/bundles/")]


def test_a_host_that_keeps_nothing_asks_upstream_for_nothing(published: Workshop) -> None:
    requests = count(published)
    answer = good(build(published, "new", "--cache", url(published)))
    assert (published.root / "new" / NAME).read_bytes() == want(published)
    assert answer.body["changed"] is False
    assert (answer.body["reused"], answer.body["fetched"]) == (sizes(APP), 0)
    assert set(of_upstream(published, requests)) <= {"/v2/"}
    # One for each large layer; head, manifests and what is small lie beside each other.
    blobs = Counter(path for path in asked(published, requests) if "/blobs/" in path)
    assert sum(blobs.values()) <= 5


def test_only_what_is_new_is_fetched_from_upstream(published: Workshop) -> None:
    published.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/new:1.0"])
    good(published.lock())
    requests = count(published)
    answer = good(build(published, "new", "--cache", url(published)))
    assert answer.body["fetched"] == sizes(APP, NEW) - sizes(APP)
    fetched = {path.rpartition("/")[2] for path in of_upstream(published, requests) if "/blobs/" in path}
    assert fetched == {blob.descriptor.digest for blob in NEW.blobs} - {
        LARGE.descriptor.digest,
        SMALL.descriptor.digest,
    }


def test_what_is_damaged_there_is_taken_from_upstream(published: Workshop) -> None:
    raw = SMALL.data
    assert raw is not None
    whole = want(published)
    # The part of the bundle that has the small layer, and only that one.
    gathered = [
        path
        for path in (published.registry.storage / "docker/registry/v2/blobs").rglob("data")
        if raw in path.read_bytes() and len(path.read_bytes()) != len(raw)
    ]
    assert len(gathered) == 1
    flip(gathered[0], gathered[0].read_bytes().index(raw) + 1000)
    answer = good(build(published, "new", "--cache", url(published)))
    assert (published.root / "new" / NAME).read_bytes() == whole
    assert answer.body["fetched"] == SMALL.descriptor.size
    assert answer.body["changed"] is True, "the published one must be published anew"
    assert "taken from elsewhere" in answer.text


def test_a_cache_that_is_not_there_yet_is_told_and_left_out(published: Workshop) -> None:
    answer = good(build(published, "new", "--cache", url(published, "tomorrow")))
    assert (published.root / "new" / NAME).read_bytes() == want(published)
    assert f"warning: cache {url(published, 'tomorrow')}" in answer.text


def test_an_image_is_no_cache(published: Workshop) -> None:
    answer = build(published, "new", "--cache", f"oci://{published.registry.host}/app:1.0")
    assert answer.code == 2
    assert "is no bundle" in answer.errors


def test_a_published_bundle_is_a_base(published: Workshop) -> None:
    published.inventory(metadata={"name": "shop", "version": "2.0.0"}, images=[f"{UPSTREAM}/new:1.0"])
    good(published.lock())
    told = good(build(published, "delta", "--base", url(published)))
    assert told.body["leftOut"] == LARGE.descriptor.size + SMALL.descriptor.size
    local = good(build(published, "other", "--base", published.root / "want.airbundle"))
    assert Path(told.body["path"]).read_bytes() == Path(local.body["path"]).read_bytes()
    missing = build(published, "delta2", "--base", url(published, "tomorrow"))
    assert missing.code == 4
