"""Steps that `load` and `install` have in common. Each is journalled, and does nothing where it is done already."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from airbundle.bundle.digest import sha256
from airbundle.errors import AirbundleError, Outcome
from airbundle.installer.journal import Journal
from airbundle.installer.load import DEFAULT_JOBS, LoadResult, load
from airbundle.installer.load_plan import LoadPlan, plan_load
from airbundle.installer.missing import Missing
from airbundle.installer.placed import Recorder
from airbundle.installer.sources import kept_bundles
from airbundle.installer.state import StateDirectory
from airbundle.installer.target import Target
from airbundle.installer.uploads import remembered_uploads
from airbundle.installer.verify import Trusted, write_trust
from airbundle.progress import Reporter
from airbundle.store.reader import BundleFile
from airbundle.store.union import BlobUnion

logger = logging.getLogger(__name__)


@contextmanager
def outcome(of_errors: Outcome) -> Iterator[None]:
    """Let errors of the block that don't say so themselves tell the state that the site is in."""
    try:
        yield
    except AirbundleError as error:
        error.outcome = error.outcome or of_errors
        raise


def plan_of(bundle: BundleFile, prefix: str) -> LoadPlan:
    """Return what loading a bundle into a registry means.

    Raises:
        VerificationError: a manifest is damaged, or two names of the bundle are one at the registry.
    """
    return plan_load(bundle.index, bundle.manifest, prefix=prefix)


def earlier_plans(blobs: BlobUnion, prefix: str) -> Iterator[LoadPlan]:
    """Yield how the bundles that the site keeps were loaded; one that doesn't parse any more is left out."""
    for bundle in kept_bundles(blobs):
        try:
            yield plan_of(bundle, prefix)
        except AirbundleError as error:
            logger.warning("%s: %s", bundle.path, error.problem)


def accept(trusted: Trusted, state: StateDirectory, journal: Journal, command: str) -> None:
    """Make the site's trust count from now on: the first key, the highest serial, the newest time."""
    statement, gate = trusted.statement, trusted.gate
    allowed = [name for name, given in (("older", gate.allow_older), ("expired", gate.allow_expired)) if given]
    journal.note(
        command,
        info={
            "bundle": f"{statement.name} {statement.version}",
            "serial": statement.serial,
            "statement": sha256(trusted.bundle.statement_raw),
            "signers": sorted({key_id for key_id, _ in trusted.bundle.signatures}),
            **({"allowed": allowed} if allowed else {}),
        },
    )
    write_trust(state, trusted.trust)


def load_into(
    trusted: Trusted,
    plan: LoadPlan,
    target: Target,
    journal: Journal,
    reporter: Reporter,
    *,
    state: StateDirectory,
    jobs: int = DEFAULT_JOBS,
    missing: Missing | None = None,
    registry: str = "",
) -> LoadResult:
    """Load a bundle into a registry, as `load.load`; `missing` says where is what a delta leaves out.

    What the registry lacks is journalled under the name `registry` (`places.registry_name`; by default its URL). Blobs
    that an earlier run has half sent go on where `state` remembers the upload and the registry still has it.
    """
    located = missing.located if missing else {}
    blobs = trusted.blobs
    with ExitStack() as stack:
        done = stack.enter_context(journal.step("load", registry=target.url, prefix=target.prefix))
        uploads = stack.enter_context(remembered_uploads(state.uploads))
        client = stack.enter_context(target.client(reporter, uploads))
        result = load(
            blobs,
            plan,
            client,
            target.host,
            reporter=reporter,
            jobs=jobs,
            verified=blobs.verified,
            located=located,
            recorder=Recorder(journal, registry or target.url),
        )
        done.update(asdict(result))
    return result


def check_registry(plan: LoadPlan, target: Target, reporter: Reporter) -> None:
    """Ask the registry one question that changes nothing: is it there, is it trusted, may we ask.

    Raises:
        RemoteError: it doesn't answer, or not to us.
    """
    with target.client(reporter) as client:
        client.check(target.host)
        for repository in list(plan.manifests)[:1]:  # a bundle of files has none
            client.repository(f"{target.host}/{repository}").has_manifest("airbundle-preflight")
