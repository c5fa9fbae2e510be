"""Into which files the documents of a render go, and that they stay what they are."""

from __future__ import annotations

import pytest
import yaml

from airbundle.installer.render import files_of
from airbundle.scan.pin import pin_images
from tests.scan.support import rendering

CRD = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a.b}}"
PLAIN = "{apiVersion: v1, kind: Secret, metadata: {name: s}}"
HOOK = "{apiVersion: v1, kind: Secret, metadata: {name: h, annotations: {helm.sh/hook: pre-install}}}"


def _files(text: str) -> dict[str, str]:
    return files_of([pin_images(rendering(text), lambda _: None)])


@pytest.mark.parametrize(
    ("items", "name"),
    [
        ([CRD, CRD], "crds.yaml"),
        ([CRD, PLAIN], "manifests.yaml"),
        ([PLAIN, HOOK], "manifests.yaml"),
        ([HOOK, PLAIN], "manifests.yaml"),
        ([HOOK], "hooks.yaml"),
    ],
)
def test_a_list_goes_by_all_that_it_holds(items: list[str], name: str) -> None:
    assert list(_files(f"apiVersion: v1\nkind: List\nitems: [{', '.join(items)}]\n")) == [name]


@pytest.mark.parametrize("header", ["|", "|+", ">+", "|2+", "|-"])
def test_what_a_block_scalar_keeps_at_its_end(header: str) -> None:
    document = f"kind: ConfigMap\ndata:\n  a: {header}\n    text\n\n\n"
    text = f"---\n{document}---\n\n\n{document}...\n"
    (result,) = _files(text).values()
    assert list(yaml.safe_load_all(result)) == [yaml.safe_load(document)] * 2
