"""The engine of the tests works on this kernel: containers, published ports, TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest

from tests.support.engine import Engine, run_registry_container
from tests.support.registries import PASSWORD, USER
from tests.support.tls import Authority


@pytest.mark.parametrize("auth", [False, True])
def test_registry_in_a_container(docker_engine: Engine, authority: Authority, tmp_path: Path, auth: bool) -> None:
    with run_registry_container(docker_engine, tmp_path / "r", tls=authority, basic_auth=auth) as registry:
        context = ssl.create_default_context(cafile=str(registry.ca_file))
        credentials = (USER, PASSWORD) if auth else None
        with httpx.Client(verify=context, auth=credentials, trust_env=False) as http:
            assert http.get(f"{registry.url}/v2/").status_code == 200
        # The engine hands logs on a moment later.
        docker_engine.process.wait_for(
            lambda: any(request.status == 200 for request in registry.requests()) or None, what="the access log"
        )


def test_the_command_line_sees_it(docker_engine: Engine) -> None:
    assert "registry" in docker_engine.command("image", "ls", "--format", "{{.Repository}}")
