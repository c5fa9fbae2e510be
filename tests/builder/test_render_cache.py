from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from airbundle.builder.render_cache import RenderCache, Rendered, render_key
from airbundle.bundle.digest import hex_of
from airbundle.errors import Finding
from airbundle.store.cache import Cache
from airbundle.store.tidy import drop_oldest, tidy
from tests.builder.rendering import POD, Kitchen, images
from tests.support.helm import HELM

RENDERED = Rendered(
    "shop", "1.0", "7", b"a: 1\n\x00\xff", {"x": [1, None, "\u2028"]}, {"y": {"z": 1.5}}, (Finding("m", code="c"),)
)
KEY = render_key("sha256:x", [], release="r", namespace="", kubernetes="", api_versions=(), helm="v3")


def entry(root: Path) -> Path:
    return root / "renders" / hex_of(KEY)


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    cache = RenderCache(tmp_path / "cache")
    assert cache.read(KEY) is None
    cache.write(KEY, RENDERED)
    assert cache.read(KEY) == RENDERED


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        RenderCache(tmp_path / "cache").write(KEY, RENDERED)
    finally:
        os.umask(before)
    assert stat.S_IMODE(entry(tmp_path / "cache").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "cache" / "renders").stat().st_mode) == 0o700


BASE: dict[str, Any] = {
    "chart": "sha256:1",
    "values": ["a: 1"],
    "release": "r",
    "namespace": "n",
    "kubernetes": "1.33",
    "api_versions": ["a/v1", "b/v1"],
    "helm": "v3.17.3",
}


def test_everything_that_a_render_depends_on_is_in_its_key() -> None:
    keys = {render_key(**BASE)}
    for name, value in [
        ("chart", "sha256:2"),
        ("values", ["a: 2"]),
        ("values", ["a: 1", ""]),
        ("release", "s"),
        ("namespace", "m"),
        ("kubernetes", "1.34"),
        ("api_versions", ["a/v1"]),
        ("helm", "v3.18.0"),
    ]:
        keys.add(render_key(**{**BASE, name: value}))
    assert len(keys) == 9
    assert render_key(**{**BASE, "api_versions": ["b/v1", "a/v1"]}) == render_key(**BASE)


def _cut(raw: bytes) -> bytes:
    return raw[:-1]


def _flip(raw: bytes) -> bytes:
    return raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:]


def _lie(raw: bytes) -> bytes:
    return raw.replace(b'"size": ', b'"size": 9')


def _text(raw: bytes) -> bytes:
    return b"hello"


def _other_form(raw: bytes) -> bytes:
    return raw.replace(b'"form": ', b'"form": 9')


@pytest.mark.parametrize("damage", [_cut, _flip, _lie, _text, _other_form, lambda raw: b"", lambda raw: b"[]\nx"])
def test_a_damaged_entry_is_none(tmp_path: Path, damage: Any) -> None:
    cache = RenderCache(tmp_path)
    cache.write(KEY, RENDERED)
    entry(tmp_path).write_bytes(damage(entry(tmp_path).read_bytes()))
    assert cache.read(KEY) is None
    cache.write(KEY, RENDERED)
    assert cache.read(KEY) == RENDERED


def test_a_pipe_in_the_place_of_an_entry_keeps_nobody_waiting(tmp_path: Path) -> None:
    cache = RenderCache(tmp_path)
    cache.write(KEY, RENDERED)
    cache.keep(HELM, "v3")
    for file in (entry(tmp_path), tmp_path / "renders" / "helm.json"):
        file.unlink(missing_ok=True)
        os.mkfifo(file)
    assert (cache.read(KEY), cache.of(HELM)) == (None, "")
    cache.write(KEY, RENDERED)
    assert cache.read(KEY) == RENDERED


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = RenderCache(tmp_path / "cache")
    cache.write(KEY, RENDERED)
    cache.keep(HELM, "v3")
    assert (cache.read(KEY), cache.of(HELM)) == (None, "")


def test_the_version_of_helm_is_known_as_long_as_it_is_the_same_file(tmp_path: Path) -> None:
    program = tmp_path / "helm"
    program.write_bytes(b"x" * (2 << 20))
    cache = RenderCache(tmp_path / "cache")
    assert cache.of(program) == ""
    cache.keep(program, "v3.17.3")
    assert cache.of(program) == "v3.17.3"
    os.utime(program, ns=(1, 1))
    assert cache.of(program) == ""
    cache.keep(program, "v3.18.0")
    program.write_bytes(b"y" * (2 << 20) + b"y")
    assert cache.of(program) == ""
    assert cache.of(tmp_path / "none") == ""


def test_the_version_behind_a_script_is_never_known(tmp_path: Path) -> None:
    program = tmp_path / "helm"
    program.write_text("#!/bin/sh\nexec other-helm\n")
    cache = RenderCache(tmp_path / "cache")
    cache.keep(program, "v3.17.3")
    assert cache.of(program) == ""


def test_tidying_drops_what_is_old_and_what_is_too_much(tmp_path: Path) -> None:
    now = time.time()
    for number in range(5):
        path = tmp_path / str(number)
        path.write_bytes(b"x" * 100)
        os.utime(path, (now - number * 100, now - number * 100))
    assert drop_oldest(tmp_path, older_than=350, most=10_000) == 100
    assert drop_oldest(tmp_path, older_than=350, most=250) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert drop_oldest(tmp_path / "none", older_than=1, most=1) == 0


def test_renders_are_tidied_with_the_cache(tmp_path: Path) -> None:
    cache = RenderCache(tmp_path)
    cache.write(KEY, RENDERED)
    old = time.time() - 200 * 24 * 3600
    os.utime(entry(tmp_path), (old, old))
    size = entry(tmp_path).stat().st_size
    assert tidy(Cache(tmp_path)) == size
    assert not entry(tmp_path).exists()


def random_chart(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD + "# {{ randAlphaNum 40 }}\n", "values.yaml": "image: a:1\n"})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]


def test_the_first_render_stands(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    random_chart(kitchen)
    (first,), (second,) = kitchen.fine(), kitchen.fine()
    assert first == second
    assert kitchen.fine(no_cache=True) != [first]
    assert kitchen.fine() == [first]
    kitchen.write("charts/shop/values.yaml", "image: b:1\n")
    assert images(kitchen.fine()[0]) == ["b:1"]


def test_without_the_cache_nothing_is_kept(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    random_chart(kitchen)
    kitchen.fine(no_cache=True)
    assert not (tmp_path / "cache" / "renders").exists()


def test_what_was_rendered_before_needs_no_helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "helm"
    program.write_bytes(HELM.read_bytes())
    program.chmod(0o755)
    status = program.stat()
    monkeypatch.setenv("AIRBUNDLE_HELM", str(program))
    kitchen = Kitchen(tmp_path)
    random_chart(kitchen)
    first = kitchen.fine()
    # The same file to all appearances, and one that can't be started.
    with program.open("r+b") as file:
        file.write(b"broken")
    os.utime(program, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert kitchen.fine() == first


def test_warnings_about_a_chart_are_told_each_time(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.chart("shop", {"templates/x.yaml": 'a: {{ lookup "v1" "Secret" "a" "b" }}\n'})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    assert kitchen.wrong() == kitchen.wrong()
