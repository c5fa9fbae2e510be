"""The frame of the command line: exit codes, JSON, help, faults."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airbundle.cli import main as frame
from airbundle.cli.main import COMMANDS, TAKES_BUNDLE, main
from airbundle.errors import AirbundleError, Busy, Finding, NoSpace, SiteError


def _module(name: str) -> Any:
    return __import__(f"airbundle.cli.{COMMANDS[name][0]}", fromlist=["run"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_its_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text
    assert f"airbundle {name}" in text.partition("example:")[2] or "python3" in text.partition("example:")[2]
    assert "--json" in text


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("airbundle ")


@pytest.mark.parametrize("words", [["instal"], ["--nonsense"], ["inspect", "--nonsense"], ["build", "a", "b", "c"]])
def test_wrong_usage_is_exit_2_with_the_next_step(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "next:" in error
    assert "Traceback" not in error


def test_the_nearest_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    main(["instal"])
    assert "'install'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(TAKES_BUNDLE - {"serve"}))
def test_json_is_one_document_also_on_failure(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    more = ["--registry", "http://127.0.0.1:1"] if name == "load" else []
    state = ["--state-dir", str(tmp_path / "state")] if name in {"load", "install", "preflight"} else []
    code = main([name, str(tmp_path / "nothing.airbundle"), "--json", *more, *state])
    document = json.loads(capsys.readouterr().out)
    assert code != 0
    assert document["apiVersion"] == "airbundle.dev/v1"
    assert document["errors"][0]["message"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AirbundleError("x"), 1),
        (Busy("x"), 8),
        (NoSpace("x"), 7),
        (SiteError("x", outcome="unchanged"), 6),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), 7),
        (PermissionError(errno.EACCES, "Permission denied", "/closed"), 7),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/nothing"), 2),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object, console: object) -> None:
        raise error

    monkeypatch.setattr(_module("inspect"), "run", run)
    assert main(["inspect", "x", "--json"]) == code
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    document = json.loads(output.out)
    assert len(document["errors"]) == 1
    if isinstance(error, SiteError):
        assert document["outcome"] == "unchanged"


def test_all_findings_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("one", where="a:1", found="x", expected="y"), Finding("two", severity="warning")]

    def run(args: object, console: object) -> None:
        raise AirbundleError("both", findings=findings, hint="mend them")

    monkeypatch.setattr(_module("inspect"), "run", run)
    main(["inspect", "x"])
    text = capsys.readouterr().err
    assert "a:1: one; found x; expected y" in text
    assert "warning: two" in text
    assert "next: mend them" in text


def test_a_bundle_that_runs_is_the_default_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(frame, "running_bundle", lambda: "/media/x.airbundle")
    monkeypatch.setattr(_module("inspect"), "run", lambda args, console: seen.append(args))
    from airbundle.cli.arguments import bundle_paths

    assert main(["inspect"]) == 0
    assert bundle_paths(seen[0]) == [Path("/media/x.airbundle")]


def test_a_reader_that_goes_away_is_no_fault() -> None:
    command = f"{sys.executable} -m airbundle --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("package", ["airbundle.installer", "airbundle.server", "airbundle.store", "airbundle.bundle"])
def test_the_site_side_drags_in_nothing_of_the_builder(package: str) -> None:
    code = f"""
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
heavy = {{"oras", "cvdupdate", "nacl", "docker", "requests", "airbundle.builder"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"], ["install", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys
from airbundle.cli.main import main
main({words!r})
print(sorted({{"httpx", "cryptography", "yaml", "tqdm", "gunicorn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_path_that_is_too_long_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "x" * 300]) == 2
    assert "fault of airbundle" not in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_no_encoding_has_are_shown_escaped(encoding: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from airbundle.cli.main import main; sys.exit(main())"]
    name = os.fsencode(tmp_path) + b"/\xff\xc3\xbc.airbundle"
    done = subprocess.run(
        [*command, "inspect", name, "--json"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "\udcff\xfc.airbundle" in json.loads(done.stdout)["errors"][0]["message"]


def test_the_installed_program_is_called_airbundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("airbundle.cli.main.running_bundle", lambda: str(tmp_path / "airbundle.pyz"))
    assert main(["bild"]) == 2
    assert "`python3 airbundle.pyz --help`" in capsys.readouterr().err
    (tmp_path / "airbundle").write_text("#!/bin/sh\n")
    assert main(["bild"]) == 2
    assert "`airbundle --help`" in capsys.readouterr().err
