"""Each command and each action of one, when it succeeds and when it fails: what `--json` and `--quiet` leave on stdout.

`--json` leaves one document with `apiVersion`, `kind` and `errors`, and nothing else; `--quiet` leaves nothing, and on
stderr the error alone. A command that is new must be entered in `COMMANDS_OF`, or the first test fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.cli.main import COMMANDS, main
from airbundle.store.cache import Cache
from tests.crypto.corporation import Corporation
from tests.installer.bundles import Key, content, make_key, sign_and_write
from tests.support.corpus import cache_root
from tests.support.images import tiny_image
from tests.support.locks import once_per_machine
from tests.support.process import free_port
from tests.support.registries import Registry
from tests.support.storage import Storage

Words = list[object]

pytestmark = pytest.mark.xdist_group("answers")
"""One world, in which what one command leaves is what another needs: `uninstall` finds what `install` made."""


@dataclass
class World:
    """What commands work on; `new()` is a path that nothing has."""

    root: Path
    key: Key
    bundle: Path
    registry: Registry
    port: int = field(default_factory=free_port)
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def private(self) -> Words:
        """The arguments that name the release key."""
        return ["--key", self.root / "release.pem", "--passphrase-file", self.root / "passphrase"]

    @property
    def registries(self) -> Words:
        """The arguments that let a command reach the registry."""
        return ["--registries", self.root / "registries.yaml"]

    @property
    def site(self) -> Words:
        """The arguments of a site whose registry is the test's."""
        listen = f"127.0.0.1:{self.port}"
        return ["--registry", self.registry.url, "--listen", listen, "--key", self.key.public, *self.state("site")]

    def state(self, name: str) -> Words:
        """Return the arguments for a state directory."""
        return ["--state-dir", self.root / name]

    def new(self) -> Path:
        """Return a path of nothing."""
        return self.root / f"new-{next(self.numbers)}"

    def copy(self) -> Path:
        """Return a bundle that may be changed."""
        directory = self.new()
        directory.mkdir()
        return Path(shutil.copy(self.bundle, directory))

    def inventory(self) -> Path:
        """Return an inventory of an image that the registry has."""
        directory = self.new()
        directory.mkdir()
        document = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Bundle",
            "metadata": {"name": "shop", "version": "1.0.0"},
            "images": [f"{self.registry.host}/answers/app:1"],
        }
        (directory / "bundle.yaml").write_text(json.dumps(document))
        return directory

    def installed(self) -> Words:
        """Return the arguments of a site with something installed."""
        run("install", self.bundle, *self.site, "--yes", "--quiet")
        return self.state("site")

    def site_file(self) -> Path:
        """Return a site file."""
        body = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Site",
            "metadata": {"name": "berlin"},
            "domain": "b.internal",
        }
        path = self.new()
        path.write_text(json.dumps(body))
        return path

    def certified(self) -> Words:
        """Return the arguments for a new state with a CA."""
        directory = self.new()
        run("ca", "init", "--domain", "shop.internal", "--state-dir", directory, "--quiet")
        return ["--state-dir", directory]

    def backup(self) -> Path:
        """Return a backup of a state."""
        path = self.new()
        run("state", "backup", "-o", path, "--passphrase-file", self.root / "passphrase", *self.certified(), "--quiet")
        return path

    def requested(self) -> Words:
        """Return an empty file in place of a certificate, and a state."""
        path = self.new()
        path.write_text("no certificate")
        return [path, *self.certified()]

    def signed_request(self) -> Words:
        """Return a new state that made a request for a server, and the certificate for it."""
        state: Words = ["--state-dir", self.new()]
        directory = self.new()
        directory.mkdir()
        run("ca", "csr", "a.shop.internal", "-o", directory / "a.csr", *state, "--quiet")
        corporation = Corporation(directory)
        path = directory / "a.crt"
        path.write_bytes(corporation.sign((directory / "a.csr").read_bytes()) + corporation.above)
        return [path, *state]

    def trusting(self) -> Words:
        """Return the arguments for a new state that trusts two keys."""
        directory = self.new()
        for path in (self.key.public, self.root / "other.pub"):
            run("trust", "add", path, "--state-dir", directory, "--quiet", "--yes")
        return ["--state-dir", directory]


def run(*words: object) -> int:
    """Run a command in this process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        return main([str(word) for word in words])
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def world(plain_registry: Registry) -> Iterator[World]:
    """Return a release engineer's and an operator's things."""
    root = Path(tempfile.mkdtemp(prefix="ab-answers-"))
    with once_per_machine("installer-parts"):
        ensure_parts(pinned_parts(), Cache(PARTS))
    key = make_key(root, "release")
    make_key(root, "other")
    (root / "passphrase").write_text("secret\n")
    image = tiny_image("answers")
    image.put(Storage(plain_registry.storage), "answers/app", "1")
    made = content({"docker.io/library/app:1": image}, signer=key.signer)
    bundle = sign_and_write(root / "shop-1.0.0.airbundle", made, key)
    (root / "registries.yaml").write_text(json.dumps(plain_registry.registries_yaml()))
    yield World(root, key, bundle, plain_registry)
    run("uninstall", "--yes", "--quiet", "--state-dir", root / "site")
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def _alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(world.root / name.lower()))
    monkeypatch.setenv("AIRBUNDLE_RETRY_SECONDS", "0")
    monkeypatch.delenv("AIRBUNDLE_KEY_PASSPHRASE", raising=False)
    monkeypatch.chdir(world.root)


PARTS = cache_root() / "installer-parts"  # before HOME is another one
NOTHING = "/nonexistent/x-1.airbundle"
CLOSED = "http://127.0.0.1:1"


@dataclass(frozen=True)
class Case:
    """How to make a command succeed (`good`) and how to make it fail with exit code `code` (`bad`).

    `codes` are the exit codes of a good end: for a check, 3 is one, too.
    """

    good: Callable[[World], Words]
    bad: Callable[[World], Words]
    code: int
    codes: tuple[int, ...] = (0,)


def locked(world: World) -> Words:
    """Return an inventory with its lock."""
    inventory = world.inventory()
    run("lock", inventory, *world.registries, "--no-installer", "--quiet")
    return [inventory, *world.registries, "--no-installer", "-o", world.new()]


def chained(world: World) -> Words:
    """Return a delta and its base, and an output."""
    words, full, delta = locked(world)[:-1], world.new(), world.new()
    run("build", *words, full, "--quiet")
    run("build", *words, delta, "--base", full, "--quiet")
    return [delta, full, "-o", world.new()]


COMMANDS_OF: dict[str, Case] = {
    "init": Case(lambda w: [w.new()], lambda w: [w.inventory()], 2),
    "lock": Case(lambda w: [w.inventory(), *w.registries, "--no-installer"], lambda w: [w.new(), "--no-installer"], 2),
    "scan": Case(lambda w: [w.inventory(), *w.registries], lambda w: [w.new()], 2),
    "build": Case(lambda w: [*locked(w), *w.private], lambda w: [*locked(w), "--key", w.new()], 2),
    "sign": Case(
        lambda w: [w.copy(), "--key", w.root / "other.pem", "--passphrase-file", w.root / "passphrase"],
        lambda w: [NOTHING, *w.private],
        2,
    ),
    "split": Case(lambda w: [w.bundle, "--size", "1MiB", "-o", w.new()], lambda w: [NOTHING, "--size", "1MiB"], 2),
    "compact": Case(chained, lambda w: [NOTHING, "-o", w.new()], 2),
    "publish": Case(
        lambda w: [w.bundle, f"{w.registry.host}/answers/bundles:{w.new().name}", *w.registries],
        lambda w: [w.bundle, "127.0.0.1:1/answers/bundles:1"],
        4,
    ),
    "pull": Case(
        lambda w: [f"{w.registry.host}/answers/bundles:pulled", "-o", w.new(), *w.registries],
        lambda w: [f"{w.registry.host}/answers/bundles:none", "-o", w.new(), *w.registries],
        4,
    ),
    "diff": Case(lambda w: [w.bundle, w.bundle], lambda w: [w.bundle, NOTHING], 2),
    "schema": Case(lambda w: ["bundle"], lambda w: ["nonsense"], 2),
    "inspect": Case(lambda w: [w.bundle], lambda w: [NOTHING], 2),
    "verify": Case(lambda w: [w.bundle, "--key", w.key.public], lambda w: [w.bundle, "--key", w.root / "other.pub"], 5),
    "key generate": Case(
        lambda w: ["-o", w.new(), "--passphrase-file", w.root / "passphrase"],
        lambda w: ["-o", w.root / "release.pem", "--passphrase-file", w.root / "passphrase"],
        2,
    ),
    "key public": Case(
        lambda w: [w.root / "release.pem", "--passphrase-file", w.root / "passphrase"],
        lambda w: [w.root / "release.pem", "--passphrase-file", w.root / "release.pub"],
        2,
    ),
    "preflight": Case(lambda w: [w.bundle, *w.site], lambda w: [NOTHING, *w.site], 2, (0, 3)),
    "load": Case(
        lambda w: [w.bundle, "--registry", w.registry.url, "--key", w.key.public, *w.state("loaded")],
        lambda w: [w.bundle, "--registry", CLOSED, "--key", w.key.public, *w.state("not-loaded")],
        6,
    ),
    "render": Case(
        lambda w: [w.bundle, "--key", w.key.public, *w.state("rendering"), "--site", w.site_file(), "-o", w.new()],
        lambda w: [NOTHING, "--key", w.key.public, *w.state("rendering"), "--site", w.site_file(), "-o", w.new()],
        2,
    ),
    "nodes": Case(lambda w: [*w.installed(), "-o", w.new()], lambda w: [*w.state("nowhere"), "--address", "x"], 2),
    "install": Case(
        lambda w: [w.bundle, *w.site, "--yes"],
        lambda w: [w.bundle, "--registry", CLOSED, "--key", w.key.public, *w.state("not-installed"), "--yes"],
        6,
    ),
    "status": Case(lambda w: w.state("site"), lambda w: w.state("release.pub"), 2, (0, 3)),
    # Without a cluster it has nothing to go back to: tests/site has those that do.
    "rollback": Case(lambda w: w.state("site"), lambda w: [*w.state("site"), "--site", "none"], 2, codes=(2,)),
    "prune": Case(lambda w: [*w.state("site"), "--yes"], lambda w: [*w.state("site"), "--keep", 0], 2),
    "uninstall": Case(lambda w: [*w.state("nowhere"), "--yes"], lambda w: w.trusting(), 2),
    "ca init": Case(lambda w: ["--state-dir", w.new()], lambda w: w.certified(), 2),
    "ca issue": Case(lambda w: ["a.shop.internal", *w.certified()], lambda w: ["www.example.org", *w.certified()], 2),
    "ca renew": Case(lambda w: w.certified(), lambda w: ["--ca", "--state-dir", w.new()], 2),
    "ca rotate": Case(lambda w: w.certified(), lambda w: ["--state-dir", w.new()], 2),
    "ca csr": Case(lambda w: ["a.shop.internal", *w.certified()], lambda w: ["a b", *w.certified()], 2),
    "ca import": Case(lambda w: w.signed_request(), lambda w: w.requested(), 2),
    "ca trust": Case(lambda w: ["--undo", *w.certified()], lambda w: ["--state-dir", w.new()], 2),
    "support": Case(
        lambda w: ["-o", w.new(), *w.state("site")],
        lambda w: ["-o", w.root / "release.pem", *w.state("site")],
        2,
    ),
    "state backup": Case(
        lambda w: ["-o", w.new(), "--passphrase-file", w.root / "passphrase", *w.certified()],
        lambda w: ["-o", w.new(), "--passphrase-file", w.root / "passphrase", *w.state("nowhere")],
        2,
    ),
    "state restore": Case(
        lambda w: [w.backup(), "--passphrase-file", w.root / "passphrase", "--state-dir", w.new()],
        lambda w: [w.bundle, "--passphrase-file", w.root / "passphrase", "--state-dir", w.new()],
        5,
    ),
    "trust show": Case(lambda w: w.trusting(), lambda w: ["nonsense", *w.trusting()], 2),
    "trust add": Case(lambda w: [w.key.public, *w.state("adding"), "--yes"], lambda w: [w.new(), *w.state("x")], 2),
    "trust remove": Case(
        lambda w: [w.key.signer.public_key.key_id, *w.trusting(), "--yes"],
        lambda w: ["sha256:" + "0" * 64, *w.trusting(), "--yes"],
        2,
    ),
}
APART = {"serve", "installer"}
"""Tested below: one runs until it is stopped, the other fetches wheels unless it has them."""


def actions_of(name: str) -> list[str]:
    """Return the actions of a command as its parser has them; itself for one without."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"airbundle.cli.{COMMANDS[name][0]}").configure(parser)
    for argument in parser._actions:
        if argument.dest == "action" and argument.choices:
            return [f"{name} {choice}" for choice in argument.choices]
    return [name]


def test_no_command_and_no_action_is_forgotten() -> None:
    assert {action for name in COMMANDS for action in actions_of(name)} == set(COMMANDS_OF) | APART


def check_json(name: str, out: str, code: int) -> None:
    """Check that a document is whole and says what the exit code says."""
    document = json.loads(out)
    assert document["apiVersion"] == "airbundle.dev/v1"
    assert document["kind"] == f"{name.split()[0].capitalize()}Result"
    assert isinstance(document["errors"], list)
    assert bool(document["errors"]) is (code != 0)
    for error in document["errors"]:
        assert error["type"] and error["message"]


def check_quiet(out: str, err: str, code: int) -> None:
    """Check that nothing is said, but an error."""
    assert out == ""
    if code == 0:
        assert err == ""
    else:
        assert err.startswith("airbundle: ")


@pytest.mark.parametrize("name", COMMANDS_OF)
def test_json_and_quiet(name: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    case = COMMANDS_OF[name]
    if name == "pull":
        run("publish", world.bundle, f"{world.registry.host}/answers/bundles:pulled", *world.registries, "--quiet")
    for words, codes in ((case.good, case.codes), (case.bad, (case.code,)), (lambda _: ["--nonsense"], (2,))):
        for form in ("--json", "--quiet"):
            ready = words(world)
            capfd.readouterr()
            code = run(*name.split(), *ready, form)
            out, err = capfd.readouterr()
            assert "Traceback" not in err
            assert code in codes, (ready, out, err)
            if form == "--json":
                check_json(name, out, code)
            else:
                check_quiet(out, err, code)


@pytest.mark.parametrize(
    ("place", "name", "code"),
    [
        ("airbundle.server.run:_Gunicorn", "load_config", 143),
        ("importlib", "import_module", 143),  # gunicorn takes all that is raised there for a bad setting
        ("gunicorn.arbiter:Arbiter", "setup", 143),
        ("gunicorn.arbiter:Arbiter", "start", 0),
        ("gunicorn.arbiter:Arbiter", "init_signals", 0),
        ("gunicorn.arbiter:Arbiter", "manage_workers", 0),
    ],
)
def test_serve_that_is_stopped_while_it_begins_says_so(world: World, place: str, name: str, code: int) -> None:
    script = (
        "import os, pkgutil, signal, sys\n"
        "from airbundle.cli.main import main\n"
        "import airbundle.server.run\n"
        f"place = pkgutil.resolve_name({place!r})\n"
        f"inner = place.{name}\n"
        "def stopped(*arguments):\n"
        "    if not isinstance(arguments[0], str) or arguments[0] == 'gunicorn.glogging':\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return inner(*arguments)\n"
        f"place.{name} = stopped\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["serve", world.bundle, "--key", world.key.public, "--listen", f"127.0.0.1:{free_port()}", "--json"]
    done = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    check_json("serve", done.stdout, done.returncode)


def test_serve_answers_when_it_is_stopped(world: World) -> None:
    for form in ("--json", "--quiet"):
        port = free_port()
        command = [sys.executable, "-m", "airbundle", "serve", world.bundle, "--key", world.key.public, form]
        command += ["--listen", f"127.0.0.1:{port}"]
        with subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while process.poll() is None and not listens(port):
                pass
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
        assert process.returncode in (0, 143), err
        if form == "--json":
            check_json("serve", out, process.returncode)
        else:
            assert out == ""
        failed = subprocess.run([*map(str, command[:4]), NOTHING, form], capture_output=True, text=True, check=False)
        assert failed.returncode == 2
        if form == "--json":
            check_json("serve", failed.stdout, 2)
        else:
            check_quiet(failed.stdout, failed.stderr, 2)


def listens(port: int) -> bool:
    """Tell whether somebody listens."""
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("form", ["--json", "--quiet"])
def test_installer_answers(form: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    for output, expected in ((world.new(), 0), (world.new() / "none" / "x.pyz", 2)):
        capfd.readouterr()
        code = run("installer", "-o", output, "--cache-dir", PARTS, form)
        out, err = capfd.readouterr()
        assert code == expected, (out, err)
        check_json("installer", out, code) if form == "--json" else check_quiet(out, err, code)
