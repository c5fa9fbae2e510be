"""Tests for airbundle.transfer.kubeconfig_write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.transfer.kubeconfig import ClusterAccess, load_kubeconfig
from airbundle.transfer.kubeconfig_write import kubeconfig_of
from airbundle.transfer.wire import Url

ACCESS = ClusterAccess("site", Url.parse("https://10.0.0.1:6443/api-of/it"), ca=b"pem of the ca")


@pytest.mark.parametrize(
    "access",
    [
        ACCESS,
        replace(ACCESS, token="t-o-k-e-n"),
        replace(ACCESS, certificate=b"pem", key=b"pem of the key"),
        replace(ACCESS, ca=b"", insecure=True),
    ],
)
def test_what_is_written_is_read_as_the_same_access(access: ClusterAccess, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(json.dumps(kubeconfig_of(access)))
    assert load_kubeconfig(file) == access


def test_a_server_that_is_not_checked_has_no_ca_beside_it() -> None:
    """Helm refuses both together."""
    cluster = kubeconfig_of(replace(ACCESS, insecure=True))["clusters"][0]["cluster"]
    assert "certificate-authority-data" not in cluster
