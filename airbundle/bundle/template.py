"""`{{ site.NAME }}` in values files: what differs from site to site. All other braces pass byte for byte.

Helm, Jinja, Go and Prometheus have braces of their own in values; only this one form is ours. A name that nobody knows
is an error: a typing error must not reach a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from airbundle.bundle.serving import SITE_PORT
from airbundle.bundle.site import Site, SiteValue
from airbundle.errors import DocumentError, Finding

PLACEHOLDERS: Mapping[str, str] = {
    "name": "site-placeholder",
    "domain": "site.internal",
    "registry": f"registry.site.internal:{SITE_PORT}",
    "storageClass": "site-placeholder",
    "ca_issuer": "site-placeholder",
}
"""What a scan without a site file fills in; no site has these."""

HINTS = 20
"""Most names of a text for which a similar one is looked for: with thousands that takes minutes."""
_LONGEST = 200
_DECLARE = "declare names of your own under `site` in bundle.yaml"
_OURS = re.compile(r"\{\{[ \t]*site\.([A-Za-z0-9_.-]*)[ \t]*\}\}")


def fill(text: str, names: Mapping[str, SiteValue], where: str) -> str:
    """Return a text with each `{{ site.NAME }}` filled in; for YAML there is `template_yaml.fill_yaml`.

    Args:
        text: of one line, or of any form that nobody parses.
        names: what a NAME stands for.
        where: the file, for errors.

    Raises:
        DocumentError: a NAME that is not in `names`; every one is listed, with its line.
    """
    refuse_unknown(placeholders(text), names, where)
    return _OURS.sub(lambda match: written(names[match[1]]), text)


def placeholders(text: str) -> list[re.Match[str]]:
    """Return where each `{{ site.NAME }}` stands; group 1 is the NAME."""
    return list(_OURS.finditer(text))


def refuse_unknown(found: Sequence[re.Match[str]], names: Mapping[str, object], where: str) -> None:
    """Raise DocumentError when a NAME is not in `names`; every one is listed, with its line.

    Args:
        found: of one text, in its order.
        names: those that are known.
        where: the file, for errors.
    """
    unknown = [match for match in found if match[1] not in names]
    if not unknown:
        return
    known = list(dict.fromkeys([*PLACEHOLDERS, *names]))
    hints = _Hints(known)
    findings, line, end = [], 1, 0
    for match in unknown:
        line += match.string.count("\n", end, match.start())
        end = match.start()
        findings.append(_unknown(match, f"{where}:{line}", hints))
    raise DocumentError(f"{where}: names of the site can't be filled in", findings=findings)


def written(value: SiteValue) -> str:
    """Return a value as it is written into texts."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def used_names(text: str) -> Iterator[str]:
    """Yield each NAME that a text asks for, known or not."""
    return (match[1] for match in _OURS.finditer(text))


def site_names(site: Site) -> dict[str, str]:
    """Return what the names stand for at a site; one that the site file does not tell is left out.

    `storageClass` may be empty: to charts that is the cluster's own default.
    """
    registry = urlsplit(site.registry.url).netloc
    if not registry and site.domain:
        registry = f"registry.{site.domain}:{SITE_PORT}"
    told = {"domain": site.domain, "registry": registry}
    return {
        "name": site.name,
        "storageClass": site.storage_class,
        "ca_issuer": site.ca.issuer,
        **{name: value for name, value in told.items() if value},
    }


class _Hints:
    """What could be meant instead of a NAME that nobody knows; looked for as often as a person may want to read it."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known
        self._found: dict[str, tuple[str, str]] = {}

    def of(self, name: str) -> tuple[str, str]:
        """Return what is expected in the place of a name, and a hint."""
        if name not in self._found:
            if len(self._found) == HINTS:
                return "", _DECLARE
            close = get_close_matches(name, self._known, n=1) if len(name) <= _LONGEST else ()
            expected = "one of " + ", ".join(f"site.{each}" for each in self._known)
            self._found[name] = expected, f"did you mean site.{close[0]}?" if close else _DECLARE
        return self._found[name]


def _unknown(match: re.Match[str], where: str, hints: _Hints) -> Finding:
    name = match[1]
    if name in PLACEHOLDERS:
        message, hint = f"the site file does not say its {name!r}", "write `domain` into the site file"
        return Finding(message, where, "template", match[0], hint=hint)
    expected, hint = hints.of(name)
    return Finding(f"{match[0][:_LONGEST]!r} is no name of the site", where, "template", expected=expected, hint=hint)
