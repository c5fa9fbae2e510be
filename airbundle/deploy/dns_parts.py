"""Whose parts CoreDNS's ConfigMap has: several sites of one cluster keep theirs apart. Pure.

kubeadm's form has them in the Corefile between marks (`deploy.corefile`); k3s's as keys `airbundle-SITE.server`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airbundle.deploy.corefile import owners_of, with_owner, without_zones
from airbundle.deploy.objects import ObjectKey

COREFILE = ObjectKey("v1", "ConfigMap", "kube-system", "coredns")
CUSTOM = ObjectKey("v1", "ConfigMap", "kube-system", "coredns-custom")
"""k3s puts `coredns` back as it was, and imports what is in this one; so does AKS."""
CONFIGS = (COREFILE, CUSTOM)

_KEY = re.compile(r"airbundle-([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\.server")
_TEXT = "Corefile"


def custom_key(site: str) -> str:
    """Return the key of a site's part in k3s's form."""
    return f"airbundle-{site}.server"


def sites_in(body: Mapping[str, Any] | None) -> set[str]:
    """Return the sites that have a part in a ConfigMap of CoreDNS's."""
    data = data_of(body)
    text = data.get(_TEXT)
    found = {match[1] for match in map(_KEY.fullmatch, map(str, data)) if match}
    return found | (owners_of(text) if isinstance(text, str) else set())


def other_parts(body: Mapping[str, Any] | None, site: str) -> dict[str, str]:
    """Return the parts of other sites in k3s's form, by key."""
    data = data_of(body)
    return {name: str(data[name]) for name in sorted(data) if _KEY.fullmatch(name) and name != custom_key(site)}


def without_part(body: Mapping[str, Any], site: str) -> dict[str, Any]:
    """Return a ConfigMap without a site's part; all else stays.

    Raises:
        SiteError: somebody took away one mark of two.
    """
    data = {name: value for name, value in data_of(body).items() if name != custom_key(site)}
    if isinstance(data.get(_TEXT), str):
        data[_TEXT] = without_zones(data[_TEXT], site)
    return {**body, "data": data}


def given_part(body: Mapping[str, Any], site: str, heir: str) -> dict[str, Any]:
    """Return a ConfigMap in which a site's part is that of another; what is served stays the same."""
    names = {custom_key(site): custom_key(heir)}
    data = {names.get(name, name): value for name, value in data_of(body).items()}
    if isinstance(data.get(_TEXT), str):
        data[_TEXT] = with_owner(data[_TEXT], site, heir)
    return {**body, "data": data}


def data_of(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a ConfigMap's data; nothing where it has none to speak of."""
    found = (body or {}).get("data")
    return found if isinstance(found, Mapping) else {}
