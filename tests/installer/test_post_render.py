"""Tests for airbundle.installer.post_render and its command, which real helm starts here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from airbundle.deploy.pins import Pin, PinTable
from airbundle.errors import CheckFailed
from airbundle.installer.post_render import post_render
from airbundle.installer.program import running_command
from tests.support.helm import HELM, write_chart

DIGEST = "sha256:" + "1" * 64
NAME = "docker.io/library/redis"
PINNED = f"reg.test/{NAME}:7.2@{DIGEST}"
PINS = PinTable(
    "reg.test", {f"{NAME}:7.2": Pin(NAME, "7.2", DIGEST, DIGEST)}, {NAME: frozenset({DIGEST})}, ("*/may/*",)
)


def pod(image: str, name: str = "x") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers: [{{name: a, image: '{image}'}}]\n"
    )


def images_of(text: bytes) -> list[str]:
    return [body["spec"]["containers"][0]["image"] for body in yaml.safe_load_all(text)]


def test_images_are_pinned_and_all_else_stays() -> None:
    text = f"---\n# Source: a\n{pod('redis:7.2')}---\n# nothing\n---\n{pod('allowed.example/may/be:1', 'y')}"
    assert images_of(post_render(text.encode(), PINS, title="x")) == [PINNED, "allowed.example/may/be:1"]


def test_nothing_is_something_that_helm_takes() -> None:
    assert post_render(b"", PINS, title="x") == b""


def test_all_images_that_the_bundle_lacks_are_told() -> None:
    with pytest.raises(CheckFailed, match="not in the bundle") as caught:
        post_render(f"{pod('a:1')}---\n{pod('redis:7.3')}".encode(), PINS, title="release x")
    assert [finding.message for finding in caught.value.findings] == [
        "docker.io/library/a:1 is not in the bundle",
        "docker.io/library/redis:7.3 is not in the bundle",
    ]


def test_what_cannot_be_read_is_not_passed_on() -> None:
    with pytest.raises(CheckFailed, match="can't be read"):
        post_render(b"a: [\n---\nkind: Pod\n", PINS, title="release x")


def template(tmp_path: Path, image: str) -> subprocess.CompletedProcess[bytes]:
    chart = write_chart(tmp_path, "one", files={"templates/pod.yaml": pod("{{ .Values.image }}")})
    pins = tmp_path / "pins.json"
    pins.write_bytes(PINS.to_bytes())
    (program, *words), environment = running_command()
    arguments = [f"--post-renderer-args={word}" for word in (*words, "post-render", str(pins), "--release", "one")]
    command: list[str | Path] = [HELM, "template", "one", chart, f"--set=image={image}"]
    command += [f"--post-renderer={program}", *arguments]
    return subprocess.run(command, env={**os.environ, **dict(environment)}, capture_output=True, check=False)


def test_helm_starts_it_and_takes_what_it_gives(tmp_path: Path) -> None:
    done = template(tmp_path, "redis:7.2")
    assert done.returncode == 0, done.stderr
    assert PINNED in done.stdout.decode()


def test_what_it_complains_of_comes_through_helm(tmp_path: Path) -> None:
    done = template(tmp_path, "redis:7.3")
    assert done.returncode != 0
    assert "docker.io/library/redis:7.3 is not in the bundle" in done.stderr.decode()
