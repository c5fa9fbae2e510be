from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from airbundle.errors import DocumentError, HostError, UsageError
from airbundle.transfer import kubeconfig
from airbundle.transfer.kube_plugin import with_credentials
from airbundle.transfer.kubeconfig import ClusterAccess, load_kubeconfig

SECRET = "s3cret-Passw0rd"
PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def config(**changes: Any) -> dict[str, Any]:
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c1", "user": "u1", "namespace": "matrix"}},
            {"name": "there", "context": {"cluster": "c2", "user": "u2"}},
            {"name": "nobody", "context": {"cluster": "c1"}},
        ],
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": inline(PEM)}},
            {"name": "c2", "cluster": {"server": "https://k8s.example/one/", "insecure-skip-tls-verify": True}},
        ],
        "users": [
            {"name": "u1", "user": {"client-certificate-data": inline(PEM), "client-key": "keys/u1.key"}},
            {"name": "u2", "user": {"token": SECRET}},
        ],
        "preferences": {},
    }
    body.update(changes)
    return body


def inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


def user(**fields: Any) -> dict[str, Any]:
    return config(users=[{"name": "u1", "user": fields}])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kubeconfig, "K3S_KUBECONFIG", tmp_path / "k3s.yaml")
    (tmp_path / ".kube" / "keys").mkdir(parents=True)
    (tmp_path / ".kube" / "keys" / "u1.key").write_bytes(b"KEY")
    return tmp_path


def put(path: Path, body: Any) -> Path:
    path.write_text(json.dumps(body))
    return path


def read(home: Path, body: Any = None, context: str = "", **environ: str) -> ClusterAccess:
    if body is not None:
        put(home / ".kube" / "config", body)
    return load_kubeconfig(None, context, environ={"HOME": str(home), **environ})


def refused(home: Path, body: Any, context: str = "", kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        with_credentials(read(home, body, context))
    text = str(caught.value) + str(getattr(caught.value, "hint", ""))
    assert SECRET not in text + repr(caught.value)
    return text


def test_the_current_context_counts_unless_another_is_named(home: Path) -> None:
    here = read(home, config())
    assert (here.context, str(here.server), here.namespace) == ("here", "https://10.0.0.1:6443/", "matrix")
    assert (here.ca, here.certificate, here.key, here.token) == (PEM, PEM, b"KEY", "")
    there = read(home, context="there")
    assert (str(there.server), there.insecure, there.token) == ("https://k8s.example/one/", True, SECRET)
    assert read(home, context="nobody").certificate == b""
    assert SECRET not in repr(there)


def test_of_several_files_the_first_to_say_something_counts(home: Path) -> None:
    first = put(home / "a", {"contexts": [{"name": "here", "context": {"cluster": "c2", "user": "u2"}}]})
    second = put(home / ".kube" / "config", config())
    merged = read(home, KUBECONFIG=os.pathsep.join([str(home / "none"), str(first), str(second)]))
    assert (merged.context, str(merged.server), merged.token) == ("here", "https://k8s.example/one/", SECRET)


def test_without_a_file_it_is_k3ss_own(home: Path) -> None:
    put(home / "k3s.yaml", {**config(), "users": [{"name": "u1", "user": {"token": "of-k3s"}}]})
    assert read(home).token == "of-k3s"
    assert read(home, user(token="own")).token == "own"
    with pytest.raises(UsageError, match="no kubeconfig"):
        read(home, KUBECONFIG=str(home / "none"))


def test_a_file_that_is_named_is_the_only_one(home: Path) -> None:
    put(home / ".kube" / "config", config())
    only = put(home / "only", user(tokenFile="token"))
    (home / "token").write_text("of-the-file\n")
    only.write_text(only.read_text().replace("client-key", "x"))
    assert load_kubeconfig(only, environ={"KUBECONFIG": "/none"}).token == "of-the-file"
    with pytest.raises(UsageError, match="none is there"):
        load_kubeconfig(home / "none", environ={})
    with pytest.raises(HostError, match="directory"):
        load_kubeconfig(home, environ={})


def test_what_is_wrong_is_said_without_what_is_secret(home: Path) -> None:
    assert "'elsewhere'" in refused(home, config(), "elsewhere")
    assert "here, there, nobody" in refused(home, config(), "elsewhere")
    assert "no current context" in refused(home, config(**{"current-context": ""}))
    assert "there is no user 'u1'" in refused(home, config(users=[]))
    assert "there is no cluster" in refused(home, config(clusters=[{"name": 5}, "x"]))
    assert "username is not supported" in refused(home, user(username="me", password=SECRET))
    assert "client-key-data is not base64" in refused(home, user(**{"client-key-data": SECRET + "!"}))
    assert "no header may" in refused(home, user(token=SECRET + "\nX-Evil: 1"))
    assert "is no text" in refused(home, user(token=[SECRET]))
    bad = [{"name": "c1", "cluster": {"server": f"https://me:{SECRET}@host"}}]
    assert "no URL to use" in refused(home, config(clusters=bad))
    proxied = [{"name": "c1", "cluster": {"server": "https://h", "proxy-url": f"http://a:{SECRET}@p"}}]
    assert "proxy-url" in refused(home, config(clusters=proxied))
    assert "no kubeconfig" in refused(home, [1], kind=DocumentError)
    assert "no kubeconfig" in refused(home, {"kind": "Bundle"}, kind=DocumentError)
    (home / ".kube" / "config").write_text("a: 1\na: 2\n")
    with pytest.raises(DocumentError, match="no good"):
        read(home)
    (home / ".kube" / "config").write_text(" " * ((1 << 20) + 1))
    with pytest.raises(UsageError, match="bytes allowed"):
        read(home)


# --- plugins ----------------------------------------------------------------------------------------------------------


def plugin(home: Path, answer: Any, *, code: int = 0, **fields: Any) -> dict[str, Any]:
    script = home / ".kube" / "plug in"
    text = answer if isinstance(answer, str) else json.dumps(answer)
    script.write_text(
        f"#!/bin/sh\nprintenv KUBERNETES_EXEC_INFO COLOUR >'{home}/told'\ncat <<'E'\n{text}\nE\nexit {code}\n"
    )
    script.chmod(0o755)
    body = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./plug in",
        "args": ["token"],
        "env": [{"name": "COLOUR", "value": "blue"}],
        "interactiveMode": "IfAvailable",
        **fields,
    }
    return user(exec=body)


def credential(**status: str) -> dict[str, Any]:
    return {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}


def test_a_plugin_gives_a_token_or_a_certificate(home: Path) -> None:
    access = read(home, plugin(home, credential(token=SECRET), provideClusterInfo=True))
    assert with_credentials(access).token == SECRET
    assert with_credentials(access).plugin is None
    told, colour = (home / "told").read_text().splitlines()
    assert json.loads(told)["spec"]["cluster"]["server"] == "https://10.0.0.1:6443/"
    assert colour == "blue"
    pair = credential(clientCertificateData=PEM.decode(), clientKeyData="KEY")
    access = with_credentials(read(home, plugin(home, pair)))
    assert (access.certificate, access.key, access.token) == (PEM, b"KEY", "")
    plain = read(home, context="nobody")
    assert with_credentials(plain) is plain


def test_a_plugin_that_fails_is_named_and_nothing_that_it_says_is(home: Path) -> None:
    assert "ended with 3" in refused(home, plugin(home, SECRET, code=3))
    for answer in (
        SECRET,
        "[]",
        credential(),
        {**credential(token=SECRET), "kind": "Other"},
        {"kind": "ExecCredential"},
    ):
        assert "plug in" in refused(home, plugin(home, answer))
    assert "no text" in refused(home, plugin(home, {**credential(), "status": {"token": [SECRET]}}))
    assert "neither" in refused(home, plugin(home, credential(token=f"{SECRET}\n")))
    assert "apiVersion" in refused(home, plugin(home, "", apiVersion="example/v1"))
    assert "ask questions" in refused(home, plugin(home, "", interactiveMode="Always"))
    assert "expected a command" in refused(home, plugin(home, "", args=[1]))
    for words in ({"args": ["a\0b"]}, {"env": [{"name": "A=B", "value": "x"}]}):
        assert "can't be started" in refused(home, plugin(home, "", **words))
    assert "command is no text" in refused(home, plugin(home, "", command="a\0b"))
    missing = refused(home, plugin(home, "", command="no-such-program", installHint="install it"))
    assert "can't be started" in missing
    assert "install it" in missing
