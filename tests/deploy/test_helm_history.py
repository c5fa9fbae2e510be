"""Tests for airbundle.deploy.helm_history."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.helm_history import Recovery, Revision, parse_history, recovery_of
from airbundle.errors import RemoteError

STATUSES = (
    "deployed",
    "failed",
    "pending-install",
    "pending-rollback",
    "pending-upgrade",
    "superseded",
    "uninstalled",
    "uninstalling",
)


def history(*statuses: str) -> list[Revision]:
    return [Revision(number, status) for number, status in enumerate(statuses, 1)]


@pytest.mark.parametrize(
    ("chart", "name"),
    [
        ("redis-1.2.3", "redis"),
        ("redis-ha-4.0.0", "redis-ha"),
        ("cert-manager-v1.2.3", "cert-manager"),
        ("a-1-2.0.0-rc.1+build.5", "a-1"),
        ("odd", "odd"),
        ("", ""),
    ],
)
def test_a_charts_name_is_told_from_its_version(chart: str, name: str) -> None:
    assert Revision(1, "deployed", chart).chart_name == name


def test_a_history_is_read_in_the_order_of_revisions() -> None:
    body = [
        {
            "revision": 2,
            "updated": "x",
            "status": "deployed",
            "chart": "a-1.0.0",
            "app_version": "",
            "description": "d",
        },
        {"revision": 1, "status": "superseded", "chart": "a-0.9.0", "description": None},
    ]
    found = parse_history(json.dumps(body).encode(), what="history")
    assert found == [Revision(1, "superseded", "a-0.9.0"), Revision(2, "deployed", "a-1.0.0", "d")]


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b'{"a": 1}', b"[1]", b'[{"revision": "1"}]', b"\xff", b'[{"revision": true}]']
)
def test_what_is_no_history_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteError):
        parse_history(raw, what="history")


@pytest.mark.parametrize(
    ("statuses", "recovery"),
    [
        ((), Recovery()),
        (("deployed",), Recovery()),
        (("superseded", "deployed", "failed"), Recovery()),
        (("pending-install",), Recovery(drop=(1,))),
        (("failed", "pending-upgrade"), Recovery(drop=(1, 2))),
        (("failed",), Recovery(drop=(1,))),
        (("uninstalled",), Recovery()),
        (("deployed", "pending-upgrade"), Recovery(drop=(2,))),
        (("superseded", "pending-upgrade"), Recovery(drop=(2,))),
        (("superseded", "deployed", "pending-rollback"), Recovery(drop=(3,))),
        (("superseded", "uninstalling"), Recovery(uninstall=True)),
    ],
)
def test_what_a_kill_left_is_put_right(statuses: tuple[str, ...], recovery: Recovery) -> None:
    assert recovery_of(history(*statuses)) == recovery


@given(st.lists(st.sampled_from(STATUSES), max_size=6))
def test_nothing_stays_pending_and_what_was_up_stays_known(statuses: list[str]) -> None:
    recovery = recovery_of(history(*statuses))
    if recovery.uninstall:
        return
    left = [status for number, status in enumerate(statuses, 1) if number not in recovery.drop]
    assert not any(status.startswith("pending-") for status in left)
    up = {"deployed", "superseded", "uninstalled"}
    assert [status for status in left if status in up] == [status for status in statuses if status in up]
