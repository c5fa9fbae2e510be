"""Releases in bundles: how they are deployed, their values and manifests travel, and the site reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airbundle.bundle.release_artifact import FILES_LIMIT, CarriedRelease
from airbundle.installer.releases import carried_releases
from airbundle.store.reader import open_bundle
from tests.builder.conftest import Workshop

JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: backup}\n"


def _shop(workshop: Workshop) -> None:
    directory = workshop.inventory(
        charts=[
            {
                "name": "mine",
                "path": "charts/mine",
                "release": {
                    "name": "app",
                    "namespace": "shop",
                    "values": ["values/app.yaml"],
                    "needs": ["base"],
                    "before": ["jobs/backup.yaml"],
                    "restore": ["jobs/restore.yaml"],
                    "checks": [{"http": "https://app.{{ site.domain }}/"}],
                },
                "variants": {"large": "values/large.yaml"},
            },
            {"name": "mine2", "path": "charts/mine2"},
        ],
        manifests=[
            {"path": "manifests", "release": {"name": "base"}},
            {"path": "one.yaml", "release": {"name": "a-last", "needs": ["app"]}},
            {"path": "looked-at.yaml"},
        ],
    )
    for chart in ("mine", "mine2"):
        write(directory / f"charts/{chart}/Chart.yaml", f"apiVersion: v2\nname: {chart}\nversion: 1.0.0\n")
        write(directory / f"charts/{chart}/templates/x.yaml", "kind: ConfigMap\n")
    write(directory / "values/app.yaml", "domain: {{ site.domain }}\nother: '{{ braces }}'\n")
    write(directory / "values/large.yaml", "replicas: 9\n")
    write(directory / "jobs/backup.yaml", JOB)
    write(directory / "jobs/restore.yaml", JOB.replace("backup", "restore"))
    for name in ("manifests/a.yaml", "manifests/deep/b.yaml", "one.yaml", "looked-at.yaml"):
        write(directory / name, f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {Path(name).stem}}}\n")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _read(workshop: Workshop) -> tuple[Sequence[CarriedRelease], dict[str, bytes]]:
    answer = workshop.build(workshop.root)
    assert answer.code == 0, answer.text
    with open_bundle([Path(answer.body["path"])]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()
        releases = carried_releases(bundle)
        files = {path: file for release in releases for path, file in release.files.items()}
        return releases, {path: bundle.read_small(file.digest, file.size) for path, file in files.items()}


def test_a_bundle_carries_its_releases_in_the_order_of_their_needs(workshop: Workshop) -> None:
    _shop(workshop)
    (base, app, last), files = _read(workshop)
    assert [each.release.name for each in (base, app, last)] == ["base", "app", "a-last"]
    assert base.manifest_files() == ["manifests/a.yaml", "manifests/deep/b.yaml"]
    assert last.manifest_files() == ["one.yaml"]
    assert (app.chart, app.release.namespace) == ("charts/mine mine", "shop")
    assert app.release.checks[0].http == "https://app.{{ site.domain }}/"
    assert app.variants == {"large": ("values/large.yaml",)}
    inventory = workshop.root / "inventory"
    assert set(files) == {
        *("values/app.yaml", "values/large.yaml", "jobs/backup.yaml", "jobs/restore.yaml"),
        *("manifests/a.yaml", "manifests/deep/b.yaml", "one.yaml"),
    }
    assert files == {path: (inventory / path).read_bytes() for path in files}


def test_the_lock_names_them_and_moves_with_their_files_alone(workshop: Workshop) -> None:
    _shop(workshop)
    first = workshop.lock()
    assert workshop.lock().body["changed"] is False
    write(workshop.root / "inventory/values/app.yaml", "domain: other\n")
    answer = workshop.lock("--check")
    assert answer.code != 0
    assert "values/app.yaml has changed" in answer.errors
    second = workshop.lock()
    assert first.code == second.code == 0
    _, files = _read(workshop)
    assert files["values/app.yaml"] == b"domain: other\n"


def test_a_release_of_more_files_than_it_can_have_is_refused(workshop: Workshop) -> None:
    directory = workshop.inventory(manifests=[{"path": "many", "release": {"name": "many"}}])
    for number in range(FILES_LIMIT + 1):
        write(directory / f"many/{number}.yaml", "")
    answer = workshop.lock()
    assert answer.code == 2
    assert f"has {FILES_LIMIT + 1} files" in answer.errors


def test_what_the_inventory_directory_itself_holds(workshop: Workshop) -> None:
    directory = workshop.inventory(manifests=[{"path": ".", "release": {"name": "all"}}])
    write(directory / "a.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n")
    assert workshop.lock().code == 0
    (release,), _ = _read(workshop)
    assert release.manifest_files() == ["a.yaml"]


def test_a_kustomization_that_can_not_be_built_is_not_locked(workshop: Workshop) -> None:
    directory = workshop.inventory(manifests=[{"path": "k", "release": {"name": "k"}}])
    write(directory / "k/kustomization.yaml", "resources: [https://elsewhere.test/x.yaml]\n")
    answer = workshop.lock()
    assert answer.code == 2
    assert "the kustomization would fetch https://elsewhere.test/x.yaml" in answer.errors


def test_a_file_with_the_name_of_what_a_kustomization_makes_is_refused(workshop: Workshop) -> None:
    directory = workshop.inventory(manifests=[{"path": "m", "release": {"name": "m"}}])
    for name in ("a.yaml", "kustomization.built.yaml"):
        write(directory / f"m/{name}", f"kind: ConfigMap\napiVersion: v1\nmetadata: {{name: {name[0]}}}\n")
    answer = workshop.lock()
    assert answer.code == 2
    assert "m/kustomization.built.yaml has a name that airbundle gives" in answer.errors


def test_a_kustomization_below_a_directory_of_manifests_is_carried_as_it_is(workshop: Workshop) -> None:
    directory = workshop.inventory(manifests=[{"path": "m", "release": {"name": "m"}}])
    write(directory / "m/deep/kustomization.yaml", "resources: [a.yaml]\n")
    write(directory / "m/deep/a.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n")
    (release,), _ = _read(workshop)
    assert release.manifest_files() == ["m/deep/a.yaml", "m/deep/kustomization.yaml"]
