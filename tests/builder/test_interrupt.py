"""Ctrl-C and SIGTERM while upstream says nothing: the command ends, by its exit code, and goes on the next time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.builder.conftest import UPSTREAM, Workshop
from tests.support import images
from tests.support.faults import Fault, faulty

COMMAND = [sys.executable, "-c", "import sys; from airbundle.cli.entry import main; sys.exit(main())"]
FOREVER = 300.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stalled_build_ends_and_goes_on_later(workshop: Workshop, number: signal.Signals) -> None:
    workshop.put(images.tiny_image("app", sizes=(3_000_000,)), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    good = Path(workshop.build(workshop.root).body["path"])
    want = good.read_bytes()
    good.unlink()
    with faulty(workshop.registry.url, [Fault("stall", path="/blobs/", after=2_000_000, seconds=FOREVER)]) as proxy:
        registries = workshop.root / "stalled.yaml"
        mirror = {"endpoint": [proxy.url], "default_endpoint": False}
        registries.write_text(json.dumps({"mirrors": {UPSTREAM: mirror}}))
        words = ["build", workshop.root / "inventory", "--registries", registries, "--no-installer"]
        words += ["-o", workshop.root, "--cache-dir", workshop.root / "cache", "--json"]
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("fetch: begins"):
                break
        while not any("/blobs/" in path for _, path, _ in proxy.requests):
            threading.Event().wait(0.02)
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in error
    assert json.loads(out)["errors"][0]["type"] == "Interrupted"
    assert not good.exists()
    assert workshop.build(workshop.root).code == 0
    assert good.read_bytes() == want


def test_a_lock_that_waits_for_a_registry_ends(workshop: Workshop) -> None:
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    with faulty(workshop.registry.url, [Fault("status", method="HEAD", status=503, retry_after="100")]) as proxy:
        registries = workshop.root / "busy.yaml"
        mirror = {"endpoint": [proxy.url], "default_endpoint": False}
        registries.write_text(json.dumps({"mirrors": {UPSTREAM: mirror}}))
        words = ["lock", workshop.root / "inventory", "--registries", registries, "--no-installer"]
        process = subprocess.Popen([*COMMAND, *map(str, words)], stderr=subprocess.PIPE, text=True)
        while not proxy.requests:
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error


def test_before_the_command_line_is_loaded_ctrl_c_leaves_no_traceback() -> None:
    code = (
        "import os, signal, sys, airbundle.cli.entry as entry\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'airbundle.cli.main': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "entry.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""
