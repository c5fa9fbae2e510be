"""`README.txt` of a handoff: what to run, in which order, as whom, and how to take it back. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from airbundle.installer.site.handoff_content import APPLY, DNS, ISSUER, NODES, RIGHTS, TRUST, UNDO, Handoff
from airbundle.installer.site.handoff_scripts import NAMESPACES

_WIDTH = 100


def readme(title: str, site: str, handoff: Handoff) -> str:
    """Return the text.

    Args:
        title: name and version of the bundle.
        site: its name.
        handoff: what is handed over.
    """
    return "\n".join([*_head(title, site), "", *_order(handoff), "", *_what(handoff), "", *_back(handoff)]) + "\n"


def _head(title: str, site: str) -> Iterator[str]:
    yield f"{title} at the site {site}: what an administrator does"
    yield ""
    yield from _wrapped(
        "Written by `airbundle install --handoff`. The operator of the site may not do these things; all else the "
        "operator does. Nothing here needs airbundle, Python or a network beyond the cluster's: sh on the nodes, "
        "kubectl for the cluster. Everything can be run again: it goes on, or changes nothing."
    )
    yield from _wrapped("Files with the mode 0600 hold keys: send them over a way that nobody else reads.")


def _order(handoff: Handoff) -> Iterator[str]:
    yield "IN THIS ORDER"
    for number, (as_whom, command, why) in enumerate(_commands(handoff), 1):
        yield f"{number}. {as_whom}:"
        yield f"       {command}"
        yield from _wrapped(why, "   ")


def _commands(handoff: Handoff) -> Iterator[tuple[str, str, str]]:
    if NODES in handoff.files:
        why = "Lets the node pull images from the site's registry. `sh nodes.sh check` says whether it can."
        yield "As root on each node, with nodes.sh copied there", f"sh {NODES} apply", why
    administrator = "As an administrator of the cluster, in this directory"
    if handoff.secrets_first and handoff.releases:
        yield administrator, f"sh {APPLY} cluster", "Namespaces, DNS, trust and the operator's rights."
        secrets = ", ".join(handoff.secrets_first)
        why = f"Makes what the handed-over releases need: {secrets}."
        yield "The operator", "airbundle install BUNDLE --site site.yaml --phases secrets", why
        yield administrator, f"sh {APPLY} releases", "The releases below, each waited for."
    else:
        yield administrator, f"sh {APPLY}", "All that is listed below; it waits until what it starts is up."
    why = "Deploys all else, waits for what was handed over, and records it."
    if handoff.unmarked:
        marks = ", ".join(f"{name}: {{handedOver: true}}" for name in handoff.unmarked)
        why = f"First write into site.yaml:  releases: {{{marks}}}. {why}"
    yield "The operator", "airbundle install BUNDLE --site site.yaml --phases secrets,releases", why


def _what(handoff: Handoff) -> Iterator[str]:
    yield "WHAT IS WHAT"
    told = {
        NODES: "mirrors and CA of the registry for the nodes' container runtime",
        NAMESPACES: f"namespaces, where they aren't there yet: {', '.join(handoff.cluster.namespaces)}",
        DNS: "the site's zones in the cluster's CoreDNS (`sh 20-dns.sh show <Corefile` prints what it would make)",
        TRUST: "the site's CA, for pods",
        RIGHTS: "what the operator may do: roles in these namespaces, and to look at what was handed over",
        ISSUER: "cert-manager's ClusterIssuer, with a CA of its own below the site's (holds its key)",
    }
    for path, what in told.items():
        if path in handoff.files:
            yield from _wrapped(f"{path}: {what}", "  ", "    ")
    for release in handoff.releases:
        where = f"releases/{release.name}/ into {release.material.namespace}"
        yield from _wrapped(f"{where}: {', '.join(release.parts)}; {release.why}", "  ", "    ")


def _back(handoff: Handoff) -> Iterator[str]:
    yield "BACK"
    yield from _wrapped("First the operator: airbundle uninstall. It leaves alone what was handed over. Then:")
    yield f"       sh {UNDO}                 volumes, custom resource definitions and namespaces stay"
    yield f"       sh {UNDO} --delete-data   they go, too, with all data in them"
    if NODES in handoff.files:
        yield f"       sh {NODES} undo            as root on each node"


def _wrapped(text: str, indent: str = "", more: str | None = None) -> Iterator[str]:
    yield from wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if more is None else more,
        break_long_words=False,
        break_on_hyphens=False,
    )
