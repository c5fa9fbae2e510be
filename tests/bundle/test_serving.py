"""The server's configuration document: round trip, findings, addresses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.serving import (
    CHARTS,
    CLAMAV,
    ServedBundle,
    ServerConfig,
    fingerprint,
    join_host,
    parse_config,
    parse_listen,
)
from airbundle.errors import DocumentError

FULL = ServerConfig(
    bundles=(ServedBundle((Path("/state/a.001"), Path("/state/a.002")), ((1, 2, 3, 4), (5, 6, 7, 8))),),
    host="::1",
    port=5443,
    tls_cert=Path("/state/tls.crt"),
    tls_key=Path("/state/tls.key"),
    ca=Path("/state/ca.crt"),
    prefix="mirror/x",
    serves=(CHARTS, CLAMAV),
    url="https://registry.site:5443",
    access_log="/var/log/access.log",
    workers=3,
    threads=7,
    header_seconds=5,
)


def test_round_trip() -> None:
    assert parse_config(FULL.to_bytes(), where="x") == FULL
    assert FULL.scheme == "https"
    assert ServerConfig(()).scheme == "http"


def test_defaults_fill_what_is_not_said() -> None:
    body = {"apiVersion": "airbundle.dev/v1", "kind": "Server"}
    assert parse_config(json.dumps(body).encode(), where="x") == ServerConfig(())


def test_all_findings_come_at_once() -> None:
    body: dict[str, Any] = {
        **FULL.to_json(),
        "bundles": [{"volumes": []}, {"volumes": ["relative"]}, {"volumes": ["/a"], "verified": [[1, 2]]}],
        "port": 70000,
        "tlsKey": "",
        "prefix": "Upper",
        "serves": ["ftp"],
        "thread": 3,
    }
    with pytest.raises(DocumentError) as caught:
        parse_config(json.dumps(body).encode(), where="server.json")
    fields = [finding.where.partition(" ")[2] for finding in caught.value.findings]
    assert {"bundles[0]", "bundles[1]", "bundles[2].verified", "port", "tlsCert, tlsKey"} <= set(fields)
    assert {"prefix", "serves", "thread"} <= set(fields)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"kind": "Lock"}', b"[" * 100000])
def test_what_is_no_configuration_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError, match="x:"):
        parse_config(raw, where="x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL.to_json())), json_values))
def test_any_field_gives_a_configuration_or_findings(change: dict[str, Any]) -> None:
    body = {**FULL.to_json(), **change}
    try:
        config = parse_config(json.dumps(body).encode(), where="x")
    except DocumentError as error:
        assert error.findings or "not JSON" in error.problem
    else:
        assert parse_config(config.to_bytes(), where="x") == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("5000", ("127.0.0.1", 5000)),
        (":5443", ("0.0.0.0", 5443)),
        ("[::1]:0", ("::1", 0)),
        ("registry.site:443", ("registry.site", 443)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "x", "host:", "host:70000", "::1:5000", "host:٣", "1:-1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|brackets"):
        parse_listen(text)


def test_host_and_port_are_joined() -> None:
    assert join_host("::1", 1) == "[::1]:1"
    assert join_host("a.b", 1) == "a.b:1"


def test_fingerprints_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = fingerprint(path.stat())
    assert fingerprint(path.stat()) == first
    path.write_bytes(b"two!")
    assert fingerprint(os.stat(path)) != first


def test_every_field_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    table = text[text.index("## Configuration") :]
    assert all(f"`{name}`" in table or name in {"apiVersion", "kind"} for name in FULL.to_json())
