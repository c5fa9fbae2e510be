"""Load a bundle into a registry: blobs, then manifests, then tags; only what isn't there (design §3, §5).

No manifest and no tag appears before every blob has verified: those that are sent while they are sent, those that go
elsewhere by reading them. A blob that the registry has under its digest is not read: the registry's own bytes count.

Nothing is remembered between runs that the registry can't be asked, but where an upload that was cut off is to go on
(`uploads`): a run that was cut off goes on where it was, and a run with nothing to do sends HEADs, and one GET for the
list of referrers of each signed image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from airbundle.errors import AirbundleError
from airbundle.installer.load_blobs import BlobStage
from airbundle.installer.load_manifests import ManifestStage
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.load_run import LoadResult, LoadRun, Source
from airbundle.installer.placed import Recorder
from airbundle.progress import Reporter
from airbundle.transfer.registry import RegistryClient

__all__ = ["DEFAULT_JOBS", "LoadResult", "Source", "load"]

DEFAULT_JOBS = 4


def load(
    source: Source,
    plan: LoadPlan,
    client: RegistryClient,
    host: str,
    *,
    reporter: Reporter,
    jobs: int = DEFAULT_JOBS,
    verified: Collection[str] = (),
    located: Mapping[str, str] | None = None,
    recorder: Recorder | None = None,
) -> LoadResult:
    """Load what `plan` says.

    Args:
        source: the bundle.
        plan: of that bundle.
        client: of side "site"; closed when loading fails.
        host: `host[:port]` of the registry.
        reporter: gets progress, and a warning for each index that the registry refuses.
        jobs: connections that send large blobs at once; small requests use several times as many.
        verified: digests of blobs that this run has read and verified already.
        located: repositories of the registry that have blobs which the source lacks, by digest.
        recorder: is told the manifests and tags that the registry lacks, before they are pushed.

    Raises:
        VerificationError: a blob of the bundle is damaged; no manifest or tag was sent.
        RemoteError, SiteError: the registry failed, or refused; `outcome` says whether it is as before.
    """
    run = LoadRun(source, plan, client, host, reporter=reporter, jobs=jobs, recorder=recorder)
    try:
        BlobStage(run, located or {}).load(set(verified))
        stage = ManifestStage(run)
        stage.manifests()
        stage.tags()
    except AirbundleError as error:
        error.outcome = "partial" if run.result.changed else "unchanged"
        raise
    return run.result
