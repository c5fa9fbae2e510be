"""Runs steps of an install at a site on the operator's host, one at a time: `python -m tests.site.stepping …`.

    stepping STATE BUNDLE KEY SITE_YAML plan|run|findings nodes|dns
    stepping STATE BUNDLE KEY SITE_YAML undo NODE

Prints a JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airbundle.errors import AirbundleError
from airbundle.installer.journal import Journal
from airbundle.installer.options import Options
from airbundle.installer.site.dns_step import DnsStep, dns_findings
from airbundle.installer.site.errands import sweep_errands
from airbundle.installer.site.node_findings import node_findings
from airbundle.installer.site.node_undo import NodeUndoing
from airbundle.installer.site.nodes_step import NodesStep
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Gate, open_trusted
from airbundle.progress import SILENT, Phase
from airbundle.store.site_dir import open_site
from airbundle.transfer.cluster_write import open_cluster_writer


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, name: str, *, total: int = 0) -> Phase:
        return SILENT.phase(name, total=total)

    def event(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(f"warning: {message}")


def main(words: Sequence[str]) -> dict[str, Any]:
    state, told = StateDirectory(Path(words[0])), Told()
    site = open_site(Path(words[3]))
    site_state = SiteState(state, site.site.name)
    with open_trusted([Path(words[1])], state, Gate((Path(words[2]),))) as trusted:
        with open_cluster_writer(Path("/etc/kubernetes/admin.conf")) as cluster:
            sweep_errands(cluster, site_state)
            run = SiteRun(
                trusted,
                site,
                Options(domain=site.site.domain),
                state,
                site_state,
                Journal(site_state.journal),
                cluster,
                told,
                ask=lambda _question: False,
            )
            return {**act(run, words[4], words[5]), "told": told.lines}


def act(run: SiteRun, doing: str, what: str) -> dict[str, Any]:
    if doing == "undo":
        actions = Journal(run.site_state.journal).undo()
        access = next(each["access"] for each in actions if each.get("node") == what)
        return {"changed": NodeUndoing(run.cluster, run.site_state, run.reporter).undo(what, access), "access": access}
    if doing == "findings":
        runs = bool(run.state.read().registry)
        found = node_findings(run, registry_runs=runs) if what == "nodes" else dns_findings(run)
        return {"findings": [each.to_json() for each in found]}
    step = NodesStep(run) if what == "nodes" else DnsStep(run)
    if doing == "plan":
        return {"plan": [[each.action, each.what, each.diff] for each in step.plan()]}
    run.site_state.make()
    return {"changed": step.run(run.reporter.phase("deploy"))}


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1:])))
    except AirbundleError as error:
        print(json.dumps({"error": error.to_json()}))
