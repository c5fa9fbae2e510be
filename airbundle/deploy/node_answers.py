"""What the script for nodes (`installer.node_script`) says to `plan`, `check` and `reach`, read. Pure.

It comes from a node, so it is bounded, and what is not understood is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airbundle.errors import Finding, SiteError

_PLAN = re.compile(r"plan (create|change|replace|keep|remove|refuse|hosts) (/[\x21-\x7e]{1,1000})")
_RESTART = re.compile(r"plan restart ([a-z0-9 @_-]{1,200})")
_CURL = re.compile(r"reach curl ([0-9]{1,3}) ([0-9]{3}) ?(.*)")
_CONFIG = re.compile(r"reach config (/[\x21-\x7e]{1,1000})")
_UNSAYABLE = re.compile(r"[^\x20-\x7e]")
_TOLD = 300
_TIMEOUT, _REFUSED = 28, 7
_TRUST = frozenset({35, 51, 53, 54, 58, 60, 77, 83})
"""Exit codes of curl that are about certificates (curl(1), "EXIT CODES")."""


@dataclass(frozen=True)
class NodePlan:
    """What `apply` would do on a node.

    Attributes:
        files: what is done with each, in order: `create`, `change` (ours), `replace` (somebody else's, which is kept),
            `remove`, `hosts`, or `refuse`.
        restart: services of which the one that runs there must be restarted; empty: none must.
    """

    files: tuple[tuple[str, str], ...]
    restart: str = ""

    @property
    def refused(self) -> tuple[str, ...]:
        """Files with settings of others, which are not replaced."""
        return tuple(path for doing, path in self.files if doing == "refuse")


def read_plan(node: str, text: str) -> NodePlan:
    """Return what the script said to `plan`.

    Raises:
        SiteError: it did not come to its end.
    """
    lines = text.splitlines()
    if "plan end" not in lines:
        raise SiteError(f"node {node}: its plan has no end: {_last(text)}", outcome="unchanged", hint="run this again")
    found = [match.groups() for match in map(_PLAN.fullmatch, lines) if match]
    restart = next((match[1] for match in map(_RESTART.fullmatch, lines) if match), "")
    return NodePlan(tuple((doing, path) for doing, path in found if doing != "keep"), restart)


def written(text: str) -> list[str]:
    """Return what the script says that it wrote and took away, one line each."""
    return [_clean(line) for line in text.splitlines() if line.startswith(("written ", "removed ", "put back "))]


def advice(text: str) -> list[str]:
    """Return what the script says that a person has to do then."""
    return [_clean(line.partition(":")[2].strip()) for line in text.splitlines() if line.startswith("then: ")]


def wrongs(node: str, text: str) -> list[Finding]:
    """Return what the script says to `check` or `apply` that is not so."""
    lines = [line for line in text.splitlines() if line.startswith(("WRONG ", "REFUSED "))]
    return [Finding(_clean(line.partition(" ")[2].strip()), where=node, code="node") for line in lines]


def reached(node: str, text: str, url: str, *, runs: bool) -> Iterator[Finding]:
    """Yield what the script says to `reach` that stands in the way.

    Args:
        node: where it ran.
        text: what it said.
        url: the registry's.
        runs: whether the registry is up; else it is enough that its host answers.
    """
    lines = text.splitlines()
    for config in (match[1] for match in map(_CONFIG.fullmatch, lines) if match):
        yield Finding(
            "containerd reads no mirror configuration",
            where=node,
            code="node-containerd",
            found=f"no config_path in {config}",
            expected='config_path = "/etc/containerd/certs.d" in the section of the registry',
            hint="set it and restart containerd",
        )
    answer = next((match for match in map(_CURL.fullmatch, lines) if match), None)
    if "reach end" not in lines or (answer is None and "reach unseen" not in lines):
        yield Finding("whether it reaches the registry is not known", where=node, code="node-reach", found=_last(text))
    elif answer is None:
        yield Finding(
            f"whether it reaches {url} is not seen: it has no curl", where=node, code="node-reach", severity="warning"
        )
    else:
        yield from _curl(node, answer, url, runs=runs)


def _curl(node: str, answer: re.Match[str], url: str, *, runs: bool) -> Iterator[Finding]:
    status, code, why = int(answer[1]), answer[2], _clean(answer[3])
    if status == 0:
        if code not in ("200", "401"):
            yield Finding(
                f"{url} answers it, but not as a registry", where=node, code="node-reach", found=f"HTTP {code}"
            )
    elif status in _TRUST:
        if runs:
            yield Finding(
                f"it does not trust {url}",
                where=node,
                code="node-trust",
                found=why,
                hint="see the certificate of the registry, and who answers there",
            )
    elif status != _REFUSED or "refused" not in why.lower() or runs:
        hint = "open the firewall between node and registry" if status in (_TIMEOUT, _REFUSED) else "see what curl says"
        yield Finding(f"it does not reach {url}", where=node, code="node-reach", found=why, hint=hint)


def _last(text: str) -> str:
    return _clean((text.strip().splitlines() or ["nothing was said"])[-1])


def _clean(text: str) -> str:
    return _UNSAYABLE.sub("?", text)[:_TOLD]
