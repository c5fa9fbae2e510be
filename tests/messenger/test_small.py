"""The small messenger: that the files of its inventory fit together. The demo shows what it does at a site."""

from __future__ import annotations

from pathlib import Path

import yaml

from airbundle.bundle.inventory import parse_inventory
from airbundle.bundle.site import parse_site
from airbundle.bundle.template import fill, site_names
from tests.support.helm import helm

HOME = Path(__file__).parents[2] / "manifests-index" / "messenger-small"
INVENTORY = parse_inventory((HOME / "bundle.yaml").read_bytes())
SITE = parse_site((HOME / "sites" / "sealed.yaml").read_bytes())


def test_the_images_of_its_charts_are_the_inventorys(tmp_path: Path) -> None:
    found: set[str] = set()
    for chart in INVENTORY.charts:
        assert chart.release is not None
        if chart.name == "cert-manager":  # its project's own, and not here
            continue
        words: list[str | Path] = ["template", chart.release.name, HOME / chart.path]
        for number, path in enumerate(chart.release.values):
            file = tmp_path / f"{chart.name}-{number}.yaml"
            file.write_text(fill((HOME / path).read_text(), site_names(SITE), path))
            words += ["-f", file]
        for path in SITE.values.get(chart.release.name, ()):
            words += ["-f", HOME / "sites" / path]
        found |= _images(list(yaml.safe_load_all(helm(*words, home=tmp_path / "helm"))))
    listed = {str(image.target) for image in INVENTORY.images}
    assert found == {name for name in listed if "cert-manager" not in name}


def test_every_secret_that_a_chart_takes_is_the_sites(tmp_path: Path) -> None:
    made = {(each.name, key) for each in SITE.secrets for key in each.keys}
    assert {("postgres", "password"), ("coturn", "secret"), ("synapse", "macaroon")} <= made
    assert {each.namespace for each in SITE.secrets} == {"messenger"}


def _images(body: object) -> set[str]:
    if isinstance(body, dict):
        own = {str(body["image"])} if "image" in body else set()
        return own.union(*(_images(value) for value in body.values()))
    if isinstance(body, list):
        return set().union(*(_images(value) for value in body))
    return set()
