"""Progress on a real (pseudo) terminal: bars, and a terminal that is left as a shell wants it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.bundles import make_images, write_bundle
from tests.support.faults import Fault, faulty
from tests.support.images import Artifact, tiny_image
from tests.support.registries import Registry
from tests.support.storage import Storage
from tests.support.terminal import OnTerminal

MIB = 1024 * 1024
REF = "docker.io/library/redis:7.2"
AIRBUNDLE = [sys.executable, "-m", "airbundle"]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with a terminal's usual variables."""
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES", "TERM"}}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TERM": "xterm-256color", **more}


@pytest.fixture(scope="module")
def image() -> Artifact:
    return tiny_image("terminal", sizes=(6 * MIB, 5 * MIB, 4 * MIB + 1, 1000))


@pytest.fixture(scope="module")
def bundle(image: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "x-1.airbundle", make_images({REF: image})).path


@pytest.mark.parametrize("columns", [0, 10, 20, 40, 80, 200])
def test_bars_fit_and_the_terminal_is_left_clean(bundle: Path, tmp_path: Path, columns: int) -> None:
    terminal = OnTerminal([*AIRBUNDLE, "verify", bundle], columns=columns, env=environment(tmp_path))
    assert terminal.finish() == 0, terminal.written
    bars = terminal.written.partition(b"not proven")[0]
    assert b"\r" in bars.replace(b"\r\n", b"\n"), "no bar was drawn"
    screen = terminal.screen
    assert screen.clean, screen.lines
    assert not screen.coloured
    if columns >= 20:
        progress = OnTerminal([*AIRBUNDLE, "verify", bundle, "--json"], columns=columns, env=environment(tmp_path))
        assert progress.finish() == 0
        drawn = [line for line in progress.screen.lines if "%" in line]
        assert drawn and all(len(line) <= columns for line in drawn), drawn


def test_an_error_stands_on_a_line_of_its_own(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "y-1.airbundle"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    terminal = OnTerminal([*AIRBUNDLE, "verify", damaged], env=environment(tmp_path))
    assert terminal.finish() == 5
    screen = terminal.screen
    assert screen.clean, screen.lines
    assert any(line.startswith("airbundle: ") for line in screen.lines), screen.lines


@pytest.mark.parametrize("columns", [40, 80])
def test_ctrl_c(image: Artifact, plain_registry: Registry, tmp_path: Path, columns: int) -> None:
    image.put(Storage(plain_registry.storage), "terminal/app", "1")
    with faulty(plain_registry.url, [Fault("stall", path="/blobs/", after=2 * MIB, seconds=20.0)]) as proxy:
        (tmp_path / "bundle.yaml").write_text(
            json.dumps(
                {
                    "apiVersion": "airbundle.dev/v1",
                    "kind": "Bundle",
                    "metadata": {"name": "x", "version": "1"},
                    "images": [f"{proxy.host}/terminal/app:1"],
                }
            )
        )
        registries = tmp_path / "registries.yaml"
        registries.write_text(json.dumps({"mirrors": {proxy.host: {"endpoint": [proxy.url]}}}))
        words: list[str | Path] = [
            "build",
            tmp_path,
            "--no-installer",
            "--registries",
            registries,
            "-o",
            tmp_path / "x.airbundle",
        ]
        terminal = OnTerminal([*AIRBUNDLE, *words], columns=columns, env=environment(tmp_path))
        terminal.wait_for(rb"fetch: +[0-9]+%")
        terminal.type(b"\x03")
        assert terminal.finish() == 130, terminal.written
    screen = terminal.screen
    assert screen.clean, screen.lines
    assert b"Traceback" not in terminal.written
    assert any(line.startswith("airbundle: ") for line in screen.lines), screen.lines


def test_a_dumb_terminal_gets_lines(bundle: Path, tmp_path: Path) -> None:
    for more in ({"TERM": "dumb"}, {"TERM": "dumb", "NO_COLOR": "1"}):
        terminal = OnTerminal([*AIRBUNDLE, "verify", bundle], env=environment(tmp_path, **more))
        assert terminal.finish() == 0
        assert b"\x1b" not in terminal.written
        assert b"\r" not in terminal.written.replace(b"\r\n", b"\n")
        assert b"begins" in terminal.written


def test_without_colour_there_is_none(bundle: Path, tmp_path: Path) -> None:
    terminal = OnTerminal([*AIRBUNDLE, "verify", bundle], env=environment(tmp_path, NO_COLOR="1"))
    assert terminal.finish() == 0
    assert not terminal.screen.coloured


def test_quiet_draws_nothing(bundle: Path, tmp_path: Path) -> None:
    terminal = OnTerminal([*AIRBUNDLE, "verify", bundle, "--quiet"], env=environment(tmp_path))
    assert terminal.finish() == 0
    assert terminal.written == b""


ASK = """
from airbundle.cli.console import Console
ask = Console().prompt()
assert ask is not None
print([ask("the token of Secret matrix/synapse"), ask("another")])
"""


def test_a_value_is_asked_for_and_not_shown(tmp_path: Path) -> None:
    terminal = OnTerminal([sys.executable, "-c", ASK], env=environment(tmp_path))
    terminal.wait_for(rb"the token of Secret matrix/synapse: ")
    terminal.type(b"h7-Qx.93kzP\n")
    terminal.wait_for(rb"another: ")
    assert b"h7-Qx" not in terminal.written
    terminal.type(b"\n")
    assert terminal.finish() == 0
    assert terminal.screen.lines == [
        "the token of Secret matrix/synapse: ",
        "another: ",
        "['h7-Qx.93kzP', '']",
        "",
    ]


def test_interrupted_while_asking_the_terminal_shows_what_is_typed_again(tmp_path: Path) -> None:
    terminal = OnTerminal([sys.executable, "-c", ASK], env=environment(tmp_path))
    terminal.wait_for(rb"synapse: ")
    terminal.type(b"half\x03")
    terminal.wait_for(rb"KeyboardInterrupt")
    assert terminal.attributes() == terminal.before
    assert terminal.finish() != 0
    assert b"half" not in terminal.written
