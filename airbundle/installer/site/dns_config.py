"""CoreDNS's configuration in a cluster: which form it has, what it is to be, and how it is changed and put back."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.deploy.corefile import server_blocks, with_zones, without_zones
from airbundle.deploy.dns_parts import COREFILE, CUSTOM, custom_key, other_parts
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.zone import Zone
from airbundle.errors import Conflict, SiteError
from airbundle.installer.files import PRIVATE_FILE, write_file
from airbundle.installer.site.step import Action, Change, SiteRun

KUBEADM, K3S = "kubeadm", "k3s"
_IMPORTS = re.compile(r"^[ \t]*import[ \t]+(?:/etc/coredns/)?custom/\*\.server[ \t]*$", re.MULTILINE)
_ATTEMPTS = 5


@dataclass(frozen=True)
class DnsConfig:
    """CoreDNS's configuration as it is.

    Attributes:
        form: `kubeadm`, `k3s`, or empty where it has none that is known.
        body: the ConfigMap that is changed; None where it is not there yet.
        corefile: the whole Corefile.
    """

    form: str
    body: Mapping[str, Any] | None = None
    corefile: str = ""

    @property
    def key(self) -> ObjectKey:
        """The object that is changed."""
        return CUSTOM if self.form == K3S else COREFILE


def read_config(run: SiteRun) -> DnsConfig:
    """Return CoreDNS's configuration.

    Raises:
        Unauthorized, RemoteError: it can't be read.
    """
    body = run.cluster.get(COREFILE)
    corefile = _data(body).get("Corefile")
    if not isinstance(corefile, str):
        return DnsConfig("")
    if _IMPORTS.search(corefile):
        return DnsConfig(K3S, run.cluster.get(CUSTOM), corefile)
    return DnsConfig(KUBEADM, body, corefile)


def wanted_text(run: SiteRun, config: DnsConfig, zones: Sequence[Zone]) -> tuple[str, str]:
    """Return what our part of the configuration is, and what it is to be: of the Corefile, or of our own key.

    Raises:
        SiteError: it can't be; says why, and what to do.
    """
    forward, owner = run.site.site.dns.forward, run.site_state.name
    if config.form == KUBEADM:
        return config.corefile, with_zones(config.corefile, owner, zones, forward)
    if forward:
        raise SiteError(
            "CoreDNS of k3s forwards as its node does, which `dns.forward` of the site file can't change",
            outcome="unchanged",
            hint="start k3s with --resolv-conf and a file that names these resolvers; leave `dns.forward` out",
        )
    # Refuses what others serve, other sites among them, and what would hide the cluster's names.
    with_zones("\n".join([config.corefile, *other_parts(config.body, owner).values()]), owner, zones)
    text = _data(config.body).get(custom_key(owner))
    return (text if isinstance(text, str) else ""), server_blocks(zones)


def changes(config: DnsConfig, old: str, new: str) -> list[Change]:
    """Return what would change in the ConfigMap."""
    if old == new:
        return []
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "CoreDNS, now", "CoreDNS, then", lineterm="")
    action: Action = "change" if config.body is not None else "create"
    return [Change(config.key.title, action, "\n".join(lines))]


def change_config(run: SiteRun, config: DnsConfig, old: str, new: str) -> None:
    """Change the configuration; how it was is written down and journalled before.

    Raises:
        SiteError: somebody else changes it at the same time.
        HostError: how it was can't be written.
        Unauthorized, RemoteError: the cluster did not do it.
    """
    ours = bool(old) if config.form == K3S else without_zones(old, run.site_state.name) != old
    if config.body is None:
        run.journal.note("dns", undo=[{"object": str(config.key)}])
    elif not ours:
        # With our part in it, it is not how it was before us: that was written the first time.
        file = f"before/{config.key.name}.json"
        write_file(run.site_state.directory("before") / f"{config.key.name}.json", _json(config.body), PRIVATE_FILE)
        run.journal.note("dns", undo=[{"restore": str(config.key), "file": file}])
    put_text(run, config, new, old)


def put_text(run: SiteRun, config: DnsConfig, text: str, was: str) -> None:
    """Make our part of the configuration `text`, where it is `was`. Raises as `change_config`."""
    if config.form == K3S:
        # What is applied is all that is ours: what other sites applied must be in it, too.
        own = {custom_key(run.site_state.name): text} if text else {}
        data = {**other_parts(run.cluster.get(CUSTOM), run.site_state.name), **own}
        metadata = {"name": CUSTOM.name, "namespace": CUSTOM.namespace}
        run.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, force=True)
        return
    for _ in range(_ATTEMPTS):
        live = run.cluster.get(COREFILE) or {}
        if _data(live).get("Corefile") != was:
            break
        try:
            run.cluster.replace({**live, "data": {**_data(live), "Corefile": text}})
        except Conflict:
            continue
        return
    raise SiteError(f"{COREFILE.title}: somebody else changes it at the same time", hint="run this again")


def _data(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found = (body or {}).get("data")
    return found if isinstance(found, dict) else {}


def _json(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()
