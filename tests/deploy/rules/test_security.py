"""deploy.rules.security: Pod Security levels."""

from __future__ import annotations

import pytest

from airbundle.deploy.rules import security
from tests.deploy.rules.world import codes, good, named, want, workload

RIGHT = (
    "securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, "
    "seccompProfile: {type: RuntimeDefault}}"
)


@pytest.mark.parametrize(
    ("level", "text", "refused"),
    [
        ("", workload(spec="hostNetwork: true"), ""),
        ("privileged", workload(spec="hostNetwork: true"), ""),
        ("baseline", workload(), ""),
        ("baseline", workload(spec="hostPID: true"), "hostPID"),
        ("baseline", workload(spec="volumes: [{name: v, hostPath: {path: /}}]"), "volumes[0]"),
        ("baseline", workload(container="securityContext: {privileged: true}"), "privileged"),
        ("baseline", workload(container="securityContext: {capabilities: {add: [SYS_ADMIN]}}"), "SYS_ADMIN"),
        ("baseline", workload(container="securityContext: {capabilities: {add: [CHOWN]}}"), ""),
        ("baseline", workload(container="ports: [{containerPort: 1, hostPort: 1}]"), "hostPort"),
        ("baseline", workload(container="securityContext: {procMount: Unmasked}"), "procMount"),
        ("baseline", workload(spec="securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}"), "sysctls"),
        ("baseline", workload(spec="securityContext: {seccompProfile: {type: Unconfined}}"), "Unconfined"),
        ("baseline", workload(spec="securityContext: {seLinuxOptions: {user: root}}"), "seLinuxOptions"),
        (
            "baseline",
            workload(spec="initContainers: [{name: i, securityContext: {privileged: true}}]"),
            "initContainers[0]",
        ),
        ("restricted", workload(container=RIGHT), ""),
        ("restricted", workload(), "runAsNonRoot"),
        ("restricted", workload(container=RIGHT.replace("[ALL]", "[NET_RAW]")), "capabilities.drop"),
        ("restricted", workload(container=RIGHT, spec="volumes: [{name: v, nfs: {server: s}}]"), "nfs"),
        ("restricted", workload(container=RIGHT.replace("true, cap", "true, runAsUser: 0, cap")), "runAsUser"),
        (
            "restricted",
            workload(
                container="securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}",
                spec="securityContext: {runAsNonRoot: true, seccompProfile: {type: Localhost}}",
            ),
            "",
        ),
    ],
)
def test_pods_against_the_level_of_their_namespace(level: str, text: str, refused: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level} if level else {}
    found = list(security.find(good({"Namespace": [named("shop", metadata={"labels": labels})]}), want(text)))
    assert [finding.code for finding in found] == (["pod-security"] if refused else [])
    assert not refused or refused in found[0].found


def test_a_namespace_that_the_release_brings() -> None:
    labels = "labels: {pod-security.kubernetes.io/enforce: %s}"
    text = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, {labels}}}\n---\n"
    assert codes(security.find, good(), want(text % "restricted" + workload())) == ["pod-security"]
    assert codes(security.find, good(), want(text % "privileged" + workload())) == []
