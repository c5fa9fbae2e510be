from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import DocumentError
from airbundle.transfer.credentials import FILE_LIMIT, Credential, CredentialStore, decode_auth, usual_places


def auth(user: str = "u", password: str = "p") -> dict[str, str]:
    return {"auth": b64encode(f"{user}:{password}".encode()).decode()}


def store(tmp_path: Path, *bodies: dict[str, Any], told: list[str] | None = None) -> CredentialStore:
    paths = []
    for number, body in enumerate(bodies):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(body))
        paths.append(path)
    tell = (told if told is not None else []).append
    return CredentialStore(tuple(paths), environ={"PATH": f"{tmp_path}:/usr/bin:/bin"}, tell=tell)


def helper(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_usual_places_in_order() -> None:
    env = {"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert [str(path) for path in usual_places(env)] == [
        "/run/user/7/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
        "/h/.config/helm/registry/config.json",
    ]
    named = {**env, "REGISTRY_AUTH_FILE": "/a", "DOCKER_CONFIG": "/d", "HELM_REGISTRY_CONFIG": "/r"}
    assert [str(path) for path in usual_places(named)] == ["/a", "/d/config.json", "/r"]
    assert "/x/containers/auth.json" in map(str, usual_places({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}))


@pytest.mark.parametrize("key", ["h:5000", "https://h:5000", "http://h:5000/v1/", "https://h:5000/v2/", "h:5000/"])
def test_keys_of_all_forms(tmp_path: Path, key: str) -> None:
    assert store(tmp_path, {"auths": {key: auth()}}).find("h:5000", "a/b") == Credential("u", "p")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_many_names(tmp_path: Path, key: str) -> None:
    found = store(tmp_path, {"auths": {key: auth()}})
    assert found.find("registry-1.docker.io", "library/redis") == Credential("u", "p")
    assert found.find("docker.io") == Credential("u", "p")


def test_the_closest_namespace_wins(tmp_path: Path) -> None:
    found = store(tmp_path, {"auths": {"q": auth("all"), "q/a": auth("a"), "q/a/b": auth("ab")}})
    assert found.find("q", "a/b/c") == Credential("ab", "p")
    assert found.find("q", "a/x") == Credential("a", "p")
    assert found.find("q", "ab") == Credential("all", "p")
    assert found.find("other", "a") is None


def test_the_first_file_wins_and_missing_ones_are_passed_over(tmp_path: Path) -> None:
    found = store(tmp_path, {"auths": {"a": auth("1")}}, {"auths": {"a": auth("2"), "b": auth("3")}})
    assert found.find("a") == Credential("1", "p")
    assert found.find("b") == Credential("3", "p")
    assert CredentialStore((tmp_path / "none", tmp_path / "0.json" / "x")).find("a") is None


def test_other_kinds_of_entries(tmp_path: Path) -> None:
    found = store(
        tmp_path,
        {
            "auths": {
                "plain": {"username": "u", "password": "p:q"},
                "refresh": {"identitytoken": "t"},
                "bearer": {"registrytoken": "b"},
                "empty": {},
                "odd": {"auth": "!!!"},
            }
        },
    )
    assert found.find("plain") == Credential("u", "p:q")
    assert found.find("refresh") == Credential(identity_token="t")
    assert found.find("bearer") == Credential(registry_token="b")
    assert found.find("empty") is None
    assert found.find("odd") is None


def test_helpers(tmp_path: Path) -> None:
    helper(
        tmp_path, "one", 'read server; printf \'{"ServerURL":"%s","Username":"%s","Secret":"s"}\' "$server" "$server"'
    )
    helper(tmp_path, "token", 'echo \'{"ServerURL":"x","Username":"<token>","Secret":"refresh"}\'')
    found = store(tmp_path, {"credHelpers": {"h:5000": "one", "acr": "token"}, "credsStore": "one"})
    assert found.find("h:5000", "a") == Credential("h:5000", "s")
    assert found.find("acr") == Credential(identity_token="refresh")
    assert found.find("registry-1.docker.io") == Credential("https://index.docker.io/v1/", "s")


def test_a_helper_that_knows_nothing_is_silent(tmp_path: Path) -> None:
    helper(tmp_path, "none", "echo 'credentials not found in native keychain'; exit 1")
    told: list[str] = []
    found = store(tmp_path, {"credsStore": "none", "auths": {"h": auth()}}, told=told)
    assert found.find("h") == Credential("u", "p")
    assert found.find("other") is None
    assert told == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo topsecret; echo topsecret >&2; exit 3", "ended with 3"),
        ("echo topsecret", "no Username and Secret"),
        ("echo '{\"Username\":1}'", "no Username and Secret"),
    ],
)
def test_a_broken_helper_is_told_once(tmp_path: Path, script: str, reason: str) -> None:
    helper(tmp_path, "bad", script)
    told: list[str] = []
    found = store(tmp_path, {"credsStore": "bad"}, told=told)
    assert found.find("h") is None
    assert found.find("i") is None
    assert len(told) == 1
    assert reason in told[0]
    assert "topsecret" not in told[0]


@pytest.mark.parametrize("name", ["missing", "../../bin/sh", "a b", "-x"])
def test_helpers_that_are_none(tmp_path: Path, name: str) -> None:
    told: list[str] = []
    assert store(tmp_path, {"credsStore": name}, told=told).find("h") is None
    assert "no such program" in told[0]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths": ["topsecret"]}', '{"auths": {"h": "topsecret"}}', '"topsecret"']
)
def test_malformed_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        CredentialStore((path,)).find("h")
    assert str(path) in caught.value.problem
    assert "topsecret" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"auths": {}}' + " " * FILE_LIMIT)
    with pytest.raises(DocumentError, match=f"{path}: more than {FILE_LIMIT} bytes"):
        CredentialStore((path,)).find("h")


def test_secrets_are_not_shown() -> None:
    shown = repr(Credential("robot", "hunter2", "refresh-me", "bear"))
    assert not any(secret in shown for secret in ("robot", "hunter2", "refresh-me", "bear"))


@given(st.text(min_size=1).filter(lambda user: ":" not in user), st.text().filter(lambda p: not p.endswith("\0")))
def test_decode_auth(user: str, password: str) -> None:
    assert decode_auth(b64encode(f"{user}:{password}".encode()).decode()) == (user, password)


@given(st.text())
def test_decode_auth_never_fails(text: str) -> None:
    decode_auth(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["auths", "credHelpers", "credsStore", "h", "auth"]), inner, max_size=3)
        ),
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, body: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "config.json"
    path.write_text(json.dumps(body))
    try:
        CredentialStore((path,), environ={"PATH": ""}, tell=lambda text: None).find("h", "a")
    except DocumentError:
        pass


def test_each_says_where_it_was_found(tmp_path: Path) -> None:
    helper(tmp_path, "one", """echo '{"Username": "u", "Secret": "s"}'""")
    found = store(tmp_path, {"auths": {"plain.test": auth()}}, {"credHelpers": {"helped.test": "one"}})
    plain, helped = found.find("plain.test"), found.find("helped.test")
    assert plain is not None and plain.source == f"{tmp_path}/0.json"
    assert helped is not None and helped.source == f"docker-credential-one ({tmp_path}/1.json)"
    assert found.places == (tmp_path / "0.json", tmp_path / "1.json")
