"""`airbundle load`: verify a bundle and load it into a registry, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from airbundle.bundle.index import CHART, IMAGE
from airbundle.bundle.statement import Statement
from airbundle.installer.journal import Journal
from airbundle.installer.load import DEFAULT_JOBS, LoadResult
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.missing import Missing, Wanted, find_missing
from airbundle.installer.state import StateDirectory
from airbundle.installer.steps import accept, check_registry, earlier_plans, load_into, outcome, plan_of
from airbundle.installer.target import Target
from airbundle.installer.verify import Gate, Trusted, open_trusted, read_trust
from airbundle.progress import Reporter
from airbundle.store.delta import refuse_lacking


@dataclass(frozen=True)
class Loaded:
    """What was loaded, and where to."""

    statement: Statement
    target: Target
    plan: LoadPlan
    result: LoadResult

    @property
    def images(self) -> int:
        """How many images the registry has of this bundle."""
        return self.plan.count(IMAGE)

    @property
    def charts(self) -> int:
        """How many charts."""
        return self.plan.count(CHART)


def load_bundle(
    paths: Sequence[Path],
    target: Target,
    state: StateDirectory,
    gate: Gate,
    reporter: Reporter,
    *,
    jobs: int = DEFAULT_JOBS,
    bases: Sequence[Path] = (),
) -> Loaded:
    """Verify, then load.

    Args:
        paths: the bundle, or its volumes, or directories with them.
        target: the registry.
        state: whose trust counts, and whose journal is written.
        gate: keys and allowances.
        reporter: gets progress.
        jobs: connections at once.
        bases: bundles that have what a delta leaves out.

    Raises:
        CheckFailed: something that a delta leaves out is neither in a file here nor in the registry; lists it.
        VerificationError, UsageError, RemoteError, SiteError, HostError, Busy: each says what; before the first change
            the outcome is `unchanged`.
    """
    with outcome("unchanged"):
        state.check_free()
        with open_trusted(paths, state, gate, bases) as trusted:
            plan = plan_of(trusted.bundle, target.prefix)
            check_registry(plan, target, reporter)
            missing = _missing(trusted, plan, target, reporter, jobs)
            with state.locked(f"airbundle load {trusted.bundle.path.name}"), outcome("partial"):
                journal = Journal(state.journal)
                if read_trust(state) is None:
                    reporter.event(_trusts(trusted, state))
                accept(trusted, state, journal, "load")
                result = load_into(trusted, plan, target, journal, reporter, state=state, jobs=jobs, missing=missing)
            return Loaded(trusted.statement, target, plan, result)


def _missing(trusted: Trusted, plan: LoadPlan, target: Target, reporter: Reporter, jobs: int) -> Missing:
    """Look for what a delta leaves out.

    Raises:
        CheckFailed: something is nowhere.
    """
    wanted = Wanted(registry=True, target=target)
    earlier = partial(earlier_plans, trusted.blobs, target.prefix)
    missing = find_missing(trusted.blobs, plan, wanted, earlier=earlier, reporter=reporter, jobs=jobs)
    refuse_lacking(trusted.bundle, missing.lacking, trusted.blobs.damaged, trusted.blobs.known)
    return missing


def _trusts(trusted: Trusted, state: StateDirectory) -> str:
    """Say what the first key means beyond this load: nobody would look for it in a directory that nobody named."""
    return (
        f"{state.trust} trusts {', '.join(sorted(trusted.trust.keys))} from now on: every later load and install that "
        "uses this directory refuses other keys, and bundles older than this one (--state-dir names another directory, "
        "`airbundle trust` changes the keys)"
    )
