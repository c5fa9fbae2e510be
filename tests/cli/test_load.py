"""`airbundle load` as a process: exit codes, answers, and a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airbundle.installer import lock
from tests.installer.bundles import Key, chart, content, make_key, sign_and_write
from tests.installer.proxy import stalling_proxy
from tests.support.bundles import SERIAL
from tests.support.faults import faulty, hook
from tests.support.images import image, layer, noise, tiny_image
from tests.support.process import START_LIMIT
from tests.support.registries import Registry, run_registry
from tests.support.registry3 import MISSING, registry3
from tests.support.tls import Authority

MIB = 1024 * 1024
BASE = layer({"base": noise("base", 4_000_000)})
IMAGES = {f"docker.io/library/app{i}:1": tiny_image(f"app{i}", shared=[BASE], sizes=(200_000,)) for i in range(3)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    made = content(IMAGES, charts={"charts.example.org/app:1.0.0": chart("app", "1.0.0")}, signer=key.signer)
    return sign_and_write(tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle", made, key)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "airbundle", *map(str, arguments)]


def run(*arguments: str | Path, patience: str = "2") -> tuple[int, dict[str, Any], str]:
    """Run a command with `--json`; return exit code, document and what it wrote to stderr."""
    env = {**environment(), "AIRBUNDLE_RETRY_SECONDS": patience}
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, env=env)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "AIRBUNDLE_RETRY_SECONDS": "2"}


def into(registry: Registry, state: Path, *more: str | Path) -> list[str | Path]:
    assert registry.ca_file is not None
    return ["--registry", registry.url, "--registry-ca", registry.ca_file, "--state-dir", state, *more]


def test_the_whole_way_and_once_more(bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    state = tmp_path / "state"
    code, first, told = run("load", bundle, *into(empty_registry, state, "--key", key.public))
    assert code == 0
    assert f"{state}/trust.json trusts {key.signer.public_key.key_id} from now on" in told
    assert (first["images"], first["charts"], first["changed"], first["kind"]) == (3, 1, True, "LoadResult")
    before = len(empty_registry.uploads())
    code, second, told = run("load", bundle, *into(empty_registry, state))
    assert "trust.json" not in told
    assert (code, second["changed"], second["sent"], second["tags"]) == (0, False, 0, 0)
    assert len(empty_registry.uploads()) == before


def test_a_load_that_is_killed_goes_on(
    bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path, authority: Authority
) -> None:
    state = tmp_path / "state"
    assert empty_registry.ca_file is not None
    with stalling_proxy(empty_registry.port, 2_000_000) as proxy:
        arguments: list[str | Path] = [
            "--registry",
            f"https://{proxy.host}",
            "--registry-ca",
            empty_registry.ca_file,
            "--jobs",
            "1",
        ]
        process = subprocess.Popen(
            command("load", bundle, *arguments, "--state-dir", state, "--key", key.public),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        try:
            assert proxy.stalled.wait(60)
            # It still holds the lock: another one is told so.
            code, busy, _ = run("load", bundle, *into(empty_registry, state))
            assert code == 8
            assert f"process {process.pid}" in busy["errors"][0]["message"]
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert not empty_registry.stored("_manifests")
    code, result, _ = run("load", bundle, *into(empty_registry, state))
    assert code == 0 and result["changed"]
    assert len(empty_registry.stored("tags/1")) == 3


def settled(registry: Registry) -> int:
    """Return how many bytes of the one upload under way a registry has, once it knows that the line was cut."""
    end = time.monotonic() + START_LIMIT
    while True:
        sizes = [int(path.name) for path in registry.storage.glob("**/_uploads/*/hashstates/sha256/*")]
        if any(sizes):
            return max(sizes)
        assert time.monotonic() < end, "the registry waits for more"
        time.sleep(0.01)


@pytest.mark.parametrize("version", [2, 3])
def test_a_half_sent_blob_goes_on_where_the_registry_keeps_it(version: int, key: Key, tmp_path: Path) -> None:
    """registry:3 does; registry:2 has no way to go on with an upload of which a PATCH was cut."""
    binary = registry3() if version == 3 else None
    if version == 3 and binary is None:
        pytest.skip(MISSING)
    large = layer({"large": noise("large", 48 * MIB)}, compression="none")
    path = sign_and_write(
        tmp_path / "large-1.0.0.airbundle", content({"docker.io/library/large:1": image([large])}), key
    )
    state = tmp_path / "state"
    with run_registry(tmp_path / "r", binary=binary) as registry, stalling_proxy(registry.port, 30 * MIB) as proxy:
        words: list[str | Path] = ["load", path, "--registry", f"http://{proxy.host}", "--state-dir", state]
        process = subprocess.Popen(
            command(*words, "--key", key.public),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        try:
            assert proxy.stalled.wait(START_LIMIT)
        finally:
            process.kill()
            process.wait()
        assert (state / "uploads.json").stat().st_mode & 0o777 == 0o600
        secret = json.loads((state / "uploads.json").read_text())["uploads"][0]["location"].partition("?")[2]
        proxy.go_on()
        had = settled(registry)
        assert 20 * MIB < had <= 30 * MIB
        code, result, told = run(*words, "--verbose")
        assert code == 0, told
        sent = large.descriptor.size - (had if version == 3 else 0)
        # What else goes over the line is small: the configuration, manifests, and requests.
        assert sent < proxy.received < sent + MIB
        assert sent <= result["sentBytes"] < sent + MIB
        assert secret and secret not in told and secret not in (state / "journal.jsonl").read_text()
        assert ("from an earlier run" in told) == (version == 3)
        assert not (state / "uploads.json").exists()
        assert run(*words)[1]["changed"] is False


def test_a_registry_that_is_restarted_in_the_middle(bundle: Path, key: Key, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with ExitStack() as first, run_registry(tmp_path / "2", storage=storage) as second:
        registry = first.enter_context(run_registry(tmp_path / "1", storage=storage))

        def restart() -> None:
            first.close()
            proxy.target = second.host

        restarts = hook(restart, method="PATCH", times=1)
        with faulty(registry.url, [restarts]) as proxy:
            # What the proxy has in hand is gone with the first registry, and so is every upload session's memory.
            words: list[str | Path] = ["load", bundle, "--registry", proxy.url, "--state-dir", tmp_path / "state"]
            code, _, told = run(*words, "--key", key.public, patience="60")
            assert code == 0, told
            assert restarts.done == 1
            code, again, told = run(*words)
            assert code == 0, told
            assert again["changed"] is False
    assert len(list(storage.rglob("tags/1"))) == 3


def test_an_interrupt_keeps_what_is_done(bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    assert empty_registry.ca_file is not None
    with stalling_proxy(empty_registry.port, 2_000_000) as proxy:
        arguments: list[str | Path] = ["--registry", f"https://{proxy.host}", "--registry-ca", empty_registry.ca_file]
        process = subprocess.Popen(
            command("load", bundle, *arguments, "--state-dir", tmp_path / "state", "--key", key.public, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert proxy.stalled.wait(60)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert json.loads(out)["errors"][0]["type"] == "Interrupted"
    assert "Traceback" not in err
    lock.check_free(tmp_path / "state" / "lock")


def refused(code: int, document: dict[str, Any], *words: str, exit_code: int) -> None:
    error = document["errors"][0]
    text = f"{error['message']} {error.get('hint', '')}"
    assert code == exit_code, document
    assert all(word in text for word in words), text


def test_without_a_key_the_next_step_is_told(bundle: Path, empty_registry: Registry, tmp_path: Path) -> None:
    code, document, _ = run("load", bundle, *into(empty_registry, tmp_path / "state"))
    refused(code, document, "trusts no release key", "--key release.pub", exit_code=5)
    assert not (tmp_path / "state").exists()
    assert empty_registry.uploads() == []


def test_an_unsigned_bundle_is_refused(key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    path = sign_and_write(tmp_path / "u.airbundle", content(IMAGES))
    code, document, _ = run("load", path, *into(empty_registry, tmp_path / "state", "--key", key.public))
    refused(code, document, "not signed", exit_code=5)
    assert not (tmp_path / "state").exists()


def test_another_key_is_refused(bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    other = make_key(tmp_path, "other")
    state = tmp_path / "state"
    code, document, _ = run("load", bundle, *into(empty_registry, state, "--key", other.public))
    refused(code, document, "signed by", "trusted is", exit_code=5)
    assert not state.exists()
    assert run("load", bundle, *into(empty_registry, state, "--key", key.public))[0] == 0
    by_other = sign_and_write(tmp_path / "o.airbundle", content(IMAGES), other)
    code, document, _ = run("load", by_other, *into(empty_registry, state, "--key", other.public))
    refused(code, document, "not one that this site trusts", exit_code=5)


def test_an_older_and_an_expired_one_need_leave(key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    state = tmp_path / "state"
    newer = sign_and_write(tmp_path / "n.airbundle", content(IMAGES, version="1.1.0", serial=SERIAL + 60), key)
    older = sign_and_write(tmp_path / "o.airbundle", content(IMAGES), key)
    ended = sign_and_write(
        tmp_path / "e.airbundle", content(IMAGES, serial=SERIAL + 90, expires="2026-01-02T00:00:00Z"), key
    )
    assert run("load", newer, *into(empty_registry, state, "--key", key.public))[0] == 0
    code, document, _ = run("load", older, *into(empty_registry, state))
    refused(code, document, "is older", "--allow-older", exit_code=5)
    assert run("load", older, *into(empty_registry, state, "--allow-older"))[0] == 0
    code, document, _ = run("load", ended, *into(empty_registry, state))
    refused(code, document, "expired at 2026-01-02", "--allow-expired", exit_code=5)
    assert run("load", ended, *into(empty_registry, state, "--allow-expired"))[0] == 0
    journal = (state / "journal.jsonl").read_text()
    assert '"allowed": ["older"]' in journal and '"allowed": ["expired"]' in journal
    # Leave for an older one does not lower what counts.
    assert run("load", older, *into(empty_registry, state))[0] == 5


def test_a_registry_that_refuses(bundle: Path, key: Key, tmp_path: Path, authority: Authority) -> None:
    with run_registry(tmp_path / "registry", tls=authority, read_only=True) as registry:
        code, document, _ = run("load", bundle, *into(registry, tmp_path / "state", "--key", key.public))
    refused(code, document, "405", "read-only", exit_code=6)
    assert document["outcome"] == "unchanged"


def test_a_wrong_ca(bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    state = tmp_path / "state"
    code, document, _ = run("load", bundle, "--registry", empty_registry.url, "--key", key.public, "--state-dir", state)
    refused(code, document, "certificate is not trusted", exit_code=6)
    assert document["outcome"] == "unchanged"
    assert not state.exists()


def test_a_damaged_bundle(bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    raw = bytearray(bundle.read_bytes())
    raw[len(raw) // 2] ^= 1
    path = tmp_path / "d.airbundle"
    path.write_bytes(raw)
    code, document, _ = run("load", path, *into(empty_registry, tmp_path / "state", "--key", key.public))
    refused(code, document, "digest", exit_code=5)
    assert not empty_registry.stored("_manifests")


@pytest.mark.parametrize("url", ["ftp://x", "https://", "http://u:p@x", "registry:5000?x=1"])
def test_what_is_no_registry(bundle: Path, key: Key, tmp_path: Path, url: str) -> None:
    code, document, _ = run("load", bundle, "--registry", url, "--key", key.public, "--state-dir", tmp_path / "s")
    refused(code, document, "--registry", exit_code=2)


def test_the_text_for_people(bundle: Path, key: Key, empty_registry: Registry, tmp_path: Path) -> None:
    arguments = command("load", bundle, *into(empty_registry, tmp_path / "state", "--key", key.public))
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"test 1.0.0 is in {empty_registry.url}: ")
    assert "3 images, 1 chart;" in done.stdout
