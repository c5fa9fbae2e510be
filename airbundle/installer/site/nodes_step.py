"""Step `nodes`: every node of the cluster trusts the private registry and pulls unchanged upstream names from it.

The script that does it (`installer.node_script`) notes on the node what it makes, so that it can be cut off, run again
and taken back. A copy of what each node was given stays in the site's state, `nodes/NODE.sh`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from airbundle.deploy.node_answers import NodePlan, read_plan, written, wrongs
from airbundle.deploy.nodes import ClusterNode
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.site.errands import maker_at
from airbundle.installer.site.node_each import at_each
from airbundle.installer.site.node_facts import SCRIPTS, Ways, cluster_nodes, probe_images, ways_to
from airbundle.installer.site.node_plan import changes_on
from airbundle.installer.site.node_restart import release_cordon, restart_runtime
from airbundle.installer.site.node_scripts import (
    NAME,
    Given,
    given_at,
    keep_script,
    kept_script,
    said_finding,
)
from airbundle.installer.site.node_undo import journalled
from airbundle.installer.site.step import Change, SiteRun
from airbundle.progress import Phase
from airbundle.transfer.node_access import BY_HAND, NodeAccess
from airbundle.transfer.pull_probe import PullProbe

_BELIEVED = 6.0
"""Seconds after which a runtime has read /etc/hosts anew: Go's resolver believes for five what it read just before."""


class NodesStep:
    """The step; see the module."""

    name = NAME
    needs: tuple[str, ...] = ()

    def __init__(self, run: SiteRun) -> None:
        self._run = run
        self._maker = maker_at(run.site_state, run.journal)

    def plan(self) -> Sequence[Change]:
        """Return each file of each node that would be written, changed or taken away, and each restart.

        By pods, looking takes a pod on each node, which is deleted at once.

        Raises:
            SiteError: a node can't be reached.
        """
        given, ways = given_at(self._run), self._ways()
        return [change for found in at_each(ways.nodes, lambda node: self._plan(node, ways, given)) for change in found]

    def run(self, phase: Phase) -> bool:
        """Look at every node, a few at a time, and set up in turn those that are not as they should be. See `Step.run`.

        Raises:
            SiteError: nodes that could not be set up, each with the reason; the others are.
        """
        given, ways = given_at(self._run), self._ways()
        changed, findings, by_hand = False, list[Finding](), dict[str, str]()
        handed_over = any(self._kept(node.name) == given.script for node in ways.nodes)
        seen = at_each(ways.nodes, lambda node: self._look(node, ways.access[node.name], given))
        for node, planned in zip(ways.nodes, seen):
            access = ways.access[node.name]
            with phase.item(node.name, 0):
                if planned is None:
                    by_hand.update(self._by_hand(node, access, given))
                    continue
                try:
                    if isinstance(planned, AirbundleError):
                        raise planned
                    changed |= self._set_up(node, access, given, planned)
                except AirbundleError as error:
                    findings += error.findings or [
                        Finding(error.problem, where=node.name, code="node", hint=error.hint)
                    ]
                    if isinstance(error, _RestartFailed):
                        break  # no further node is taken down
        if findings:
            raise SiteError("nodes could not be set up", findings=findings, hint="mend that, then run this again")
        if by_hand:
            changed |= self._ask([node for node in ways.nodes if node.name in by_hand], by_hand, handed_over)
        return changed

    @property
    def _rolling(self) -> bool:
        return self._run.site.site.nodes.restart != "manual"

    def _ways(self) -> Ways:
        ways = ways_to(self._run, cluster_nodes(self._run.cluster), self._maker)
        ways.check()
        return ways

    def _look(self, node: ClusterNode, access: NodeAccess, given: Given) -> NodePlan | AirbundleError | None:
        """Return what is to be done at a node, or what is wrong there, to be told in its turn; None: by a person."""
        if access.way == "manual":
            return None
        try:
            planned = self._planned(node, access, given)
            if not (planned.files or planned.restart):
                self._check(node, access, given)
        except AirbundleError as error:
            return error
        return planned

    def _planned(self, node: ClusterNode, access: NodeAccess, given: Given) -> NodePlan:
        return read_plan(node.name, access.run(node.name, given.script, "plan").text)

    def _set_up(self, node: ClusterNode, access: NodeAccess, given: Given, planned: NodePlan) -> bool:
        """Make one node what it should be; return whether anything changed.

        Args:
            node: which.
            access: the way to it.
            given: what it is told.
            planned: what is to be done; nothing where it was found to be as it should be.
        """
        changed = bool(planned.files)
        if changed:
            self._apply(node, access, given)
            planned = self._planned(node, access, given)
        self._keep(node.name, given.script)
        restarted = self._restart(node, access, given, planned)
        if self._rolling:
            release_cordon(self._run, node.name)
        if changed or planned.restart:
            self._check(node, access, given)
        return changed or restarted

    def _apply(self, node: ClusterNode, access: NodeAccess, given: Given) -> None:
        undo = [{"node": node.name, "access": journalled(access, node.name)}]
        with self._run.journal.step(f"{NAME}/{node.name}", undo=undo) as done:
            self._keep(node.name, given.script)
            answer = access.run(node.name, given.script, "apply")
            lines = written(answer.text)
            done.update(written=lines)
            for line in lines:
                self._run.reporter.event(f"{node.name}: {line}")
            if answer.code:
                findings = wrongs(node.name, answer.text) or [said_finding(node.name, answer.text, answer.code)]
                raise SiteError(f"node {node.name} could not be set up", findings=findings)

    def _restart(self, node: ClusterNode, access: NodeAccess, given: Given, planned: NodePlan) -> bool:
        if not planned.restart:
            return False
        if not self._rolling:
            for need in given.setup.needs:
                self._run.reporter.warn(f"{node.name}: {need}")
            return False
        try:
            restart_runtime(self._run, node, access, given.script)
        except AirbundleError as error:
            raise _RestartFailed(
                f"node {node.name}: its runtime could not be restarted: {error.problem}",
                hint=error.hint,
                findings=error.findings,
            ) from None
        return True

    def _check(self, node: ClusterNode, access: NodeAccess, given: Given) -> None:
        answer = access.run(node.name, given.script, "check")
        findings = wrongs(node.name, answer.text)
        if findings or answer.code:
            raise SiteError(
                f"node {node.name} is not as it should be",
                findings=findings or [said_finding(node.name, answer.text, answer.code)],
            )

    def _plan(self, node: ClusterNode, ways: Ways, given: Given) -> list[Change]:
        access = ways.access[node.name]
        if access.way == "manual":
            return self._plan_by_hand(node, given)
        return changes_on(node.name, self._planned(node, access, given), given, rolling=self._rolling)

    def _plan_by_hand(self, node: ClusterNode, given: Given) -> list[Change]:
        installed = bool(self._run.state.read().registry)
        if installed and self._kept(node.name) == given.script and not self._unpulled(node.name):
            return []
        return [Change(f"{node.name}: a person runs {SCRIPTS}/{node.name}.sh apply there", "run")]

    def _by_hand(self, node: ClusterNode, access: NodeAccess, given: Given) -> dict[str, str]:
        """Write a node's script; return what a person has to do, by the node's name."""
        undo = [{"node": node.name, "access": journalled(access, node.name)}]
        if self._kept(node.name) != given.script:
            self._run.journal.note(f"{NAME}/{node.name}", undo=undo)
        answer = access.run(node.name, given.script, "apply")
        return {node.name: answer.text} if answer.code == BY_HAND else {}

    def _ask(self, nodes: Sequence[ClusterNode], by_hand: Mapping[str, str], handed_over: bool) -> bool:
        """Have a person run the scripts that were not run yet, and look whether it was done; return whether one did.

        Args:
            nodes: whose scripts a person runs.
            by_hand: what to do, by the node's name.
            handed_over: the scripts were there before, and may have been run just now.
        """
        left = self._left(nodes, patient=handed_over)
        if not left:
            return False
        for name in left:
            self._run.reporter.event(by_hand[name])
        if self._run.ask("have the scripts been run on all these nodes?"):
            left = self._left(nodes, patient=True)
            findings = [Finding("does not pull", where=name, code="node", found=why) for name, why in left.items()]
            if not findings:
                return True
        else:
            findings = [Finding(by_hand[name], code="node", found=why) for name, why in left.items()]
        raise SiteError(
            "nodes are not set up, which a person has to do",
            findings=findings,
            hint="run the scripts on them, then run this again",
        )

    def _left(self, nodes: Sequence[ClusterNode], *, patient: bool) -> dict[str, str]:
        """Return why nodes pull no unchanged upstream name, of those that don't; `patient`: ask them a second time."""
        found = zip(nodes, at_each(nodes, lambda node: self._unpulled(node.name)))
        left = {node.name: why for node, why in found if why}
        if left and patient:
            time.sleep(_BELIEVED)
            left = self._left([node for node in nodes if node.name in left], patient=False)
        return left

    def _unpulled(self, node: str) -> str:
        """Return why a node pulls no unchanged upstream name; empty when it does."""
        probe = PullProbe(self._run.cluster, self._maker)
        for image in probe_images(self._run):
            problem = probe.problem(node, image)
            if problem:
                return f"{image}: {problem}"
        return ""

    def _keep(self, node: str, script: bytes) -> None:
        keep_script(self._run, node, script)

    def _kept(self, node: str) -> bytes | None:
        return kept_script(self._run.site_state, node)


class _RestartFailed(SiteError):
    """A runtime did not come back."""
