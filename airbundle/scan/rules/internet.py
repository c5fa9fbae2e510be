"""Addresses that lead to the internet: a site without it waits for them, or fails."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.hosts import EXAMPLE, TOP
from airbundle.scan.rules.scene import Scene, tell
from airbundle.scan.rules.texts import Text, holds_any

_URL = re.compile(
    r"(?i)\b(https?|wss?|ftp|git|ssh|oci|stun|stuns|turn|turns|ntp):(?://)?(?:[^\s/@\"'<>]{0,300}@)?"
    r"((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}|(?:\d{1,3}\.){3}\d{1,3})(?::\d{1,5})?(?=[/?#\s\"'`,;)\]}<>|\\&]|:|$|\.\s)"
    r"([^\s\"'`<>]*)"
)
_BARE_HOST = re.compile(
    r"(?i)(?<![\w.@/-])((?:[a-z0-9-]+\.)*(?:matrix\.org|vector\.im|l\.google\.com|pool\.ntp\.org|letsencrypt\.org"
    r"|stats\.grafana\.org|grafana\.com|time\.google\.com|time\.cloudflare\.com|api\.github\.com|sentry\.io"
    r"|posthog\.com|database\.clamav\.net)|8\.8\.8\.8|8\.8\.4\.4|1\.1\.1\.1|1\.0\.0\.1|9\.9\.9\.9)"
    r"(?![\w.-]|\.[a-z])"
)
_NAMESPACES = re.compile(
    r"(?i)(?:^|\.)(?:w3\.org|xmlsoap\.org|json-schema\.org|schema\.org|schemastore\.org|openxmlformats\.org|"
    r"schemas\.microsoft\.com|purl\.org|opengis\.net|spdx\.org|ns\.adobe\.com|xml\.org|openid\.net|ietf\.org)$"
)
_READ_BY_PEOPLE = re.compile(
    r"(?i)^(?:(?:www\.)?(?:stackoverflow\.com|wikipedia\.org|.*\.wikipedia\.org|kubernetes\.io|godoc\.org|pkg\.go\.dev|man7\.org)"
    r"|docs?\..*|developers?\..*|.*\.readthedocs\.(?:io|org)|wiki\..*|blog\..*)$"
)
_PAGE = re.compile(r"(?i)/(?:issues|pull|blob|wiki|discussions|docs?|documentation|releases/tag)(?:/|$)")
_PRIVATE = """
    .svc .local .internal .lan .test .invalid .localhost .home.arpa .arpa .intra .corp .home .private .localdomain
    .example .consul .nip.io .sslip.io
"""
_PRIVATE_ENDS = tuple(_PRIVATE.split())
_DOCUMENTS = (
    r"docs?|documentation|help|readme|home_?page|website|links?|runbook|runbook_url|icon|logo|license|comment|notes?"
    r"|message|description|title|about|maintainers?|policy_?uri|tos_?uri|terms|xmlns|\$?schema|\$id|see|user-?agent"
)
_DOCUMENT_KEY = re.compile(rf"(?i)(?:^|[_.-])(?:{_DOCUMENTS}|sources?|placeholder)(?:[_-]?ur[il])?$")
_DOCUMENT_LINE = re.compile(rf"(?i)^\s*[\"']?(?:[\w$-]*[_-])?(?:{_DOCUMENTS})(?:[_-]?ur[il])?[\"']?\s*[:=]")
_REPOSITORIES = frozenset({"repoURL", "repoURLs"})
_IMAGE_KEY = re.compile(r"(?i)(?:image|repository|registry)$")
_PROSE = re.compile(
    r"(?i)\b(?:see|visit|refer to|docs at|documentation at|more (?:info|information|details)|learn more)\b"
)
_KINDS: tuple[tuple[str, str, str], ...] = (
    (
        r"letsencrypt\.org|acme\.|zerossl\.com|buypass\.com|pki\.goog",
        "a public certificate authority",
        "use the site's own CA (a ClusterIssuer of kind `ca`)",
    ),
    (
        r"^(?:(?:.*\.)?docker\.io|quay\.io|ghcr\.io|(?:.*\.)?gcr\.io|public\.ecr\.aws|mcr\.microsoft\.com|.*\.pkg\.dev"
        r"|registry\..*|nvcr\.io|cgr\.dev)$",
        "an image registry",
        "name the site's registry ({{ site.registry }}), and have the image in the inventory",
    ),
    (
        r"^charts\.|helm\.|chart.*\.storage\.|\.github\.io$|artifacthub\.io",
        "a chart repository",
        "carry the chart in the inventory; the site has a chart repository of its own",
    ),
    (
        r"stats\.|telemetry|analytics|posthog|sentry\.io|segment\.(?:io|com)|usage\.|metrics\.|report|rageshake|checkpoint"
        r"|phone-?home|honeycomb|datadoghq|newrelic|amplitude|mixpanel|update|^grafana\.com$|scarf\.sh",
        "telemetry or a check for updates",
        "switch it off in the values",
    ),
    (r"ntp|^time\.", "a time server", "name the site's own time servers"),
    (r"^stun|turn", "a STUN or TURN server", "name the site's own"),
    (r"clamav\.net", "the ClamAV mirror", "let freshclam ask the site's mirror, below /clamav"),
    (
        r"github\.com|gitlab\.com|bitbucket\.org|githubusercontent\.com",
        "a code host",
        "carry the content in the inventory",
    ),
)
_CATEGORIES = tuple((re.compile(pattern, re.IGNORECASE), what, hint) for pattern, what, hint in _KINDS)
_SIGNS = (
    "://", "stun", "turn:", "turns:", "ntp", ".org", ".im", ".io", ".com", ".net", "8.8.", "1.1.1", "1.0.0", "9.9.9",
)  # fmt: skip


def find(scene: Scene) -> Iterator[Finding]:
    """Yield hosts of the internet in environment, arguments, configuration and fields that programs read."""
    for text in scene.texts:
        if text.source == "annotation" or not holds_any(text.value, _SIGNS) or _DOCUMENT_KEY.search(text.name):
            continue
        for line in text.lines():
            if holds_any(line.value, _SIGNS) and not _is_document(line.value):
                yield from _in_line(scene, line)


def _is_document(line: str) -> bool:
    return _DOCUMENT_LINE.match(line) is not None or _PROSE.search(line) is not None


def _in_line(scene: Scene, line: Text) -> Iterator[Finding]:
    told: set[str] = set()
    value = line.value
    if line.name in _REPOSITORIES and "://" not in value:  # Argo CD names charts in registries so
        value = f"oci://{value}"
    for match in _URL.finditer(value):
        told.add(match[2].lower())
        if _is_public(scene, match[2]) and not _PAGE.search(match[3]):
            yield tell(scene, line, match[2], _finding(match[2], match[1]))
    if line.source == "field" and _IMAGE_KEY.search(line.name):
        return
    for match in _BARE_HOST.finditer(line.value):
        if match[1].lower() not in told and not scene.is_site_host(match[1]):
            yield tell(scene, line, match[1], _finding(match[1], ""))


def _is_public(scene: Scene, host: str) -> bool:
    host = host.lower()
    try:
        return ipaddress.IPv4Address(host).is_global
    except ValueError:
        pass
    return not (
        host.endswith(_PRIVATE_ENDS)
        or ".svc." in host
        or (host.count(".") == 1 and TOP.fullmatch(host.partition(".")[2]) is None)
        or scene.is_site_host(host)
        or EXAMPLE.search(host) is not None
        or _NAMESPACES.search(host) is not None
        or _READ_BY_PEOPLE.match(host) is not None
    )


def _finding(host: str, scheme: str) -> Finding:
    what, hint = "a host of the internet", "name a service of the site, or switch the feature off"
    if scheme.lower() in {"stun", "stuns", "turn", "turns"}:
        what, hint = "a STUN or TURN server", "name the site's own"
    else:
        what, hint = next(((what, hint) for pattern, what, hint in _CATEGORIES if pattern.search(host)), (what, hint))
    return Finding(f"{what} that the site can't reach", code="internet-url", found=host, hint=hint, severity="warning")
