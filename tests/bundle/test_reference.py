"""Image references: Docker's normalisation, and names at the site."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.reference import DOCKER_HUB, host_path, parse_reference, site_repository, without_credentials
from airbundle.errors import UsageError

DIGEST = "sha256:" + "0123456789abcdef" * 4
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7.2", "docker.io/library/redis:7.2"),
        ("grafana/loki:3", "docker.io/grafana/loki:3"),
        ("index.docker.io/redis:7", "docker.io/library/redis:7"),
        ("registry-1.docker.io/a/b:7", "docker.io/a/b:7"),
        ("localhost/x:1", "localhost/x:1"),
        ("host:5000/x/y", "host:5000/x/y:latest"),
        ("[fd00::1]:5000/x:1", "[fd00::1]:5000/x:1"),
        (f"quay.io/a/b:v1@{DIGEST}", f"quay.io/a/b:v1@{DIGEST}"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
    ],
)
def test_normal_forms(text: str, expected: str) -> None:
    assert str(parse_reference(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "Redis", "redis:", "redis:-x", "a//b", "/a", "a/", "redis@sha256:12", "redis@" + DIGEST.upper(), "a b",
     "host:port/x", "redis:" + "t" * 129, "x" * 300, "../etc/passwd", "a/../b", "https://quay.io/x"],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)


@pytest.mark.parametrize(
    ("name", "prefix", "expected"),
    [
        ("docker.io/library/redis", "", "docker.io/library/redis"),
        ("host:5000/x", "", "host_5000/x"),
        ("HOST.Example:5000/x", "mirror", "mirror/host.example_5000/x"),
        ("quay.io/x", "/a/b/", "a/b/quay.io/x"),
    ],
)
def test_names_at_the_site(name: str, prefix: str, expected: str) -> None:
    assert site_repository(name, prefix) == expected


def test_an_image_without_a_tag_gets_one_that_is_not_cosigns() -> None:
    reference = parse_reference(f"quay.io/a/b@{DIGEST}")
    assert reference.full_name == "quay.io/a/b:airbundle-0123456789ab"


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_any_address_gives_a_legal_component(address: object, port: int) -> None:
    assert COMPONENT.fullmatch(host_path(f"[{address}]:{port}"))


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UsageError:
        return
    assert parse_reference(str(reference)) == reference


@given(
    st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", fullmatch=True),
    st.from_regex(r"\w[\w.-]{0,20}", fullmatch=True),
)
def test_what_docker_allows_is_parsed(repository: str, tag: str) -> None:
    if not tag.isascii():
        return
    reference = parse_reference(f"{repository}:{tag}")
    assert reference.registry == DOCKER_HUB or reference.registry == repository.split("/")[0]
    assert reference.tag == tag


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("robot:s3cret@h.test/x", "…@h.test/x"),
        ("robot:s3/cr@t@h.test/x:1", "…@h.test/x:1"),
        ("https://robot:s3cret@h.test", "https://…@h.test"),
        ("h.test:5000/x:1@sha256:00", "h.test:5000/x:1@sha256:00"),
        ("redis@sha256:00", "redis@sha256:00"),
    ],
)
def test_credentials_are_not_repeated(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    with pytest.raises(UsageError) as raised:
        parse_reference(text)
    assert "s3c" not in raised.value.problem and repr(shown) in raised.value.problem
