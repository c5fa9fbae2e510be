"""Names: CoreDNS there, of a form that a zone can be written into, and answering; the registry's name on this host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airbundle.deploy.facts import COREDNS, RESOLVED, SiteFacts, known
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.templates import is_ready, namespace_of
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules.scene import mapping

_SERVER = re.compile(r"(?m)^\s*(?:dns://)?\.(?::53)?[^\S\n]*(?:\S+[^\S\n]*)*\{")
_KUBERNETES = re.compile(r"(?m)^\s*kubernetes\s")
_DNS = ("kube-dns", "coredns")


def coredns(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when the cluster's DNS is not one that a zone can be written into, or has no pod that is ready."""
    if not wanted.site.dns.zone:
        return
    corefile = known(facts.corefile, COREDNS)
    where = "ConfigMap kube-system/coredns"
    if not corefile:
        yield told(
            "dns-missing",
            "the cluster has no CoreDNS that airbundle knows",
            where=where,
            expected="kubeadm's or k3s's ConfigMap with a Corefile",
            hint="leave `dns` out of the site file, and give its records to the site's own DNS server",
        )
    elif not _SERVER.search(corefile) or not _KUBERNETES.search(corefile):
        yield told(
            "dns-form",
            "CoreDNS's configuration is of a form that airbundle does not write into",
            where=where,
            expected="a server block for `.:53` with the plugin `kubernetes`",
            hint="leave `dns` out of the site file, and add the zone's server block by hand",
        )
    elif not _balanced(corefile):
        yield told(
            "dns-form", "the braces of CoreDNS's configuration don't match", where=where, hint="mend the Corefile"
        )
    pods = [
        pod
        for pod in facts.all("Pod")
        if namespace_of(pod) == "kube-system"
        and {
            str(mapping(mapping(pod.get("metadata")).get("labels")).get(label))
            for label in ("k8s-app", "app.kubernetes.io/name")
        }.intersection(_DNS)
    ]
    if corefile and not any(is_ready(pod) for pod in pods):
        yield told(
            "dns-down",
            "no pod of the cluster's DNS is ready",
            where="namespace kube-system",
            found=f"{len(pods)} pods" if pods else "no pod of it",
            hint="`kubectl -n kube-system describe pods -l k8s-app=kube-dns` says why",
        )


def _balanced(text: str) -> bool:
    return text.count("{") == text.count("}")


def registry(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when the registry's name stands for nothing, or for another host, here."""
    host = wanted.registry.rpartition(":")[0] or wanted.registry
    if not host or not any(letter.isalpha() for letter in host) or ":" in host:
        return
    found = known(facts.resolved, RESOLVED)
    here = wanted.site.registry.mode != "external"
    if here and found and not set(found) & {*facts.addresses, "127.0.0.1", "::1", "127.0.1.1"}:
        yield told(
            "registry-name",
            f"the registry is to run on this host, and its name {host} stands for another one",
            where=f"{wanted.site.where} registry",
            found=listed(list(found)),
            expected=listed(list(facts.addresses)) or "an address of this host",
            hint="correct the name in the site's DNS server or /etc/hosts",
        )
    elif not here and not found:
        yield told(
            "registry-name",
            f"the registry's name {host} is not known to this host",
            where=f"{wanted.site.where} registry.url",
            hint="add it to the site's DNS server, or to /etc/hosts here and on each node",
        )
