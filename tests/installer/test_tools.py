"""Tests for airbundle.installer.tools and bundle.tool: the bundle's helm, unpacked for the machine at hand."""

from __future__ import annotations

import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airbundle.bundle.clamav_artifact import TITLE
from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import EMPTY_DESCRIPTOR, EMPTY_JSON, OCI_MANIFEST, Descriptor, artifact_manifest
from airbundle.bundle.tool import architecture_here, architecture_of, tool_ref
from airbundle.errors import VerificationError
from airbundle.installer.state import StateDirectory
from airbundle.installer.tools import site_helm, unpack_helm
from airbundle.installer.verify import Gate, Trusted, open_trusted
from airbundle.transfer.helm import Helm
from tests.installer.bundles import content, make_key, sign_and_write
from tests.support.helm import HELM
from tests.support.images import Artifact, Blob

HERE = architecture_here(platform.machine())
OTHER = "arm64" if HERE == "amd64" else "amd64"


def elf(architecture: str, rest: bytes = b"the program") -> bytes:
    machine = {"amd64": 62, "arm64": 183}[architecture]
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44) + rest


def tool(data: bytes, architecture: str, name: str = "helm") -> tuple[tuple[str, str], Artifact]:
    blob = Blob(Descriptor("application/octet-stream", sha256(data), len(data), {TITLE: name}), data)
    raw = artifact_manifest("application/vnd.airbundle.tool.v1", (blob.descriptor,))
    descriptor = Descriptor(OCI_MANIFEST, sha256(raw), len(raw), artifact_type="application/vnd.airbundle.tool.v1")
    ref = tool_ref("helm", architecture, blob.descriptor.digest)
    return ("tool", ref), Artifact(descriptor, raw, (Blob(EMPTY_DESCRIPTOR, EMPTY_JSON), blob))


@contextmanager
def trusted(tmp_path: Path, *tools: tuple[tuple[str, str], Artifact]) -> Iterator[Trusted]:
    key = make_key(tmp_path, "release")
    bundle = sign_and_write(tmp_path / "x.airbundle", content({}, others=dict(tools)), key)
    with open_trusted([bundle], StateDirectory(tmp_path / "state"), Gate((key.public,))) as found:
        yield found


def test_the_program_for_this_machine_is_unpacked_once(tmp_path: Path) -> None:
    data = elf(HERE)
    with trusted(tmp_path, tool(data, HERE), tool(elf(OTHER), OTHER)) as bundle:
        path = unpack_helm(bundle, tmp_path)
        assert path is not None
        before = path.stat()
        assert unpack_helm(bundle, tmp_path) == path
    assert path.name == f"helm-{sha256(data)[7:19]}"
    assert path.read_bytes() == data
    assert stat.S_IMODE(before.st_mode) == 0o755
    assert path.stat() == before


@pytest.mark.parametrize("before", ["nothing", "a link", "a file"])
def test_people_find_the_newest_by_its_plain_name(tmp_path: Path, before: str) -> None:
    link = tmp_path / "helm"
    if before == "a link":
        link.symlink_to("helm-0123456789ab")
    elif before == "a file":
        link.write_bytes(b"put there by somebody else")
    with trusted(tmp_path, tool(elf(HERE), HERE)) as bundle:
        path = unpack_helm(bundle, tmp_path)
    assert path is not None and link.is_symlink() and link.resolve() == path.resolve()
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


@pytest.mark.parametrize("damage", [b"", b"something else", elf(HERE) + b"x"])
def test_a_program_that_was_changed_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    with trusted(tmp_path, tool(elf(HERE), HERE)) as bundle:
        path = unpack_helm(bundle, tmp_path)
        assert path is not None
        path.write_bytes(damage)
        assert unpack_helm(bundle, tmp_path) == path
    assert path.read_bytes() == elf(HERE)
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


def test_without_the_bundle_the_one_that_it_left_is_used(tmp_path: Path) -> None:
    assert site_helm(None, tmp_path) is None
    with trusted(tmp_path, tool(elf(HERE), HERE)) as bundle:
        path = site_helm(bundle, tmp_path)
    assert path is not None
    (tmp_path / "helm-0123456789ab").write_bytes(b"put there by somebody else")
    assert site_helm(None, tmp_path) == path
    path.write_bytes(b"changed")
    assert site_helm(None, tmp_path) is None


def test_a_bundle_without_one_has_none(tmp_path: Path) -> None:
    with trusted(tmp_path, tool(elf(OTHER), OTHER)) as bundle:
        assert unpack_helm(bundle, tmp_path) is None


def test_what_is_no_program_for_this_machine_is_not_run(tmp_path: Path) -> None:
    for number, made in enumerate((tool(elf(OTHER), HERE), tool(b"#!/bin/sh\n", HERE), tool(elf(HERE), HERE, "other"))):
        directory = tmp_path / str(number)
        directory.mkdir()
        with trusted(directory, made) as bundle, pytest.raises(VerificationError):
            unpack_helm(bundle, directory)
        assert not list(directory.glob("helm-*"))


def test_the_bundles_own_helm_comes_before_that_on_the_path(tmp_path: Path) -> None:
    mine = tmp_path / "helm-carried"
    mine.symlink_to(HELM)
    assert Helm.find({"PATH": str(HELM.parent)}, carried=mine).program == mine
    assert Helm.find({"PATH": str(HELM.parent)}).program == HELM
    assert Helm.find({"AIRBUNDLE_HELM": str(HELM)}, carried=mine).program == HELM


@pytest.mark.parametrize(
    "head", [b"", b"\x7fELF", elf("amd64")[:19], b"MZ" + bytes(62), b"\x7fELF\x01\x01" + bytes(58)]
)
def test_what_is_no_program_of_linux_has_no_architecture(head: bytes) -> None:
    assert architecture_of(head) == ""
