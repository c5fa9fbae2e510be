"""deploy.rules.images: what rendering found, and images of hooks."""

from __future__ import annotations

from airbundle.deploy.hooks import hook_images
from airbundle.deploy.rules import images
from airbundle.errors import Finding
from tests.deploy.rules.world import codes, good, release, want, workload

JOB = (
    "apiVersion: batch/v1\nkind: Job\nmetadata: {name: m, annotations: {helm.sh/hook: pre-install}}\n"
    "spec: {template: {spec: {containers: [{name: m, image: upstream.test/m:1}]}}}\n"
)


def test_what_rendering_found() -> None:
    finding = Finding("x would run and is not in the bundle", code="image-missing")
    assert list(images.rendering(good(), want(findings=(finding,)))) == [finding]


def test_images_of_hooks_need_mirrors() -> None:
    manifests = release(workload() + JOB).manifests
    with_hooks = release(workload() + JOB, chart="app", hooks=hook_images(manifests, registry="registry.site"))
    assert codes(images.hooks, good(), want(with_hooks)) == []
    (finding,) = images.hooks(good(), want(with_hooks, unmirrored="ErrImagePull"))
    assert finding.code == "hook-image" and "upstream.test/m:1" in finding.message
