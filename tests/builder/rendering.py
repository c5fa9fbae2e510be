"""Inventories that tests render: charts, values and manifests are written, renders and findings come back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from airbundle.builder.lock_file import read_lock
from airbundle.builder.render import render_inventory
from airbundle.builder.render_cache import RenderCache
from airbundle.errors import Finding
from airbundle.scan.model import Rendering
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import open_inventory
from airbundle.store.site_dir import open_site
from airbundle.transfer.registry import RegistryClient
from tests.support.helm import write_chart

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}-pod"}
spec: {containers: [{name: c, image: "{{ .Values.image }}"}]}
"""


@dataclass
class Kitchen:
    """An inventory that is rendered with a cache of its own."""

    root: Path
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Of the inventory."""
        return self.root / "inventory"

    def chart(self, name: str, files: Mapping[str, str], **metadata: Any) -> None:
        """Write a chart below the inventory."""
        write_chart(self.directory / "charts", name, files=files, **metadata)

    def write(self, path: str, text: str | bytes) -> None:
        """Write a file below the inventory."""
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def site(self, name: str, **fields: Any) -> Path:
        """Write a site file in a directory of its own."""
        path = self.root / name / "site.yaml"
        path.parent.mkdir()
        body = {"apiVersion": "airbundle.dev/v1", "kind": "Site", "metadata": {"name": name}, **fields}
        path.write_text(yaml.safe_dump(body))
        return path

    def render(
        self, *, sites: Sequence[Path] = (), no_cache: bool = False, **options: Any
    ) -> tuple[list[Rendering], list[Finding]]:
        """Render the inventory, also as site files have it; with a cache of renders."""
        body = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Bundle",
            "metadata": {"name": "shop", "version": "1.0.0"},
            **self.fields,
        }
        self.write("bundle.yaml", json.dumps(body))
        with RegistryClient() as client:
            opened, cache = open_inventory(self.directory), Cache(self.root / "cache")
            options["store"] = None if no_cache else RenderCache(cache.root)
            options["sites"] = [open_site(path) for path in sites]
            return render_inventory(opened, client, cache, lock=read_lock(opened.root), **options)

    def fine(self, **options: Any) -> list[Rendering]:
        """Render the inventory, in which nothing is wrong."""
        renderings, findings = self.render(**options)
        assert findings == []
        return renderings

    def wrong(self, **options: Any) -> Finding:
        """Render the inventory, in which one thing is wrong."""
        _, findings = self.render(**options)
        assert len(findings) == 1, "\n".join(map(str, findings))
        return findings[0]


def images(rendering: Rendering) -> list[str]:
    """Return the images of the pods of a render."""
    documents = [body for body in yaml.safe_load_all(rendering.output) if body]
    return [each["image"] for body in documents for each in body.get("spec", {}).get("containers", ())]
