"""Whether names of the site's zones are answered: to a pod, to this host by the cluster's DNS, and by its own resolver.

CoreDNS reads a changed configuration by itself, when the kubelet has brought it (up to a minute and a half) and its
plugin `reload` has looked (up to 45 seconds). A kubelet looks at once after a pod's annotations change; so nothing is
restarted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.deploy.dig import text
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.zone import Zone
from airbundle.errors import AirbundleError, Finding, SiteError, Unreachable
from airbundle.installer.site.errands import maker_at
from airbundle.installer.site.node_facts import cluster_nodes, is_here
from airbundle.installer.site.step import SiteRun
from airbundle.transfer.borrowing_pod import Errand, run_errand
from airbundle.transfer.cluster import Resource
from airbundle.transfer.dns import A, ask_dns
from airbundle.transfer.local import addresses_of

VERIFY_TIME = 180
"""Seconds in which CoreDNS must answer as it is told to."""
_SERVICE = ObjectKey("v1", "Service", "kube-system", "kube-dns")
_PODS = Resource("v1", "pods", "Pod")
_NAMES = 50
_ROUNDS = 5
_TOUCHED = "airbundle.dev/dns"

# Several replicas answer in turn, and each reads its configuration when it does.
_ASK = """\
end=$(($(date +%s) + @TIME@)) round=0
while :; do
    wrong=
    while read -r name expected; do
        found=$(getent ahostsv4 "$name." | cut -d' ' -f1 | sort -u | tr '\\n' ' ')
        [ "$found" = "$expected " ] || wrong="$wrong $name:$found"
    done </airbundle/names
    if [ -z "$wrong" ]; then round=$((round + 1)); else round=0; fi
    [ "$round" -lt @ROUNDS@ ] || exit 0
    [ "$(date +%s)" -lt "$end" ] || { echo "wrong:$wrong"; exit 1; }
    sleep 1
done
"""


def expected_answers(zones: Sequence[Zone]) -> dict[str, tuple[str, ...]]:
    """Return names to ask for, and the IPv4 addresses that must come; those of wildcards by a name that they match."""
    found: dict[str, tuple[str, ...]] = {}
    for zone in zones:
        for name in sorted(zone.records):
            asked = name.replace("*.", "airbundle-asks.", 1) if name.startswith("*.") else name
            addresses = zone.addresses(asked, version=4)
            if addresses and len(found) < _NAMES:
                found[asked] = tuple(sorted(addresses))
    return found


def check_from_pod(run: SiteRun, zones: Sequence[Zone]) -> None:
    """Wait until a pod is answered as the zones say.

    Where no pod can run with the node's tools, that is told, and nothing is checked.

    Raises:
        SiteError: it is not, after `VERIFY_TIME` seconds; with what it got.
    """
    expected = expected_answers(zones)
    nodes = [node for node in cluster_nodes(run.cluster) if node.ready]
    if not expected or not nodes:
        return
    names = "".join(f"{name} {' '.join(sorted(addresses))}\n" for name, addresses in expected.items())
    script = _ASK.replace("@TIME@", str(VERIFY_TIME)).replace("@ROUNDS@", str(_ROUNDS))
    errand = Errand(nodes[0].name, nodes[0].images, "exec /bin/sh /airbundle/ask", {"ask": script, "names": names})
    try:
        end = run_errand(run.cluster, errand, maker_at(run.site_state, run.journal), timeout=VERIFY_TIME + 60)
    except SiteError as error:
        run.reporter.warn(f"whether pods find the zone's names is not seen: {error.problem}")
        return
    if end.code:
        said = (end.text.strip().splitlines() or [end.message or "nothing was said"])[-1]
        raise SiteError(
            f"CoreDNS does not answer as it is told to, {VERIFY_TIME} s after its configuration changed",
            findings=[
                Finding("a pod got", where=nodes[0].name, code="dns", found=f"{said!r:.300}", expected=names[:300])
            ],
            hint="see what the CoreDNS pods in kube-system say of their configuration",
        )


def check_from_host(run: SiteRun, zones: Sequence[Zone], registry: str) -> list[Finding]:
    """Return what this host is answered otherwise than the zones say.

    The cluster's DNS is asked where this host is a node: elsewhere its address may be anybody's. Then this host's own
    resolver is asked for the registry.
    """
    findings = []
    expected = expected_answers(zones)
    on_network = any(is_here(node) for node in cluster_nodes(run.cluster))
    for server in _servers(run.cluster.get(_SERVICE)) if on_network else ():
        for name, addresses in expected.items():
            try:
                answer = ask_dns(server, name, A, timeout=1.0)
            except Unreachable:
                break  # the kube-proxy of this node may be something that serves pods alone
            if answer.addresses != addresses:
                found = ", ".join(answer.addresses) or f"code {answer.code}"
                findings.append(
                    Finding(
                        f"{server} answers {name} otherwise", code="dns", found=found, expected=", ".join(addresses)
                    )
                )
    own = tuple(address for address in addresses_of(registry) if ":" not in address) if registry in expected else ()
    if registry in expected and not set(own) & set(expected[registry]):
        findings.append(
            Finding(
                f"this host does not find {registry}",
                code="dns-host",
                found=", ".join(own) or "nothing",
                expected=", ".join(expected[registry]),
                hint=f"give the site's DNS server the files in {run.site_state.root / 'dns'}",
                severity="warning",
            )
        )
    return findings


def touch_coredns(run: SiteRun, new: str) -> None:
    """Have the kubelets look at CoreDNS's configuration now; where that is not allowed they do so later."""
    try:
        pods = list(run.cluster.objects(_PODS, _SERVICE.namespace))
        for value in (sha256(new.encode() + str(time.time()).encode())[7:19], ""):
            for pod in pods:
                if text(pod, "metadata", "labels", "k8s-app") == "kube-dns":
                    run.cluster.apply(_annotated(pod, value), force=True)
    except AirbundleError as error:
        run.reporter.event(f"CoreDNS reads its configuration when its kubelet brings it: {error.problem}")


def _annotated(pod: Mapping[str, Any], value: str) -> dict[str, Any]:
    # With the uid, a pod that is gone meanwhile is not made anew.
    names = {key: text(pod, "metadata", key) for key in ("name", "namespace", "uid")}
    metadata = {**names, **({"annotations": {_TOUCHED: value}} if value else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def _servers(service: Mapping[str, Any] | None) -> list[str]:
    addresses = (service or {}).get("spec", {}).get("clusterIPs") or ()
    found = []
    for address in addresses if isinstance(addresses, list) else ():
        try:
            found.append(str(ip_address(str(address))))
        except ValueError:
            continue
    return found[:1]
