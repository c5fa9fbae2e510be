"""deploy.quantity: Kubernetes' quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest

from airbundle.deploy.quantity import parse_quantity, shown


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"),
        ("2", "2"),
        (2, "2"),
        (0.5, "0.5"),
        ("1.5Gi", "1610612736"),
        ("128Mi", "134217728"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("2E", "2000000000000000000"),
        ("100k", "100000"),
        (".5", "0.5"),
        ("-1", "-1"),
        ("5n", "0.000000005"),
    ],
)
def test_quantities(text: object, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "x", "1 GiB", "1GiB", None, True, [], "1" * 40, "1e999", "NaN", "inf", "½"])
def test_what_is_none(text: object) -> None:
    assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("resource", "number", "text"),
    [
        ("cpu", "1.25", "1.25 cores"),
        ("requests.cpu", "0.1", "0.1 cores"),
        ("memory", "512", "512"),
        ("memory", "1536", "1.5 KiB"),
        ("requests.storage", str(5 << 30), "5 GiB"),
        ("memory", str(1 << 60), "1048576 TiB"),
        ("pods", "110", "110"),
    ],
)
def test_shown(resource: str, number: str, text: str) -> None:
    assert shown(resource, Decimal(number)) == text
