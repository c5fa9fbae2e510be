"""deploy.rules.quotas: what namespaces let in."""

from __future__ import annotations

import pytest

from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.rules import quotas
from tests.deploy.rules.world import Body, codes, good, named, want, workload

SAID = "resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}}"
CLAIM = (
    "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nspec: {resources: {requests: {storage: 5Gi}}}\n"
)


def quota(used: Body | None = None, namespace: str = "shop", **hard: str) -> Body:
    limits = {name.replace("_", "."): value for name, value in hard.items()}
    return named("q", namespace, spec={"hard": limits}, status={"used": used or {}})


@pytest.mark.parametrize(
    ("limit", "text", "found"),
    [
        (quota(requests_cpu="2"), workload(container=SAID, replicas=2), []),
        (quota(requests_cpu="2"), workload(container=SAID, replicas=3), ["quota"]),
        (quota({"requests.cpu": "1"}, requests_cpu="2"), workload(container=SAID, replicas=2), ["quota"]),
        (quota(cpu="1"), workload(container=SAID, replicas=2), ["quota"]),
        (quota(limits_memory="1Gi"), workload(container=SAID, replicas=2), ["quota"]),
        (quota(pods="1"), workload(container=SAID, replicas=2), ["quota"]),
        (quota(requests_cpu="1", namespace="else"), workload(container=SAID, replicas=2), []),
        (quota(requests_storage="4Gi"), CLAIM, ["quota"]),
        (quota(persistentvolumeclaims="1"), CLAIM, []),
        (quota(limits_cpu="9"), workload(), ["quota-unset"]),
        (quota(requests_cpu="9"), workload(container="resources: {limits: {cpu: 1}}"), []),
    ],
)
def test_quotas(limit: Body, text: str, found: list[str]) -> None:
    assert codes(quotas.find, good({"ResourceQuota": [limit]}), want(text)) == found


def test_what_is_there_already_is_not_counted_twice() -> None:
    there: dict[ObjectKey, Body] = {ObjectKey("apps/v1", "Deployment", "shop", "app"): {"metadata": {}}}
    facts = good({"ResourceQuota": [quota({"pods": "2"}, pods="2")]}, existing=there)
    assert codes(quotas.find, facts, want(workload(container=SAID, replicas=2))) == []


def test_a_limit_range_fills_in_what_containers_do_not_say() -> None:
    filled = named("l", "shop", spec={"limits": [{"type": "Container", "default": {"cpu": "1"}}]})
    facts = good({"ResourceQuota": [quota(limits_cpu="9", requests_cpu="9")], "LimitRange": [filled]})
    assert codes(quotas.find, facts, want(workload())) == []


@pytest.mark.parametrize(
    ("limit", "text", "found"),
    [
        ({"type": "Container", "max": {"cpu": "2"}}, workload(container=SAID), []),
        ({"type": "Container", "max": {"cpu": "500m"}}, workload(container=SAID), ["limit-range"]),
        ({"type": "Container", "min": {"memory": "2Gi"}}, workload(container=SAID), ["limit-range"]),
        ({"type": "Container", "min": {"memory": "2Gi"}}, workload(), []),
        ({"type": "Pod", "max": {"memory": "512Mi"}}, workload(container=SAID), ["limit-range"]),
        ({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}, CLAIM, ["limit-range"]),
    ],
)
def test_limit_ranges(limit: Body, text: str, found: list[str]) -> None:
    ranges = [named("l", "shop", spec={"limits": [limit]}), named("l", "else", spec={"limits": [limit]})]
    assert codes(quotas.ranges, good({"LimitRange": ranges}), want(text)) == found
