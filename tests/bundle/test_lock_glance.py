from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.lock_glance import LockGlance
from airbundle.bundle.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, Platform
from airbundle.errors import VerificationError

DIGEST = "sha256:" + "a" * 64


def child(platform: Platform | None) -> Descriptor:
    return Descriptor(OCI_MANIFEST, DIGEST, 1, platform=platform)


CHILDREN = (
    child(Platform("linux", "amd64")),
    child(Platform("linux", "arm64", "v8")),
    child(Platform("linux", "amd64")),
    child(Platform("unknown", "unknown")),
    child(None),
)
INDEX = LockedRoot(
    "image", "x/app:1", "app:1", "registry", "x/app", Descriptor(OCI_INDEX, DIGEST, 1), CHILDREN, ("linux/amd64",)
)
CHART = LockedRoot(
    "chart", "x/c:1", "c", "cache", "https://x", Descriptor(OCI_MANIFEST, DIGEST, 1), info={"name": "c", "version": "1"}
)
SINGLE = LockedRoot(
    "image", "x/one:1", "one:1", "registry", "x/one", Descriptor(OCI_MANIFEST, DIGEST, 1), (), ("linux/s390x",)
)
LOCK = Lock("shop", "1.0.0", DIGEST, 1, "2026-01-01T00:00:00Z", "", (INDEX, CHART, SINGLE), "0.1.0")


def test_it_sees_what_a_lock_says() -> None:
    glance = LockGlance(LOCK.to_bytes(), "lock")
    assert glance.installer_version == "0.1.0"
    assert ("image", "x/app:1") in glance
    assert ("image", "x/c:1") not in glance
    assert glance.platforms(("image", "x/app:1")) == ["linux/amd64", "linux/arm64/v8"]
    assert glance.platforms(("image", "x/one:1")) == ["linux/s390x"]
    assert glance.platforms(("image", "x/c:1")) == []
    assert glance.origin(("chart", "x/c:1")) == "https://x"
    assert glance.info(("chart", "x/c:1")) == {"name": "c", "version": "1"}


def test_what_is_asked_for_is_told_where_nothing_is_known_to_be_carried() -> None:
    asked: dict[str, object] = {"kind": "image", "ref": "x", "platforms": ["linux/arm64", 1]}
    for body in (asked, {**asked, "children": []}, {**asked, "children": [{}]}):
        glance = LockGlance(json.dumps({"roots": [body]}).encode(), "lock")
        assert glance.platforms(("image", "x")) == ["linux/arm64", ""]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["os", "platform", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(["kind", "ref", "origin", "children", "platforms", "info"])


@given(st.lists(st.dictionaries(FIELDS, VALUES) | VALUES, max_size=4), VALUES)
def test_another_form_is_left_out(roots: list[object], installer: object) -> None:
    entries = [{**root, "kind": "image", "ref": "x"} if isinstance(root, dict) else root for root in roots]
    glance = LockGlance(json.dumps({"roots": entries, "installer": installer}).encode(), "lock")
    if ("image", "x") in glance:
        name = ("image", "x")
        assert all(isinstance(text, str) for text in (*glance.platforms(name), glance.origin(name), *glance.info(name)))


def test_names_of_another_form_are_left_out() -> None:
    glance = LockGlance(b'{"roots":[{"kind":[],"ref":{}},{"kind":"image","ref":"x"}]}', "lock")
    assert ("image", "x") in glance


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"roots":1,"roots":2}'])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError, match="lock"):
        LockGlance(raw, "lock")
