"""Tests for airbundle.deploy.hooks."""

from __future__ import annotations

from airbundle.deploy.hooks import hook_images, unpinned_hooks
from airbundle.scan.model import Manifest, Origin, Phase


def job(image: str, phase: Phase) -> Manifest:
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": phase},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}},
    }
    return Manifest(Origin("chart x", "x", "here"), body, phase=phase)


def test_hooks_and_tests_that_no_mirror_serves_are_told() -> None:
    manifests = [
        job("app:1", "run"),
        job("migrate:1", "hook"),
        job("registry.test:5443/docker.io/library/x:1", "hook"),
        job("probe:1", "test"),
    ]
    images = hook_images(manifests, registry="registry.test:5443")
    assert [sighting.written for sighting in images] == ["migrate:1", "probe:1"]
    findings = unpinned_hooks("x", images, unmirrored="ErrImagePull")
    assert ["migrate:1" in findings[0].message, "probe:1" in findings[1].message] == [True, True]
    assert findings[0].found == "ErrImagePull"
    assert unpinned_hooks("x", images, unmirrored="") == []
    assert {finding.severity for finding in findings} == {"error"}
    findings = unpinned_hooks("x", images, unmirrored="", untried="no namespace yet")
    assert [(each.severity, each.found) for each in findings] == [("warning", "no namespace yet")] * 2
