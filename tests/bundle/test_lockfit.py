from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from airbundle.bundle.inventory import Inventory, parse_inventory
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.lockfit import lock_misfits
from airbundle.bundle.oci import OCI_MANIFEST, Descriptor
from tests.bundle.documents import DIGEST, minimal

OTHER = "sha256:" + "ab" * 32
FIELDS: dict[str, Any] = {
    "images": ["redis:7.2", {"ref": "quay.io/x/y:1", "sparse": False}],
    "charts": [{"name": "c", "repo": "https://h.example/charts", "version": "^1"}],
    "files": [{"url": "https://h.example/f", "sha256": DIGEST}],
    "clamav": {"source": "cvdupdate", "databases": ["daily"]},
}


def root(kind: str, ref: str, requested: str, **more: Any) -> LockedRoot:
    descriptor = Descriptor(OCI_MANIFEST, more.pop("digest", OTHER), 1)
    return LockedRoot(kind, ref, requested, "cache", more.pop("origin", ""), descriptor, **more)


ROOTS = (
    root("image", "docker.io/library/redis:7.2", "redis:7.2", platforms=("linux/amd64",)),
    root("image", "quay.io/x/y:1", "quay.io/x/y:1"),
    root("chart", "h.example/charts/c:1.2.3", "https://h.example/charts c ^1"),
    root("file", "file/f:1", "https://h.example/f", blobs=(Descriptor("", DIGEST, 1),), info={"name": "f"}),
    root("clamav", "clamav/daily:27001", "daily", origin="cvdupdate"),
    root("tool", "tool/helm:3", "helm"),
)


def lock_of(roots: Sequence[LockedRoot] = ROOTS, *, version: str = "1", **more: Any) -> Lock:
    return Lock("m", version, more.pop("inventory", DIGEST), 1, "", "", tuple(roots), **more)


def inventory_with(**fields: Any) -> Inventory:
    return parse_inventory(minimal(**{**FIELDS, **fields}))


def test_a_lock_of_the_same_things_fits() -> None:
    assert lock_misfits(inventory_with(), lock_of()) == []


def test_an_entry_that_was_lost_from_the_lock_is_missed_whatever_the_digest() -> None:
    inventory = inventory_with()
    lock = lock_of(ROOTS[1:], inventory=inventory.digest({}))
    (finding,) = lock_misfits(inventory, lock, local={})
    assert "docker.io/library/redis:7.2 is not in the lock" in finding.message


def test_a_changed_setting_is_told() -> None:
    (finding,) = lock_misfits(inventory_with(), lock_of(), local={})
    assert finding.code == "lock-changed"
    assert "a setting" in finding.message


def test_local_files_that_changed_or_are_new_are_named() -> None:
    manifests = [{"path": path, "release": {"name": path[0]}} for path in ("a.yaml", "b.yaml")]
    inventory = inventory_with(manifests=manifests)
    local = {"a.yaml": OTHER, "b.yaml": DIGEST}
    releases = (*ROOTS, *(root("release", f"release/{name}:1", "", info={"name": name}) for name in "ab"))
    before = lock_of(releases, local={"a.yaml": DIGEST, "b.yaml": DIGEST})
    (changed,) = lock_misfits(inventory, before, local=local)
    assert str(changed).startswith("bundle.yaml:")
    assert "the local file a.yaml has changed" in changed.message
    (new,) = lock_misfits(inventory, lock_of(releases, local={"a.yaml": OTHER}), local=local)
    assert "the local file b.yaml is new" in new.message
    fits = lock_of(releases, inventory=inventory.digest(local), local=local)
    assert lock_misfits(inventory, fits, local=local) == []


def test_a_release_that_the_lock_lacks_or_has_too_many_is_told() -> None:
    inventory = inventory_with(manifests=[{"path": "a.yaml", "release": {"name": "a"}}])
    (missing,) = lock_misfits(inventory, lock_of())
    assert "the release a is not in the lock" in missing.message
    (extra,) = lock_misfits(inventory_with(), lock_of((*ROOTS, root("release", "release/b:1", "", info={"name": "b"}))))
    assert "the release b is in the lock, and not in bundle.yaml" in extra.message


def test_another_spelling_of_the_same_image_fits() -> None:
    images = ["docker.io/library/redis:7.2", FIELDS["images"][1]]
    assert lock_misfits(inventory_with(images=images), lock_of()) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metadata": {"name": "m", "version": "2"}}, "the lock is of another version; found 1; expected 2"),
        (
            {"images": [*FIELDS["images"], "new:1"]},
            "bundle.yaml:10 images[2]: the image docker.io/library/new:1 is not in",
        ),
        (
            {"images": FIELDS["images"][:1]},
            "airbundle.lock.json quay.io/x/y:1: the image quay.io/x/y:1 is in the lock, and",
        ),
        ({"images": ["redis:7.2", "quay.io/x/y:1"]}, "has other platforms; found all; expected linux/amd64"),
        (
            {"images": ["redis:7.2@" + DIGEST, FIELDS["images"][1]]},
            "redis:7.2 is pinned to another digest; found " + OTHER,
        ),
        ({"images": [{"ref": "docker-daemon:redis:7.2"}, FIELDS["images"][1]]}, "comes from elsewhere now"),
        ({"charts": []}, "the chart https://h.example/charts c ^1 is in the lock, and not in bundle.yaml"),
        ({"files": []}, "the file f is in the lock"),
        ({"files": [{"url": "https://h.example/f", "sha256": OTHER}]}, "is pinned to another digest"),
        ({"clamav": {"source": "cvdupdate", "databases": ["daily", "main"]}}, "database main is not in the lock"),
        ({"clamav": {"source": "cvdupdate", "databases": []}}, "database daily is in the lock, and not asked for"),
        ({"clamav": {"source": "db", "databases": ["daily"]}}, "come from elsewhere now; found cvdupdate; expected db"),
        (
            {"clamav": {"source": "cvdupdate", "databases": ["daily"], "custom": ["own.ndb"]}},
            "database custom is not in the lock",
        ),
        ({"clamav": None}, "ClamAV databases are in the lock, and not in the inventory"),
    ],
)
def test_names_what_does_not_fit(fields: dict[str, Any], words: str) -> None:
    (finding,) = lock_misfits(inventory_with(**fields), lock_of())
    assert words in str(finding)
    assert "airbundle lock" in finding.hint


def test_a_chart_that_is_asked_for_differently() -> None:
    charts = [{"name": "c", "repo": "https://h.example/charts", "version": "^2"}]
    missing, extra = lock_misfits(inventory_with(charts=charts), lock_of())
    assert (missing.code, extra.code) == ("lock-missing", "lock-extra")
