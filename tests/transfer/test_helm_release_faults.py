"""Tests for airbundle.transfer.helm_release_faults: helm's own words, as 3.17 prints them."""

from __future__ import annotations

import pytest

from airbundle.errors import Conflict, NotFound, RemoteError, SiteError, Unauthorized, Unreachable
from airbundle.transfer.helm_release_faults import release_fault
from airbundle.transfer.programs import Done


@pytest.mark.parametrize(
    ("said", "kind", "passing"),
    [
        ("Error: release: not found", NotFound, False),
        (
            'Error: Unable to continue with install: ConfigMap "x" in namespace "t" exists and cannot be imported into '
            "the current release: invalid ownership metadata",
            Conflict,
            False,
        ),
        ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", SiteError, True),
        ("Error: UPGRADE FAILED: pre-upgrade hooks failed: 1 error occurred:\n\t* timed out waiting", SiteError, False),
        ('Error: Kubernetes cluster unreachable: Get "https://x": dial tcp: connection refused', Unreachable, True),
        ("Error: UPGRADE FAILED: etcdserver: request timed out", Unreachable, True),
        (
            "Error: UPGRADE FAILED: client rate limiter Wait returned an error: context deadline exceeded",
            Unreachable,
            True,
        ),
        ('Error: secrets is forbidden: User "a" cannot list resource "secrets"', Unauthorized, False),
        (
            'Error: unable to build kubernetes objects from release manifest: resource mapping not found for name: "x" '
            'namespace: "" from "": no matches for kind "X" in version "x/v1"\nensure CRDs are installed first',
            RemoteError,
            False,
        ),
        ('Error: Deployment.apps "x" is invalid: spec.selector: field is immutable', RemoteError, False),
        ("", RemoteError, False),
    ],
)
def test_helms_words_tell_what_went_wrong(said: str, kind: type[Exception], passing: bool) -> None:
    fault = release_fault(Done(1, b"", said), what="deploy the release x", complaint=said, namespace="shop")
    assert type(fault.error) is kind
    assert fault.passing is passing
    assert str(fault.error).startswith("deploy the release x: helm says: ")


def test_helm_that_was_killed_says_so() -> None:
    fault = release_fault(Done(-9, b""), what="deploy the release x", complaint="", namespace="shop")
    assert "SIGKILL" in str(fault.error)
