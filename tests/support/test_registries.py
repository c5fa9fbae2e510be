"""The fixtures themselves: independent clients agree that these are registries."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.registries import PASSWORD, USER, Registry, run_registry
from tests.support.tls import Authority
from tests.support.tokens import TokenRequest


def client(registry: Registry) -> httpx.Client:
    if registry.ca_file is None:
        return httpx.Client(base_url=registry.url, trust_env=False)
    context = ssl.create_default_context(cafile=str(registry.ca_file))
    return httpx.Client(base_url=registry.url, verify=context, trust_env=False)


def copy(source: Path, registry: Registry, repository: str, tmp_path: Path, *options: str) -> str:
    certs = tmp_path / "certs"
    certs.mkdir(exist_ok=True)
    if registry.ca_file is not None:
        (certs / "ca.crt").write_bytes(registry.ca_file.read_bytes())
    done = subprocess.run(
        [
            *("skopeo", "copy", "--dest-cert-dir", str(certs), *options),
            *(f"dir:{source}", f"docker://{registry.host}/{repository}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image without layers, as skopeo's `dir:`."""
    import hashlib
    import json

    directory = tmp_path / "image"
    directory.mkdir()
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    digest = hashlib.sha256(config).hexdigest()
    (directory / digest).write_bytes(config)
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
    oci = "application/vnd.oci.image"
    described = {"mediaType": f"{oci}.config.v1+json", "digest": f"sha256:{digest}", "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": f"{oci}.manifest.v1+json", "config": described, "layers": []}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def test_plain_answers_and_logs(plain_registry: Registry) -> None:
    with client(plain_registry) as http:
        assert http.get("/v2/").status_code == 200
    assert any(r.path == "/v2/" and r.status == 200 for r in plain_registry.requests())


def test_tls_needs_the_ca(tls_registry: Registry) -> None:
    with client(tls_registry) as http:
        assert http.get("/v2/").status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{tls_registry.url}/v2/", trust_env=False)


def test_basic_auth(basic_registry: Registry, image: Path, tmp_path: Path) -> None:
    with client(basic_registry) as http:
        assert http.get("/v2/").status_code == 401
        assert http.get("/v2/", auth=(USER, "wrong")).status_code == 401
        assert http.get("/v2/", auth=(USER, PASSWORD)).status_code == 200
    assert "authentication required" in copy(image, basic_registry, "x/y:1", tmp_path)
    assert copy(image, basic_registry, "x/y:1", tmp_path, f"--dest-creds={USER}:{PASSWORD}") == ""


def test_token_auth(token_registry: Registry, image: Path, tmp_path: Path) -> None:
    assert token_registry.tokens is not None
    with client(token_registry) as http:
        challenge = http.get("/v2/").headers["www-authenticate"]
    assert challenge.startswith(f'Bearer realm="{token_registry.tokens.realm}"')
    assert copy(image, token_registry, "x/y:1", tmp_path) != ""
    assert copy(image, token_registry, "x/y:1", tmp_path, f"--dest-creds={USER}:{PASSWORD}") == ""
    assert TokenRequest("GET", USER, ("repository:x/y:pull,push",), 200) in token_registry.tokens.requests


def test_anonymous_pull_by_token(authority: Authority, image: Path, tmp_path: Path) -> None:
    with run_registry(tmp_path / "r", tls=authority, auth="token", anonymous_pull=True) as registry:
        assert registry.tokens is not None
        assert copy(image, registry, "x/y:1", tmp_path) != ""
        assert copy(image, registry, "x/y:1", tmp_path, f"--dest-creds={USER}:{PASSWORD}") == ""
        with client(registry) as http:
            context = ssl.create_default_context(cafile=str(registry.ca_file))
            grant = httpx.get(registry.tokens.realm, params={"scope": "repository:x/y:pull"}, verify=context).json()
            bearer = {"Authorization": f"Bearer {grant['token']}"}
            assert http.get("/v2/x/y/tags/list", headers=bearer).json() == {"name": "x/y", "tags": ["1"]}
            assert http.post("/v2/x/y/blobs/uploads/", headers=bearer).status_code == 401


def test_read_only_shares_storage(plain_registry: Registry, image: Path, tmp_path: Path) -> None:
    assert copy(image, plain_registry, "shared/y:1", tmp_path, "--dest-tls-verify=false") == ""
    with run_registry(tmp_path / "r", storage=plain_registry.storage, read_only=True) as registry:
        with client(registry) as http:
            accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}  # without it OCI is "not found"
            assert http.head("/v2/shared/y/manifests/1", headers=accept).status_code == 200
            assert http.post("/v2/shared/y/blobs/uploads/").status_code == 405
