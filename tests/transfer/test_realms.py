from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.transfer.realms import RealmRefused, check_realm, owner_domain, related
from airbundle.transfer.wire import Url


def allowed(
    registry: str,
    realm: str,
    *,
    credentials: bool = True,
    verified: bool = True,
    listed: tuple[str, ...] = (),
    plain: bool = False,
) -> bool:
    try:
        check_realm(Url.parse(registry), realm, credentials=credentials, verified=verified, listed=listed, plain=plain)
    except RealmRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://ghcr.io/v2", "https://ghcr.io/token"),
        ("https://registry-1.docker.io/v2", "https://auth.docker.io/token"),
        ("https://registry.gitlab.com/v2", "https://gitlab.com/jwt/auth"),
        ("https://registry.example.com", "https://gitlab.example.com/jwt/auth"),
        ("https://registry.example.co.uk", "https://auth.example.co.uk/"),
        ("https://registry.redhat.io", "https://sso.redhat.com/auth"),
        ("https://reg.example.com:5000", "https://reg.example.com:5001/auth"),
        ("https://10.0.0.5:5000", "https://10.0.0.5:5001/auth"),
        ("http://10.0.0.5:5000", "http://10.0.0.5:5001/auth"),
        ("http://reg.local", "https://reg.local/auth"),
    ],
)
def test_credentials_go(registry: str, realm: str) -> None:
    assert allowed(registry, realm, verified=registry.startswith("https"))


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://registry.example.com", "https://evil.test/token"),
        ("https://registry.example.com", "http://registry.example.com/token"),
        ("https://registry.example.com", "http://auth.example.com/token"),
        ("https://registry.example.com", "https://169.254.169.254/latest"),
        ("https://registry.example.com", "https://127.0.0.1/"),
        ("https://registry.example.com", "https://localhost/"),
        ("https://registry.example.com", "https://[fe80::1]/"),
        ("https://registry.example.com", "https://[::ffff:10.0.0.1]/"),
        ("https://registry.example.com", "https://u:p@registry.example.com/"),
        ("https://registry.example.com", "file:///etc/passwd"),
        ("https://registry.example.com", "/token"),
        ("https://10.0.0.5", "https://10.0.0.6/token"),
        ("https://mine.azurecr.io", "https://yours.azurecr.io/token"),
        ("https://a.co.uk", "https://b.co.uk/token"),
        ("https://registry", "https://auth/token"),
        ("https://docker.io.evil.test", "https://auth.docker.io/token"),
    ],
)
def test_credentials_stay(registry: str, realm: str) -> None:
    assert not allowed(registry, realm)


def test_an_unverified_answer_earns_nothing() -> None:
    assert not allowed("https://registry.example.com", "https://auth.example.com/", verified=False)
    assert allowed("https://registry.example.com", "https://registry.example.com/", verified=False)


def test_listed_hosts_may_be_anywhere() -> None:
    for listed in ("sso.corp.test", "sso.corp.test:8443"):
        assert allowed("https://registry.example.com", "https://sso.corp.test:8443/", listed=(listed,))
    assert not allowed("https://registry.example.com", "https://sso.corp.test:8443/", listed=("sso.corp.test:1",))
    assert allowed("https://registry.example.com", "https://10.1.1.1/", listed=("10.1.1.1",))


def test_plain_http_is_a_second_decision() -> None:
    assert not allowed("https://r.example.com", "http://sso.corp.test/", listed=("sso.corp.test",))
    assert allowed("https://r.example.com", "http://sso.corp.test/", listed=("sso.corp.test",), plain=True)


def test_without_credentials_any_public_https_host_may_be_asked() -> None:
    assert allowed("https://registry.example.com", "https://tokens.test/", credentials=False)
    assert not allowed("https://registry.example.com", "http://tokens.test/", credentials=False)
    assert not allowed("https://registry.example.com", "https://10.0.0.1/", credentials=False)


@given(st.from_regex(r"[a-z0-9.:\[\]-]{0,30}", fullmatch=True), st.from_regex(r"[a-z0-9.:\[\]-]{0,30}", fullmatch=True))
def test_related_is_symmetric_but_for_the_known(one: str, other: str) -> None:
    assert related(one, other) == related(other, one)


@given(st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}){0,4}", fullmatch=True))
def test_an_owner_domain_is_a_suffix(host: str) -> None:
    domain = owner_domain(host)
    assert domain == "" or host == domain or host.endswith("." + domain)
