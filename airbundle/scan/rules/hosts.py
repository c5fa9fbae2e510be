"""Hosts that fit no site, or only one: `example.com`, and names and addresses where `{{ site.domain }}` belongs.

What is written out shows in the renders that no site has a part in: there the template stands for a placeholder's
domain, which no written name has. A site's own renders are left out: what its files say is the site's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from airbundle.bundle.template import PLACEHOLDERS
from airbundle.errors import Finding
from airbundle.scan.rules.given import OF_SITE, Leaf
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
    r"(?i)(?:host(?:name)?s?|dns_?names?|domains?|fqdn|server(?:_?names?)?|ur[li]s?|endpoints?|address(?:es)?|issuer)(?:\[\d+\])?$"
)
_IN_URL = re.compile(r"://[^\s/]*$")
TOP = re.compile(
    r"[a-z]{2}|com|org|net|dev|app|info|biz|xyz|cloud|tech|online|site|gov|edu|mil|int|live|chat|systems|tools"
)
"""Ends of names of two parts: others are a Service and its namespace."""
_PRIVATE = (".lan", ".local", ".internal", ".corp", ".intra", ".home", ".private")
_NOWHERE = (".svc", ".cluster.local", ".localhost", ".invalid", ".test")
_ENDS = "yaml yml json toml conf cfg ini crt key pem sh py sock log txt db html js css lua sql tmpl tpl gz tgz zip"
_FILES = frozenset(_ENDS.split())
"""Ends of file names, which look like host names."""


def find(scene: Scene) -> Iterator[Finding]:
    """Yield example hosts in all texts, and hosts and addresses written out in given values."""
    told: set[str] = set()
    for index in scene.indexes:
        for leaf in index.given:
            finding = _in_given(scene, leaf, index.is_of_site)
            if finding and str(leaf) not in told:
                told.add(str(leaf))
                yield with_where(finding, str(leaf))
    for text in scene.texts:
        if text.source == "annotation":
            continue
        if holds_any(text.value, _SIGNS) and EXAMPLE.search(text.value):
            for line in text.lines():
                yield from _examples(scene, line, told)
        elif _is_of_inventory(text):
            finding = _written_out_in(scene, text.name, text.value)
            if finding:
                yield tell(scene, text, "", finding)


def _is_of_inventory(text: Text) -> bool:
    """Whether a text is of a plain manifest, where the template can stand as well as in values; not of a site."""
    origin = text.manifest.origin
    return not origin.chart and not origin.variant.startswith(OF_SITE) and text.source not in {"config", "secret"}


def _examples(scene: Scene, line: Text, told: set[str]) -> Iterator[Finding]:
    for match in EXAMPLE.finditer(line.value):
        if scene.is_site_host(match[0].rpartition("@")[2]) or scene.is_sample(match[0]):
            continue
        shown = _shown(match, line.value)
        finding = tell(scene, line, shown, _example(shown, "warning"))
        if finding.where not in told:
            yield finding


def _in_given(scene: Scene, leaf: Leaf, is_of_site: bool) -> Finding | None:
    example = EXAMPLE.search(leaf.value)
    if example and not scene.is_site_host(example[0].rpartition("@")[2]) and not scene.is_sample(example[0]):
        return _example(_shown(example, leaf.value), "error")
    return None if is_of_site else _written_out_in(scene, leaf.key, leaf.value)


def _written_out_in(scene: Scene, key: str, value: str) -> Finding | None:
    if "\n" in value.strip() or len(value) > _LENGTH_LIMIT:
        return None
    host = _HOST.fullmatch(value.strip())
    if host and _HOST_KEY.search(key) and _is_written_out(scene, host[1].lower()) and not scene.is_sample(host[1]):
        return _written_out(host[1], "{{ site.domain }} in its place", "host")
    address = _ADDRESS.search(value)
    if address and _is_of_a_site(address[1], address[2]) and not scene.is_sample(address[1]):
        return _written_out(address[0], "a name, or a value that each site gives", "address")
    return None


def _shown(match: re.Match[str], text: str) -> str:
    """What matched, without the end of a password that stands before the host of a URL."""
    before = text[max(0, match.start() - 200) : match.start()]
    return match[0].rpartition("@")[2] if _IN_URL.search(before) else match[0]


def _is_written_out(scene: Scene, host: str) -> bool:
    own = PLACEHOLDERS["domain"]
    return not (
        host == own
        or host.endswith(("." + own, *_NOWHERE))
        or (not scene.has_placeholders and scene.is_site_host(host))
        or ".svc." in host
        or host.rpartition(".")[2] in _FILES
        or (host.count(".") == 1 and TOP.fullmatch(host.partition(".")[2]) is None and not host.endswith(_PRIVATE))
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
