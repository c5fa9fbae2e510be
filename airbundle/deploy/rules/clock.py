"""Clocks of this host, the API server and the nodes: certificates made now must be valid there now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airbundle.deploy.facts import CLOCK, SiteFacts, known
from airbundle.deploy.rules.catalogue import told
from airbundle.deploy.templates import is_ready, name_of, namespace_of
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules.scene import mapping

TELL, REFUSE = 30.0, 300.0
"""Seconds from which a difference is told, and from which it stands in the way."""
_RENEWED = 60.0
"""A kubelet renews its lease every 10 s; one that is ready and did not for longer has another clock."""
_LEASES = "kube-node-lease"


def host(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when this host's clock and the API server's differ."""
    del wanted
    skew = known(facts.skew, CLOCK)
    if abs(skew) >= TELL:
        yield told(
            "clock-skew",
            "this host's clock and the API server's differ",
            where="clock",
            found=f"this host is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
            expected=f"less than {TELL:.0f} s",
            hint="let both ask one time server: certificates made here count from this host's time",
            severity="error" if abs(skew) >= REFUSE else "warning",
        )


def nodes(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the nodes whose clock differs from the API server's, as their leases tell."""
    del wanted
    now = known(facts.now, CLOCK)
    ready = {name_of(node) for node in facts.all("Node") if is_ready(node)}
    for lease in facts.all("Lease"):
        if namespace_of(lease) != _LEASES or name_of(lease) not in ready:
            continue
        renewed = parse_time(mapping(lease.get("spec")).get("renewTime"))
        if renewed is None:
            continue
        age = (now - renewed).total_seconds()
        if age < -TELL or age > _RENEWED + TELL:
            yield told(
                "node-clock",
                "the node's clock and the API server's differ",
                where=f"node {name_of(lease)}",
                found=f"it renewed its lease {abs(age):.0f} s {'ago' if age > 0 else 'in the future'}",
                hint="let the nodes ask one time server",
                severity="error" if abs(age) >= REFUSE else "warning",
            )


def parse_time(value: object) -> datetime | None:
    """Return a time of RFC 3339 as Kubernetes writes it; None for what is none."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    whole, _, rest = value.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        return datetime.fromisoformat((whole + rest[digits:]).replace("Z", "+00:00"))
    except ValueError:
        return None
