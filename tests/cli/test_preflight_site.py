"""`preflight --site`: what is wrong with the site file counts once, beside all else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from airbundle.cli.main import main
from tests.cli.test_handoff import NOWHERE, SITE
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.images import tiny_image


def test_what_is_wrong_with_the_site_file_counts_once(
    tmp_path: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"names": {"replicas": 3}, "releases": {"web": {"enabled": False}}}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump({**SITE, **wrong}))
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(NOWHERE))
    bundle = sign_and_write(
        tmp_path / "shop.airbundle", content({"docker.io/library/redis:7.2": tiny_image("redis")}), key
    )
    words = [bundle, "--key", key.public, "--state-dir", tmp_path / "state", "--site", tmp_path / "site.yaml"]
    words += ["--kubeconfig", tmp_path / "kubeconfig", "--patience", "0", "--listen", "127.0.0.1:1", "--json"]
    assert main(["preflight", *map(str, words)]) == 3
    error = json.loads(capsys.readouterr().out)["errors"][0]
    codes = [each["code"] for each in error["findings"] if each.get("severity", "error") == "error"]
    assert error["message"] == "test 1.0.0: 3 things stand in the way"
    assert codes == ["site-release", "site-name", "cluster-unreachable"]
