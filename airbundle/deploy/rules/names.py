"""Names: CoreDNS there, of a form that a zone can be written into, and answering; the registry's name on this host."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.deploy.corefile import with_zones
from airbundle.deploy.facts import COREDNS, RESOLVED, SiteFacts, known
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.templates import is_ready, namespace_of
from airbundle.deploy.wanted import Wanted
from airbundle.deploy.zone import Zone, zones_of
from airbundle.errors import Finding, SiteError, UsageError
from airbundle.scan.rules.scene import mapping

_DNS = ("kube-dns", "coredns")


def coredns(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when the site's zones can't be written into the cluster's DNS, or no pod of that is ready."""
    dns, where = wanted.site.dns, "ConfigMap kube-system/coredns"
    try:
        zones = _zones(facts, wanted)
    except UsageError as error:
        yield told("dns-record", error.problem, where=f"{wanted.site.where} dns.records", hint=error.hint)
        return
    if not zones and not dns.forward:
        return
    corefile = known(facts.corefile, COREDNS)
    if not corefile:
        yield told(
            "dns-missing",
            "the cluster has no CoreDNS that airbundle knows",
            where=where,
            expected="kubeadm's or k3s's ConfigMap with a Corefile",
            hint="leave `dns` out of the site file, and give its records to the site's own DNS server",
            severity="error" if dns.zone else "warning",
        )
        return
    try:
        with_zones(corefile, wanted.site.name, zones, dns.forward)
    except SiteError as error:
        yield told("dns-form", error.problem, where=where, hint=error.hint)
    yield from _pods(facts)


def _zones(facts: SiteFacts, wanted: Wanted) -> tuple[Zone, ...]:
    here = wanted.site.registry.mode != "external"
    addresses = [address for address in facts.addresses if ":" not in address]
    return zones_of(wanted.site.dns, registry_name(wanted), tuple(addresses[:1]) if here else ())


def registry_name(wanted: Wanted) -> str:
    """Return the registry's name; empty where it has an address alone."""
    host = wanted.registry.rpartition(":")[0] or wanted.registry
    return host if any(letter.isalpha() for letter in host) and ":" not in host else ""


def _pods(facts: SiteFacts) -> Iterator[Finding]:
    pods = [
        pod
        for pod in facts.all("Pod")
        if namespace_of(pod) == "kube-system"
        and {
            str(mapping(mapping(pod.get("metadata")).get("labels")).get(label))
            for label in ("k8s-app", "app.kubernetes.io/name")
        }.intersection(_DNS)
    ]
    if not any(is_ready(pod) for pod in pods):
        yield told(
            "dns-down",
            "no pod of the cluster's DNS is ready",
            where="namespace kube-system",
            found=f"{len(pods)} pods" if pods else "no pod of it",
            hint="`kubectl -n kube-system describe pods -l k8s-app=kube-dns` says why",
        )


def registry(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when the registry's name stands for nothing, or for another host, here."""
    host = registry_name(wanted)
    if not host:
        return
    found = known(facts.resolved, RESOLVED)
    here = wanted.site.registry.mode != "external"
    own = {*facts.addresses, *_recorded(wanted, host), "127.0.0.1", "::1", "127.0.1.1"}
    if here and found and own.isdisjoint(found):
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


def _recorded(wanted: Wanted, host: str) -> tuple[str, ...]:
    """Return the addresses that the site file gives a name."""
    try:
        zones = zones_of(wanted.site.dns)
    except UsageError:
        return ()
    return tuple(
        address
        for zone in zones
        if host == zone.name or host.endswith(f".{zone.name}")
        for address in zone.addresses(host)
    )
