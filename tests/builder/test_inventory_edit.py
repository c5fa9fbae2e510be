from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.builder import yaml_append
from airbundle.builder.inventory_edit import add_images, with_images
from airbundle.bundle.inventory import parse_inventory
from airbundle.errors import DocumentError, HostError, UsageError

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if hasattr(yaml, "CSafeLoader") else [])]
HEAD = "apiVersion: airbundle.dev/v1\nkind: Bundle\nmetadata: {name: m, version: 1.0.0}\n"
CHARTS = "charts:\n  - {name: c, path: charts/c}\n"
A, B = "docker.io/library/redis:7.2", "quay.io/x/y:v1"
DIGEST = "sha256:" + "a" * 64


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every test runs with the parser in C and with the one in Python: their marks must agree."""
    monkeypatch.setattr(yaml_append, "_LOADER", request.param)
    return request.param


def edited(text: str, *images: str) -> str:
    return with_images(text.encode(), images or (A,), where="bundle.yaml")[0].decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("images:\n  - x/a:1\n", f"images:\n  - x/a:1\n  - {A}\n  - {B}\n"),
        ("images:\n- x/a:1\n", f"images:\n- x/a:1\n- {A}\n- {B}\n"),
        ("images:\n    -   'x/a:1'\n", f"images:\n    -   'x/a:1'\n    -   '{A}'\n    -   '{B}'\n"),
        ('images:\n  - x/a:1\n  - "x/b:1"\n', f'images:\n  - x/a:1\n  - "x/b:1"\n  - "{A}"\n  - "{B}"\n'),
        ("images:\n  - x/a:1  # why\n", f"images:\n  - x/a:1  # why\n  - {A}\n  - {B}\n"),
        ("images:\n  - x/a:1\n  # - x/b:1\n\n", f"images:\n  - x/a:1\n  - {A}\n  - {B}\n  # - x/b:1\n\n"),
        ("images:\n  - {ref: x/a:1}  # c\n", f"images:\n  - {{ref: x/a:1}}  # c\n  - {A}\n  - {B}\n"),
        (
            "images:\n  - ref: x/a:1\n    platforms:\n    - linux/arm64\n  # end\n",
            f"images:\n  - ref: x/a:1\n    platforms:\n    - linux/arm64\n  - {A}\n  - {B}\n  # end\n",
        ),
        ("images:\n  -\n    ref: x/a:1\n", f"images:\n  -\n    ref: x/a:1\n  - {A}\n  - {B}\n"),
        ("images:\n  - ref: >-\n      x/a:1\n\n", f"images:\n  - ref: >-\n      x/a:1\n  - {A}\n  - {B}\n\n"),
        ("images:\n  - &one x/a:1\n", f"images:\n  - &one x/a:1\n  - {A}\n  - {B}\n"),
        ("images: [x/a:1]  # c\n", f"images: [x/a:1, {A}, {B}]  # c\n"),
        ("images: [x/a:1,]\n", f"images: [x/a:1, {A}, {B},]\n"),
        ("images: ['x/a:1' ]\n", f"images: ['x/a:1', '{A}', '{B}' ]\n"),
        ("images: [{ref: x/a:1}]\n", f"images: [{{ref: x/a:1}}, {A}, {B}]\n"),
        ("images: [\n  x/a:1,  # c\n]\n", f"images: [\n  x/a:1,  # c\n  {A},\n  {B},\n]\n"),
        ("images: [\n  x/a:1  # c\n]\n", f"images: [\n  x/a:1,  # c\n  {A},\n  {B}\n]\n"),
        ("images: [x/a:1,\n         x/b:1]\n", f"images: [x/a:1,\n         x/b:1,\n         {A},\n         {B}]\n"),
        ("images: []\n", f"images:\n  - {A}\n  - {B}\n"),
        ("images: []  # none\n", f"images:  # none\n  - {A}\n  - {B}\n"),
        ("images: [  # none\n]\n", f"images: [  # none\n{A}, {B}]\n"),
        ("images:\n", f"images:\n  - {A}\n  - {B}\n"),
        ("images: null\n", f"images:\n  - {A}\n  - {B}\n"),
        ("images: ~ # none\n", f"images: # none\n  - {A}\n  - {B}\n"),
        ("images:\n  # - x/a:1\n", f"images:\n  - {A}\n  - {B}\n  # - x/a:1\n"),
        ("", f"images:\n  - {A}\n  - {B}\n"),
    ],
)
def test_adds_in_the_way_of_what_is_there(before: str, after: str) -> None:
    text = edited(HEAD + before + "# then\n" + CHARTS, A, B)
    assert text == HEAD + after + "# then\n" + CHARTS
    # At the end of the file, with its line end and without.
    assert edited(CHARTS + HEAD + before, A, B) == CHARTS + HEAD + after
    if before:
        assert edited((CHARTS + HEAD + before).rstrip("\n"), A, B) == (CHARTS + HEAD + after).rstrip("\n")
    # As Windows ends lines.
    windows = (HEAD + before + CHARTS).replace("\n", "\r\n")
    assert edited(windows, A, B) == (HEAD + after + CHARTS).replace("\n", "\r\n")


def test_a_first_list_is_indented_as_others_are() -> None:
    text = HEAD + "platforms:\n- linux/amd64\nimages:\n"
    assert edited(text) == f"{text}- {A}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"images": ["x/a:1"]', f'"images": ["x/a:1", "{A}"]'),
        ('"images": []', f'"images": ["{A}"]'),
        ('"images": [\n    "x/a:1"\n  ]', f'"images": [\n    "x/a:1",\n    "{A}"\n  ]'),
        ('"images": [{"ref": "x/a:1"}]', f'"images": [{{"ref": "x/a:1"}}, "{A}"]'),
        ('"images": null', f'"images": ["{A}"]'),
        ('"expires": "never"', f'"expires": "never",\n  "images": ["{A}"]'),
    ],
)
def test_json_stays_json(before: str, after: str) -> None:
    head = '{"apiVersion": "airbundle.dev/v1", "kind": "Bundle",\n  "metadata": {"name": "m", "version": "1.0.0"},\n  '
    assert edited(head + before + "\n}\n") == head + after + "\n}\n"


def test_a_new_list_comes_before_charts_and_what_is_told_of_them() -> None:
    text = HEAD + "platforms: [linux/amd64]  # all there is\n\n# the charts\n" + CHARTS
    added = HEAD + f"platforms: [linux/amd64]  # all there is\nimages:\n  - {A}\n\n# the charts\n" + CHARTS
    assert edited(text) == added


def test_keeps_a_byte_order_mark_and_uncommon_line_ends() -> None:
    raw = b"\xef\xbb\xbf" + f"# caf\u00e9 \U0001f600\r{HEAD}".replace("\n", "\r").encode()
    new, added = with_images(raw, [A], where="bundle.yaml")
    assert new == raw + b"images:\r  - " + A.encode() + b"\r"
    assert added == [A]


def test_what_yaml_could_take_for_something_else_is_quoted() -> None:
    assert edited(HEAD, "[::1]:5000/x:1").endswith('images:\n  - "[::1]:5000/x:1"\n')
    assert edited(HEAD, "redis:7").endswith('images:\n  - "redis:7"\n')
    assert edited(HEAD, f"{B}@{DIGEST}").endswith(f"images:\n  - {B}@{DIGEST}\n")


def test_what_is_there_is_not_added() -> None:
    text = HEAD + "images: [redis:7.2, {ref: 'docker-daemon:own', as: 'internal/own:1'}]\n"
    new, added = with_images(
        text.encode(), [A, f"redis:7.2@{DIGEST}", "docker.io/internal/own:1", B, B], where="bundle.yaml"
    )
    assert added == [B]
    assert new.decode() == text.replace("}]", f"}}, {B}]")
    assert with_images(text.encode(), [A], where="bundle.yaml") == (text.encode(), [])


@pytest.mark.parametrize(
    "body",
    [
        "operators: &x []\nimages: *x\n",
        "images: &x [x/a:1]\noperators: *x\n",
        "images: &x\noperators: *x\n",
        "? images\n",
        "images: [x/a:1, &x x/b:1]\noperators: &y [a.yaml]\nexpires: *y\n",
    ],
)
def test_what_can_not_be_added_to_is_refused(body: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text(HEAD + body)
    with pytest.raises(DocumentError) as caught:
        add_images(path, [A])
    assert path.read_text() == HEAD + body
    assert A in caught.value.hint or caught.value.findings


def test_an_inventory_or_image_that_does_not_parse_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text(HEAD + "images: 5\n")
    with pytest.raises(DocumentError):
        add_images(path, [A])
    path.write_text(HEAD)
    with pytest.raises(UsageError, match="UPPER"):
        add_images(path, ["x/UPPER:1"])
    assert path.read_text() == HEAD
    with pytest.raises(HostError):
        add_images(tmp_path / "none.yaml", [A])


def test_the_file_keeps_mode_owner_and_its_symbolic_link(tmp_path: Path) -> None:
    path, link = tmp_path / "bundle.yaml", tmp_path / "link.yaml"
    path.write_text(HEAD)
    path.chmod(0o640)
    group = next((group for group in os.getgroups() if group != os.getegid()), os.getegid())
    if os.geteuid() == 0:
        group = 4711
    os.chown(path, -1, group)
    link.symlink_to("bundle.yaml")
    before = path.stat()
    assert add_images(link, [A, B]) == [A, B]
    after = path.stat()
    assert link.is_symlink()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, group)
    assert sorted(tmp_path.iterdir()) == [path, link]
    assert add_images(path, [A, B]) == []
    assert path.stat().st_mtime_ns == after.st_mtime_ns


# --- any layout -------------------------------------------------------------------------------------------------------

_COMMENT = st.sampled_from(["", "  # why", " # - x/z:1", "  # [, {"])
_BETWEEN = st.sampled_from(["", "\n", "# - a: b\n", "    # deep\n", "\n\n# two\n\n"])
_IMAGES = st.lists(st.sampled_from([f"h.example/p/i{n}:1" for n in range(9)]), unique=True, max_size=5)


@st.composite
def _item(draw: st.DrawFn, image: str, indent: str, flow: bool) -> str:
    quote = draw(st.sampled_from(["", "'", '"']))
    text = quote + image + quote
    form = draw(st.sampled_from(["text", "text", "braces", "lines", "lists"]))
    if form == "text" or (flow and form != "braces"):
        return text
    if form == "braces":
        return f"{{ref: {text}, platforms: [linux/arm64]}}"
    if form == "lines":
        return f"ref: {text}{draw(_COMMENT)}\n{indent}  sparse: false"
    return f"platforms:\n{indent}  - linux/arm64{draw(_COMMENT)}\n{indent}  ref: {text}"


@st.composite
def _list(draw: st.DrawFn) -> str:
    images = draw(_IMAGES)
    if draw(st.booleans()):
        indent = draw(st.sampled_from(["", "  ", "    "]))
        if not images:
            return draw(st.sampled_from(["", "images:\n", "images: []\n", "images: ~\n", "images: [ ]  # c\n"]))
        items = [f"{indent}- {draw(_item(image, indent, False))}{draw(_COMMENT)}\n" for image in images]
        return f"images:{draw(_COMMENT)}\n" + "".join(draw(_BETWEEN) + item for item in items)
    gap = draw(st.sampled_from([" ", "\n  ", "  # c\n   "]))
    items = [draw(_item(image, "", True)) for image in images]
    comma = draw(st.sampled_from(["", ","])) if images else ""
    joined = f",{gap}".join(items)
    begin, end = draw(st.sampled_from(["", gap])), draw(st.sampled_from(["", " ", gap]))
    return f"images: [{begin}{joined}{comma}{end}]{draw(_COMMENT)}\n"


@st.composite
def inventories(draw: st.DrawFn) -> str:
    parts = [draw(_list()), draw(st.sampled_from(["", CHARTS])), draw(st.sampled_from(["", "expires: never\n"]))]
    parts = draw(st.permutations([HEAD, *parts]))
    text = "".join(draw(_BETWEEN) + part for part in parts)
    text = draw(st.sampled_from(["", "---\n", "%YAML 1.1\n---\n"])) + text + draw(st.sampled_from(["", "...\n"]))
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@given(inventories(), _IMAGES, st.booleans())
def test_any_layout_gets_the_images_and_loses_nothing(text: str, images: list[str], mark: bool) -> None:
    raw = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    old = parse_inventory(raw)
    new_raw, added = with_images(raw, images, where="bundle.yaml")
    new = parse_inventory(new_raw)
    assert added == [image for image in images if image not in {str(have.target) for have in old.images}]
    assert replace(new, images=new.images[: len(old.images)]) == old
    assert [image.requested for image in new.images[len(old.images) :]] == added
    written = new_raw.decode()
    # Characters only came in between; comments are as they were, each on a line of its own or the same.
    assert re.findall("#[^\r\n]*", written) == re.findall("#[^\r\n]*", text)
    rest = iter(written)
    assert all(character in rest for character in re.sub(r"images: (~|\[ *\])", "images:", text))
    assert with_images(new_raw, images, where="bundle.yaml") == (new_raw, [])
