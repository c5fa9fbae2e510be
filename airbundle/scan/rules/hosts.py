"""Hosts that fit no site, or only one: `example.com`, and names and addresses where `{{ site.domain }}` belongs.

Whether a given value held the template can't be seen any more: a host below a site's domain counts as filled in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.given import Leaf
from airbundle.scan.rules.scene import Scene, tell, with_where
from airbundle.scan.rules.texts import Text, holds_any

EXAMPLE = re.compile(
    r"(?i)(?<![\w@.-])(?:[a-z0-9*_-]{1,63}[.@]){0,10}(?:example\.(?:com|org|net|edu)|[a-z0-9-]+\.example|"
    r"(?:chart-example|example|your-?(?:domain|host)|my-?domain|changeme|domain)\.(?:local|tld|lan)|"
    r"(?:your|my)-?(?:domain|company|site)\.(?:com|org|net|tld)|[a-z0-9-]+\.(?:domain|tld|xx|xxx))(?![\w-])(?!\.[a-z])"
)
_HOST = re.compile(
    r"(?i)(?:[a-z][a-z0-9+.-]*://)?(?:[^\s/@]+@)?((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24})(?::\d+)?(?:/\S*)?"
)
_SIGNS = ("example", "domain", "your", "my", "changeme", ".tld", ".xx")
_LENGTH_LIMIT = 500
"""Longest value that is taken for a host or a URL."""
_ADDRESS = re.compile(r"(?<![\w.:/-])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.-])(?:/(\d+))?")
_HOST_KEY = re.compile(
    r"(?i)(?:host(?:name)?s?|domains?|fqdn|server_?names?|(?:base|external|public|root|callback)_?-?ur[li]|issuer)"
    r"(?:\[\d+\])?$"
)
_NOWHERE = (".svc", ".cluster.local", ".localhost", ".invalid", ".test")
_ENDS = "yaml yml json toml conf cfg ini crt key pem sh py sock log txt db html js css lua sql tmpl tpl gz tgz zip"
_FILES = frozenset(_ENDS.split())
"""Ends of file names, which look like host names."""


def find(scene: Scene) -> Iterator[Finding]:
    """Yield example hosts in all texts, and hosts and addresses written out in given values."""
    told: set[str] = set()
    for index in scene.indexes:
        for leaf in index.given:
            finding = _in_given(scene, leaf)
            if finding and str(leaf) not in told:
                told.add(str(leaf))
                yield with_where(finding, str(leaf))
    for text in scene.texts:
        if text.source != "annotation" and holds_any(text.value, _SIGNS) and EXAMPLE.search(text.value):
            for line in text.lines():
                yield from _examples(scene, line, told)


def _examples(scene: Scene, line: Text, told: set[str]) -> Iterator[Finding]:
    for match in EXAMPLE.finditer(line.value):
        if scene.is_site_host(match[0].rpartition("@")[2]):
            continue
        finding = tell(scene, line, match[0], _example(match[0], "warning"))
        if finding.where not in told:
            yield finding


def _in_given(scene: Scene, leaf: Leaf) -> Finding | None:
    example = EXAMPLE.search(leaf.value)
    if example and not scene.is_site_host(example[0].rpartition("@")[2]):
        return _example(example[0], "error")
    if "\n" in leaf.value.strip() or len(leaf.value) > _LENGTH_LIMIT:
        return None
    host = _HOST.fullmatch(leaf.value.strip())
    if host and _HOST_KEY.search(leaf.key) and _is_elsewhere(scene, host[1]):
        return _written_out(host[1], "{{ site.domain }} in its place", "host")
    address = _ADDRESS.search(leaf.value)
    if address and _is_of_a_site(address[1], address[2]):
        return _written_out(address[0], "a name, or a value that each site gives", "address")
    return None


def _is_elsewhere(scene: Scene, host: str) -> bool:
    host = host.lower()
    return not (
        scene.is_site_host(host) or host.endswith(_NOWHERE) or ".svc." in host or host.rpartition(".")[2] in _FILES
    )


def _is_of_a_site(text: str, prefix: str | None) -> bool:
    """Whether an address belongs to one site: no wildcard, loopback, or whole private range."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    whole_range = prefix is not None and int(prefix) <= 16
    return not (
        whole_range or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
        or text.startswith("255.")
    )  # fmt: skip


def _example(found: str, severity: str) -> Finding:
    return Finding(
        "a host name from an example",
        code="example-host",
        found=found,
        expected="a name that the site has",
        hint="write {{ site.domain }} where the site's own domain belongs",
        severity="error" if severity == "error" else "warning",
    )


def _written_out(found: str, expected: str, what: str) -> Finding:
    return Finding(
        f"the {what} of one site is written out",
        code="hard-coded-host",
        found=found,
        expected=expected,
        severity="warning",
    )
