from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.naming import SiteName, check_prefix, site_name
from airbundle.errors import UsageError, VerificationError

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("ref", "prefix", "expected"),
    [
        ("docker.io/library/redis:7.2", "", SiteName("docker.io/library/redis", "7.2")),
        ("docker.io/library/redis:7.2", "mirror/x", SiteName("mirror/x/docker.io/library/redis", "7.2")),
        ("host:5000/x:1", "", SiteName("host_5000/x", "1")),
        ("localhost:5000/a/b:1", "", SiteName("localhost_5000/a/b", "1")),
        ("charts.example.org/stable/app:1.2.3+build.4", "", SiteName("charts.example.org/stable/app", "1.2.3_build.4")),
        ("local/app:0.1.0", "", SiteName("local/app", "0.1.0")),
        (f"quay.io/x/y:sha256-{HEX}.sig", "", SiteName("quay.io/x/y", f"sha256-{HEX}.sig")),
        (f"quay.io/x/y@sha256:{HEX}", "p", SiteName("p/quay.io/x/y", "")),
        (f"quay.io/x/y:airbundle-{HEX[:12]}", "", SiteName("quay.io/x/y", f"airbundle-{HEX[:12]}")),
    ],
)
def test_names_keep_the_host_as_a_path(ref: str, prefix: str, expected: SiteName) -> None:
    assert site_name(ref, prefix) == expected


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "redis:7.2",
        "docker.io/../etc:1",
        "docker.io//x:1",
        "docker.io/X:1",
        "docker.io/x:-1",
        "docker.io/x@sha256:12",
        "docker.io/x?y:1",
        "docker.io/" + "a" * 250 + ":1",
        "docker.io/x:" + "1" * 129,
    ],
)
def test_impossible_names_are_refused(ref: str) -> None:
    with pytest.raises(VerificationError, match=re.escape("gives no legal name")):
        site_name(ref)


@given(st.text(alphabet="ab.:/@+-_A \x00é", max_size=30))
def test_a_name_that_passes_is_a_safe_path(ref: str) -> None:
    try:
        name = site_name(ref)
    except VerificationError:
        return
    assert re.fullmatch(r"[a-z0-9._/-]+", name.repository) and ".." not in name.repository.split("/")
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", name.tag) and not name.tag.startswith((".", "-"))


def test_prefixes() -> None:
    assert check_prefix("/a/b/") == "a/b"
    assert check_prefix("") == ""
    with pytest.raises(UsageError, match="--prefix"):
        check_prefix("A")
