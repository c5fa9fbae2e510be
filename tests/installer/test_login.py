"""The login of a site file, at a real registry with htpasswd: for airbundle itself, and what nodes lack."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from airbundle.cli.install import configure, options_of
from airbundle.cli.site_order import take_registry
from airbundle.errors import AirbundleError, DocumentError, Unauthorized, UsageError
from airbundle.installer.kept import installed_target, kept_options
from airbundle.installer.login import read_login
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.target import parse_target
from airbundle.store.site_dir import open_site
from airbundle.transfer.strangers import refuses_strangers
from airbundle.transfer.tls import TlsSettings
from tests.support.registries import PASSWORD, USER, Registry


def site(root: Path, auth: Any, **more: Any) -> Path:
    registry = {"mode": "external", "url": "https://harbor.test", **more, **({"auth": auth} if auth else {})}
    body = {"apiVersion": "airbundle.dev/v1", "kind": "Site", "metadata": {"name": "berlin"}, "registry": registry}
    path = root / "site.yaml"
    path.write_text(json.dumps(body))
    path.chmod(0o600)
    return path


def with_file(root: Path, text: str, mode: int = 0o600, **more: Any) -> Path:
    (root / "password").write_bytes(text.encode())
    (root / "password").chmod(mode)
    return site(root, {"username": USER, "passwordFile": "password"}, **more)


@pytest.mark.parametrize("text", ["hush", "hush\n", "hush\r\nmore\n"])
def test_the_first_line_of_the_file_is_the_password(tmp_path: Path, text: str) -> None:
    login = read_login(with_file(tmp_path, text))
    assert login is not None
    assert (login.username, login.password) == (USER, "hush")
    assert "hush" not in repr(login)


def test_a_password_in_the_site_file_itself_and_none_at_all(tmp_path: Path) -> None:
    login = read_login(site(tmp_path, {"username": USER, "password": "hush"}))
    assert login is not None and login.password == "hush"
    assert read_login(site(tmp_path, None)) is None


@pytest.mark.parametrize("inline", [False, True])
def test_a_file_that_others_may_read_is_told(tmp_path: Path, inline: bool, caplog: pytest.LogCaptureFixture) -> None:
    path = site(tmp_path, {"username": USER, "password": "hush"}) if inline else with_file(tmp_path, "hush", 0o644)
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        read_login(path)
    assert f"{'site.yaml' if inline else 'password'} is readable for others" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("text", ["", "\nhush", "hu\x07sh"])
def test_a_file_without_a_password(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="its first line is no password") as refused:
        read_login(with_file(tmp_path, text))
    assert "hush" not in str(refused.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    path = with_file(tmp_path, "hush")
    (tmp_path / "password").unlink()
    with pytest.raises(UsageError, match="there is no such file"):
        read_login(path)
    path.unlink()
    with pytest.raises(UsageError, match="it says how to log in") as refused:
        read_login(path)
    assert "--site" in refused.value.hint


@pytest.mark.parametrize("mode", ["embedded", "container"])
def test_a_login_goes_with_an_external_registry_only(tmp_path: Path, mode: str) -> None:
    with pytest.raises(DocumentError):
        open_site(site(tmp_path, {"username": USER, "password": "x"}, mode=mode))


@pytest.mark.parametrize("kind", ["basic_registry", "token_registry"])
def test_a_real_registry_takes_it(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    registry: Registry = request.getfixturevalue(kind)
    target = parse_target(registry.url, ca_file=registry.ca_file, login=with_file(tmp_path, f"{PASSWORD}\n"))
    with target.client() as client:
        digest = client.repository(f"{registry.host}/login/of-a-site").push_blob_bytes(b"x")
        assert client.repository(f"{registry.host}/login/of-a-site").has_blob(digest)
    assert target.user == USER


def test_a_wrong_password_is_refused_and_not_told(basic_registry: Registry, tmp_path: Path) -> None:
    login = with_file(tmp_path, "not-the-password")
    target = parse_target(basic_registry.url, ca_file=basic_registry.ca_file, login=login)
    with target.client() as client, pytest.raises(Unauthorized) as refused:
        client.repository(f"{basic_registry.host}/login/refused").push_blob_bytes(b"x")
    told = f"{refused.value} {refused.value.hint} {target!r}"
    assert "not-the-password" not in told
    assert "site.yaml" in told or "password" in told  # where the login comes from


def test_the_site_files_login_goes_before_registries_yaml(basic_registry: Registry, tmp_path: Path) -> None:
    document = tmp_path / "registries.yaml"
    document.write_text(json.dumps(basic_registry.registries_yaml()).replace(PASSWORD, "stale"))
    login = with_file(tmp_path, PASSWORD)
    target = parse_target(basic_registry.url, registries=document, login=login)
    with target.client() as client:
        client.repository(f"{basic_registry.host}/login/first").push_blob_bytes(b"y")


def test_the_arguments_of_a_command_take_it_from_the_site_file(tmp_path: Path) -> None:
    path = with_file(tmp_path, "hush")
    parser = argparse.ArgumentParser()
    configure(parser)
    args = parser.parse_args(["x.airbundle", "--site", str(path), "--state-dir", str(tmp_path / "state")])
    take_registry(args, open_site(path))
    target = options_of(args).target
    assert target is not None and target.login == path
    assert "hush" not in repr(args)


def test_what_is_installed_knows_the_file_and_not_the_password(tmp_path: Path) -> None:
    path = with_file(tmp_path, "hush")
    installed = Installed(
        mode="url", registry="https://harbor.test", registry_here="https://harbor.test", login=str(path)
    )
    state = StateDirectory(tmp_path / "state")
    assert installed_target(state, Installed.parse(installed.to_bytes(), where="x")).login == path
    assert b"hush" not in installed.to_bytes()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state.json").write_bytes(installed.to_bytes())
    kept = kept_options(state).target
    assert kept is not None and kept.login == path


@pytest.mark.parametrize("site_says", [True, False])
def test_a_login_that_the_site_file_has_no_more_is_dropped(tmp_path: Path, site_says: bool) -> None:
    path = with_file(tmp_path, "hush")
    state = StateDirectory(tmp_path / "state")
    state.root.mkdir()
    installed = Installed(
        mode="url", registry="https://harbor.test", registry_here="https://harbor.test", login=str(path)
    )
    (state.root / "state.json").write_bytes(installed.to_bytes())
    parser = argparse.ArgumentParser()
    configure(parser)
    args = parser.parse_args(["x.airbundle", "--state-dir", str(state.root)])
    if site_says:
        (tmp_path / "moved").mkdir()
        bare = site(tmp_path / "moved", None)
        take_registry(args, open_site(bare))
    target = options_of(args).target
    assert target is not None and target.login == (None if site_says else path)


def _refuses(registry: Registry) -> bool:
    tls = TlsSettings(str(registry.ca_file)) if registry.ca_file else TlsSettings()
    return refuses_strangers(registry.url, registry.host, tls, "docker.io/library/none", "1")


def test_a_registry_that_lets_nobody_pull_without_a_login(
    basic_registry: Registry,
    token_registry: Registry,
    tls_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # The login of whoever runs this is not the nodes'.
    (tmp_path / "auth.json").write_text("{}")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert (_refuses(basic_registry), _refuses(token_registry), _refuses(tls_registry)) == (True, True, False)


def test_one_that_does_not_answer_is_told_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRBUNDLE_HTTP_BUDGET", "0")
    assert not refuses_strangers("http://127.0.0.1:1", "127.0.0.1:1", TlsSettings(), "x", "1")
    assert issubclass(Unauthorized, AirbundleError)
