"""Plain manifests and kustomizations as renders."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.builder import render_kustomize
from airbundle.builder.render_kustomize import kustomize
from airbundle.store.inventory_dir import open_inventory
from tests.builder.rendering import Kitchen
from tests.bundle.documents import minimal


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def test_files_below_a_directory(kitchen: Kitchen) -> None:
    for path in ("a.yaml", "deep/er/b.yml", "c.json", "notes.txt", ".hidden/d.yaml", ".e.yaml", "deep/x.yaml.bak"):
        kitchen.write(f"manifests/{path}", f"path: {path}\n")
    kitchen.fields["manifests"] = [{"path": "manifests", "release": {"name": "base", "namespace": "n"}}]
    renderings = kitchen.fine()
    assert [(each.origin.source, each.origin.release, each.origin.namespace) for each in renderings] == [
        ("manifests/a.yaml", "base", "n"),
        ("manifests/c.json", "base", "n"),
        ("manifests/deep/er/b.yml", "base", "n"),
    ]
    assert renderings[0].output == b"path: a.yaml\n"


def test_what_runs_before_a_release_counts(kitchen: Kitchen) -> None:
    kitchen.write("m.yaml", "kind: A\n")
    kitchen.write("backup.yaml", "kind: Job\n")
    kitchen.fields["manifests"] = [{"path": "m.yaml", "release": {"name": "base", "before": ["backup.yaml"]}}]
    assert [each.origin.source for each in kitchen.fine()] == ["m.yaml", "backup.yaml"]


def test_names_of_the_site_are_filled_in(kitchen: Kitchen) -> None:
    kitchen.write("m/a.yaml", "host: {{ site.domain }}\n")
    kitchen.write("m/b.yaml", "text: '{{ .Values.x }}'\n")
    kitchen.fields["manifests"] = ["m"]
    site = kitchen.site("berlin", domain="berlin.test")
    renderings = kitchen.fine(sites=[site])
    assert [(each.origin.variant, each.output) for each in renderings] == [
        ("", b"host: site.internal\n"),
        ("site berlin", b"host: berlin.test\n"),
        ("", b"text: '{{ .Values.x }}'\n"),
    ]


def test_a_name_that_nobody_knows(kitchen: Kitchen) -> None:
    kitchen.write("m.yaml", "a: 1\nhost: {{ site.domian }}\n")
    kitchen.fields["manifests"] = ["m.yaml"]
    assert str(kitchen.wrong()).startswith("m.yaml:2: '{{ site.domian }}' is no name of the site")


def test_bytes_that_are_no_text_pass(kitchen: Kitchen) -> None:
    kitchen.write("m.yaml", b"a: \xff\n")
    kitchen.fields["manifests"] = ["m.yaml"]
    assert kitchen.fine()[0].output == b"a: \xff\n"


def test_a_manifest_that_is_too_large(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.builder.render_manifests.FILE_LIMIT", 100)
    kitchen.write("m/a.yaml", "a: " + "x" * 100)
    kitchen.write("m/b.yaml", "b: 1\n")
    kitchen.fields["manifests"] = ["m"]
    renderings, (finding,) = kitchen.render()
    assert "m/a.yaml: " in str(finding) and "more than the 100 bytes allowed" in str(finding)
    assert b"b: 1\n" in [each.output for each in renderings]


def test_too_much_in_all(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.builder.render_manifests.TOTAL_LIMIT", 12)
    for name in "abc":
        kitchen.write(f"m/{name}.yaml", "a: 1\n")
    kitchen.fields["manifests"] = ["m"]
    renderings, (finding,) = kitchen.render()
    assert len(renderings) == 2
    assert "m holds more than the 12 bytes" in str(finding)


def test_links_lead_nowhere_out(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("a: 1\n")
    kitchen.write("m/a.yaml", "a: 1\n")
    (kitchen.directory / "m/link.yaml").symlink_to(tmp_path / "secret.yaml")
    kitchen.fields["manifests"] = ["m"]
    assert "leads out of the inventory by a symbolic link" in str(kitchen.wrong())


def test_one_bad_entry_does_not_hide_the_others(kitchen: Kitchen) -> None:
    kitchen.write("m/a.yaml", "a: 1\n")
    kitchen.write("m/deep/b.yaml", "b: 1\n")
    (kitchen.directory / "m/dangling.yaml").symlink_to("nowhere.yaml")
    kitchen.fields["manifests"] = ["m"]
    renderings, (finding,) = kitchen.render()
    assert [each.origin.source for each in renderings] == ["m/a.yaml", "m/deep/b.yaml"]
    assert "'m/dangling.yaml' is not there" in str(finding)
    assert finding.severity == "error"


BASE = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: 'old:1'}]}\n"
OVERLAY = "resources: [../base]\nnamePrefix: my-\nimages: [{name: old, newName: new.test/x, newTag: '2'}]\n"


@pytest.fixture
def kustomized(kitchen: Kitchen) -> Kitchen:
    """A kitchen with a kustomization that changes an image."""
    kitchen.write("k/base/pod.yaml", BASE)
    kitchen.write("k/base/kustomization.yaml", "resources: [pod.yaml]\n")
    kitchen.write("k/overlay/kustomization.yaml", OVERLAY)
    kitchen.fields["manifests"] = [{"path": "k/overlay", "release": {"name": "base"}}]
    return kitchen


def test_a_kustomization_is_built(kustomized: Kitchen) -> None:
    (rendering,) = kustomized.fine()
    assert b"image: new.test/x:2" in rendering.output
    assert b"name: my-p" in rendering.output
    assert (rendering.origin.source, rendering.origin.release) == ("k/overlay", "base")


def test_without_kubectl_the_plain_files_are_read(kustomized: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_kustomize, "PROGRAMS", (("no-such-program", "build"),))
    kustomized.fields["manifests"] = [{"path": "k/base", "release": {"name": "base"}}]
    (rendering,), (finding,) = kustomized.render()
    assert rendering.output == BASE.encode()
    assert "k/base is a kustomization, and neither kubectl nor kustomize is on the PATH" in str(finding)


def test_another_kustomize_does_as_well(kustomized: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "kustomize").write_text("#!/bin/sh\n[ \"$1\" = build ] && echo 'kind: Built'\n")
    (tools / "kustomize").chmod(0o755)
    monkeypatch.setattr(render_kustomize, "PROGRAMS", render_kustomize.PROGRAMS[1:])
    monkeypatch.setenv("PATH", str(tools))
    assert kustomized.fine()[0].output == b"kind: Built\n"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("resources: ['https://example.test/x.yaml']", "would fetch https://example.test/x.yaml"),
        ("resources: ['github.com/a/b//c?ref=v1']", "would fetch github.com/a/b//c"),
        ("bases: ['git@example.test:a/b']", "would fetch"),
        ("components: ['ssh://git@example.test/a/b']", "would fetch"),
        ("helmCharts: [{name: x}]", "inflates a Helm chart"),
        ("resources: [../../../else]", "k/base: the kustomization reads ../../../else, which lies outside"),
        ("resources: [/etc/k]", "lies outside of the inventory"),
        ("resources: [link]", "lies outside of the inventory"),
        ('resources: ["a\\0b"]', "lies outside of the inventory"),
    ],
)
def test_nothing_is_fetched(kustomized: Kitchen, entry: str, said: str) -> None:
    kustomized.write("k/base/kustomization.yaml", f"{entry}\n")
    (kustomized.directory / "k/base/link").symlink_to(kustomized.root)
    renderings, (finding,) = kustomized.render()
    assert said in str(finding)
    assert renderings == []


@pytest.mark.parametrize("value", ["5", "true", "text", "{a: b}"])
def test_a_kustomization_whose_resources_are_no_list(kustomized: Kitchen, value: str) -> None:
    kustomized.write("k/base/kustomization.yaml", f"resources: {value}\n")
    assert "the kustomization k/overlay can't be built" in str(kustomized.wrong())


def test_a_kustomization_that_fails(kustomized: Kitchen) -> None:
    kustomized.write("k/overlay/kustomization.yaml", "resources: [none.yaml]\n")
    finding = kustomized.wrong()
    assert finding.code == "kustomize"
    assert "the kustomization k/overlay can't be built" in str(finding)
    assert "none.yaml" in str(finding)


def test_a_kustomization_that_takes_too_long(
    tmp_path: Path, kustomized: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_kustomize, "TIMEOUT", 0.2)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "kubectl").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tools / "kubectl").chmod(0o755)
    kustomized.write("bundle.yaml", minimal())
    output, (finding,) = kustomize(
        open_inventory(kustomized.directory), "k/base", where="here", environ={"PATH": str(tools)}
    )
    assert output is None
    assert "did not end within" in str(finding)
