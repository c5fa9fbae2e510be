"""Tests for airbundle.builder.tools, and what a lock has of helm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from airbundle.builder.lock import Locker, LockOptions
from airbundle.builder.tools import parse_helm, wheel_helm
from airbundle.bundle.lock import Lock
from airbundle.errors import UsageError
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import open_inventory
from airbundle.transfer.registry import RegistryClient
from tests.installer.test_tools import elf
from tests.support.helm import HELM, write_chart


def inventory(root: Path, release: Mapping[str, object] | None) -> Path:
    write_chart(root / "charts", "one")
    chart = {"name": "one", "path": "charts/one", **({"release": release} if release else {})}
    body = {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Bundle",
        "metadata": {"name": "test", "version": "1.0.0"},
        "charts": [chart],
    }
    (root / "bundle.yaml").write_text(yaml.safe_dump(body))
    return root


def lock(root: Path, previous: Lock | None = None, **options: object) -> Lock:
    with RegistryClient() as client, Locker(open_inventory(root), client, Cache(root / "cache")) as locker:
        return locker.lock(previous, LockOptions(installer=False, **options))  # type: ignore[arg-type]


def tools(found: Lock) -> dict[str, str]:
    return {root.ref.partition(":")[0]: root.origin for root in found.roots if root.kind == "tool"}


def test_the_wheels_helm_is_the_one_that_runs_here() -> None:
    found = wheel_helm()
    assert found is not None
    assert found.path == HELM


def test_charts_with_releases_bring_helm_along(tmp_path: Path) -> None:
    wheel = wheel_helm()
    assert wheel is not None
    root = inventory(tmp_path, {"name": "one"})
    first = lock(root)
    assert tools(first) == {f"tool/{wheel.key}": wheel.origin}
    assert lock(root, first) == first
    assert tools(lock(root, carry_helm=False)) == {}


def test_charts_alone_do_not(tmp_path: Path) -> None:
    assert tools(lock(inventory(tmp_path, None))) == {}


def test_what_was_given_as_a_file_stays_locked(tmp_path: Path) -> None:
    file = tmp_path / "helm-for-arm"
    file.write_bytes(elf("arm64"))
    root = inventory(tmp_path / "inventory", {"name": "one"})
    first = lock(root, helm=(parse_helm(f"arm64={file}"),))
    assert tools(first) == {"tool/helm-arm64": "helm-for-arm"}
    second = lock(root, first)
    assert set(tools(second)) == {"tool/helm-arm64", f"tool/{wheel.key}"} if (wheel := wheel_helm()) else True
    file.write_bytes(elf("arm64", b"newer"))
    third = lock(root, second, helm=(parse_helm(f"arm64={file}"),))
    assert set(tools(third)) == {"tool/helm-arm64"}
    assert third.roots != second.roots


@pytest.mark.parametrize("text", ["", "arm64", "arm64=", "mips=/bin/sh", "arm64=/no/such/file"])
def test_helm_is_given_as_architecture_and_file(text: str) -> None:
    with pytest.raises(UsageError, match="--helm"):
        parse_helm(text)


@pytest.mark.parametrize("data", [b"#!/bin/sh\n", elf("amd64"), b""])
def test_a_file_that_is_no_program_for_the_architecture_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "helm").write_bytes(data)
    with pytest.raises(UsageError, match="expected one for arm64"):
        parse_helm(f"arm64={tmp_path / 'helm'}")
