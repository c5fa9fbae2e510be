"""`airbundle prune`: let go of earlier versions, and of what only they had in the registry.

The server lets go of them first, then the registry; then state.json, and the files last. What the registry has that is
airbundle's and needed by nobody is told by the journal and the bundles that stay, so that a run which was cut off
anywhere goes on when the same command is run again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airbundle.errors import AirbundleError, CheckFailed, Finding
from airbundle.installer.files import sync_directory
from airbundle.installer.journal import Entry, Journal
from airbundle.installer.kept import installed_target
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.options import CONTAINER, EMBEDDED
from airbundle.installer.placed import Placed, read_placed
from airbundle.installer.places import registry_name
from airbundle.installer.program import check_not_older
from airbundle.installer.prune_plan import Held, Needed, choose_kept, lacking
from airbundle.installer.prune_registry import (
    NO_DELETES,
    Deleting,
    RegistryPlan,
    needed_by,
    plan_registry,
    tell_others,
)
from airbundle.installer.served import serve_anew
from airbundle.installer.site.history import needed_at, never_up
from airbundle.installer.site.site_state import sites_of
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.steps import outcome, plan_of
from airbundle.progress import Reporter
from airbundle.store.delta import server_blobs
from airbundle.store.host import host_errors
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.supplement import Supplement

DEFAULT_KEEP = 2
_ALL = 1_000_000


@dataclass(frozen=True)
class Version:
    """An installed bundle.

    Attributes:
        bundle: as state.json has it.
        kept: whether it stays.
        why: it stays though it is not among the newest; else empty.
        size: bytes that its copy and supplement take on the disk.
        failed: whether it never came up at any site that it was tried at; it is none of the newest then.
    """

    bundle: InstalledBundle
    kept: bool
    why: str
    size: int
    failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        each = self.bundle
        names = {"name": each.name, "version": each.version, "serial": each.serial, "statement": each.statement}
        told = {**({"why": self.why} if self.why else {}), "failed": self.failed}
        return {**names, "kept": self.kept, **told, "size": self.size}


@dataclass
class Pruning:
    """What goes and what stays; after the run, what went.

    Attributes:
        installed: what stays installed.
        versions: all, newest first.
        files: names in `bundles/` that go.
        dropped: digests of the statements of those that go, also of a run before that was cut off.
        freed: bytes on the disk; what shares blocks with other files frees less.
        registry: None where airbundle's own server is the registry.
        unfinished: whether a run before was cut off.
    """

    installed: Installed
    versions: tuple[Version, ...] = ()
    files: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    freed: int = 0
    registry: RegistryPlan | None = None
    unfinished: bool = False

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.files or self.dropped or self.unfinished or (self.registry and self.registry.going))

    @property
    def changed(self) -> bool:
        """Whether the run changed anything."""
        return bool(self.files or self.dropped or (self.registry and self.registry.deleted))

    @property
    def warnings(self) -> list[str]:
        """What did not go as it should, one line each."""
        if self.registry is None or not self.registry.refused:
            return []
        left = max(0, len(self.registry.manifests) - self.registry.deleted)
        return [
            f"{self.registry.target.url}: {NO_DELETES} (405): {left} manifests stay there; allow it (registry:2 and 3: "
            "REGISTRY_STORAGE_DELETE_ENABLED=true) and run the same command again, or have who runs it delete them"
        ]


@dataclass
class _Copy:
    """What was read of an installed bundle; its plan for each prefix that it may have been loaded with."""

    held: Held
    plans: tuple[LoadPlan, ...] = ()
    problem: str = ""
    files: tuple[str, ...] = field(default=())


def plan_prune(state: StateDirectory, keep: int, reporter: Reporter) -> Pruning:
    """Look what would go. Changes nothing.

    Args:
        state: of the site.
        keep: how many versions of each name stay, of those that were up.
        reporter: gets warnings and long waits.

    Raises:
        Busy: another run is under way.
        DocumentError: what is kept of a site does not parse: what it needs is not known then.
        CheckFailed: a copy that stays is gone, damaged, or lacks something: nothing may go then.
        RemoteError: the registry does not tell what it has.
    """
    with outcome("unchanged"):
        state.check_free()
        return _plan(state, keep, reporter)


def prune(state: StateDirectory, keep: int, reporter: Reporter) -> Pruning:
    """Prune; see `plan_prune`.

    Raises:
        SiteError, RemoteError, HostError: a step failed; `outcome` is `partial`, the same again goes on from there.
    """
    with outcome("unchanged"):
        state.check_free()
        if not state.read().mode:
            return Pruning(Installed())
        with state.locked("airbundle prune"):
            pruning = _plan(state, keep, reporter)
            if pruning.changes:
                with outcome("partial"):
                    _run(pruning, state, keep, reporter)
            return pruning


def plan_drop(state: StateDirectory, bundle: str, reporter: Reporter) -> Pruning:
    """Look what goes with all versions of one bundle, as `plan_prune`."""
    with outcome("unchanged"):
        return _plan(state, _ALL, reporter, without=bundle)


def drop_bundle(state: StateDirectory, bundle: str, reporter: Reporter) -> Pruning:
    """Let go of all versions of one bundle, where others stay; the lock of the state is held. Raises as `prune`."""
    pruning = plan_drop(state, bundle, reporter)
    if pruning.changes:
        with outcome("partial"):
            _run(pruning, state, _ALL, reporter)
    return pruning


def dropped_lines(pruning: Pruning, *, done: bool) -> Iterator[str]:
    """Yield what of copies and registry goes with a bundle, or went; one line each."""
    titles = {each.bundle.statement: f"{each.bundle.name} {each.bundle.version}" for each in pruning.versions}
    yield from (f"copy of {titles[statement]}" for statement in pruning.dropped if statement in titles)
    registry = pruning.registry
    if registry is not None and (registry.deleted if done else registry.going):
        yield f"{registry.target.url}: {len(registry.tags)} tags and {len(registry.manifests)} manifests"


def _plan(state: StateDirectory, keep: int, reporter: Reporter, without: str = "") -> Pruning:
    installed, entries = state.read(), Journal(state.journal).read()
    check_not_older(installed.program)
    if not installed.mode:
        return Pruning(installed)
    prefixes = _prefixes(entries, installed)
    copies = [_read(state, bundle, prefixes) for bundle in installed.bundles]
    histories = {site.name: site.deployments() for site in sites_of(state)}
    failed = never_up(histories.values())
    at_sites = {what: why for name, each in histories.items() for what, why in needed_at(each, name).items()}
    kept = choose_kept([copy.held for copy in copies], keep, failed, at_sites, without)
    _check(copies, kept)
    staying = tuple(bundle for bundle in installed.bundles if bundle.statement in kept)
    files, statements, unfinished = _left_over(entries, installed)
    used = {name for bundle in staying for name in (bundle.file, bundle.supplement)}
    going = [name for copy in copies if copy.held.statement not in kept for name in copy.files]
    names = [name for name in dict.fromkeys([*going, *files]) if name not in used and (state.bundles / name).exists()]
    dropped = [copy.held.statement for copy in copies if copy.held.statement not in kept]
    pruning = Pruning(
        installed=replace(installed, bundles=staying),
        versions=tuple(_version(state, bundle, kept, failed) for bundle in installed.bundles),
        files=tuple(names),
        dropped=tuple(dict.fromkeys([*dropped, *statements])),
        freed=sum(_size(state.bundles / name, alone=True) for name in names),
        unfinished=unfinished,
    )
    if installed.mode != EMBEDDED:
        pruning.registry, placed, needed = _plan_registry(state, installed, pruning, copies, entries)
        plan_registry(pruning.registry, placed, needed, reporter)
    return pruning


def _version(state: StateDirectory, bundle: InstalledBundle, kept: dict[str, str], failed: Collection[str]) -> Version:
    size = sum(_size(state.bundles / name) for name in (bundle.file, bundle.supplement) if name)
    what = bundle.statement
    return Version(bundle, what in kept, kept.get(what, ""), size, what in failed)


def _size(path: Path, *, alone: bool = False) -> int:
    """Return the bytes that a file takes; with `alone`, of one that has no other name, and would free them."""
    if not path.is_file():
        return 0
    found = path.stat()
    return 0 if alone and found.st_nlink > 1 else found.st_blocks * 512


def _prefixes(entries: Sequence[Entry], installed: Installed) -> tuple[str, ...]:
    """Return what repositories begin with, then what they began with before; nothing for airbundle's own server."""
    if installed.mode == EMBEDDED:
        return ()
    begun = [entry.info.get("prefix", "") for entry in entries if (entry.step, entry.event) == ("load", "begin")]
    return tuple(dict.fromkeys([installed.prefix, *(prefix for prefix in begun if isinstance(prefix, str))]))


def _read(state: StateDirectory, bundle: InstalledBundle, prefixes: Iterable[str]) -> _Copy:
    """Read what a copy has; that of one which can't be read is nothing."""
    title = f"{bundle.name} {bundle.version}"
    held = Held(bundle.name, title, bundle.serial, bundle.statement)
    files = tuple(name for name in (bundle.file, bundle.supplement) if name)
    try:
        with open_bundle([state.bundles / bundle.file]) as copy:
            held = replace(held, has=_carried(copy, bundle), needs=_left_out(copy, bundle))
            plans = tuple(plan_of(copy, prefix) for prefix in prefixes)
        if bundle.supplement:
            with Supplement.open(state.bundles / bundle.supplement) as supplement:
                held = replace(held, has=held.has | frozenset(supplement.toc.blobs))
    except AirbundleError as error:
        return _Copy(held, problem=error.problem, files=files)
    return _Copy(held, plans, files=files)


def _carried(copy: BundleFile, bundle: InstalledBundle) -> frozenset[tuple[str, int]]:
    _ = copy.table  # one that is cut has nothing
    if bundle.whole:
        return frozenset(copy.toc.blobs)
    present = server_blobs(copy)
    return frozenset(blob for blob in copy.toc.blobs if blob[0] in present)


def _left_out(copy: BundleFile, bundle: InstalledBundle) -> frozenset[tuple[str, int]]:
    missing = frozenset((blob.digest, blob.size) for blob in copy.missing())
    if bundle.whole or not missing:
        return missing
    needed = server_blobs(copy)
    return frozenset(blob for blob in missing if blob[0] in needed)


def _check(copies: Sequence[_Copy], kept: dict[str, str]) -> None:
    """Refuse where a bundle that stays is not all there: what it needs, and who else has it, is not known then."""
    hint = "install the bundle again, which mends it; then prune"
    findings = [
        Finding(copy.problem, where=copy.held.title, code="copy", hint=hint)
        for copy in copies
        if copy.problem and copy.held.statement in kept
    ]
    findings += [
        Finding(f"{len(blobs)} blobs that it leaves out are in no copy", where=title, code="copy", hint=hint)
        for title, blobs in (lacking([copy.held for copy in copies], kept) if not findings else {}).items()
    ]
    if findings:
        raise CheckFailed(
            "nothing is pruned: a bundle that stays is not all there", findings=findings, hint="airbundle status"
        )


def _left_over(entries: Sequence[Entry], installed: Installed) -> tuple[list[str], list[str], bool]:
    """Return files and statements of runs that were cut off, as far as they were not installed again."""
    open_: list[Entry] = []
    for entry in entries:
        if (entry.step, entry.event) == ("prune", "begin"):
            open_.append(entry)
        elif (entry.step, entry.event) in (("prune", "done"), ("uninstall", "note")):
            open_ = []
    files = [str(name) for entry in open_ for name in entry.info.get("files", ())]
    statements = [str(each) for entry in open_ for each in entry.info.get("dropped", ())]
    there = {bundle.statement for bundle in installed.bundles}
    safe = [name for name in files if Path(name).name == name and name.endswith((".airbundle", ".supplement"))]
    return safe, [each for each in statements if each not in there], bool(open_)


def _plan_registry(
    state: StateDirectory, installed: Installed, pruning: Pruning, copies: Sequence[_Copy], entries: Sequence[Entry]
) -> tuple[RegistryPlan, Placed, dict[str, Needed]]:
    """Return an empty plan, what is airbundle's at the registry, and what bundles that stay need there."""
    url, dropped = installed.registry_here, set(pruning.dropped)
    plan = RegistryPlan(registry_name(state, installed.mode, url), installed_target(state, installed))
    needed = needed_by(each for copy in copies for each in copy.plans if copy.held.statement not in dropped)
    known = {copy.held.statement for copy in copies} | dropped
    placed = read_placed(entries, plan.name, (installed.registry, url), known)
    gone = [each for copy in copies for each in copy.plans[:1] if copy.held.statement in dropped]
    tell_others(plan, placed, gone, needed)
    return plan, placed, needed


def _run(pruning: Pruning, state: StateDirectory, keep: int, reporter: Reporter) -> None:
    journal = Journal(state.journal)
    titles = [f"{each.bundle.name} {each.bundle.version}" for each in pruning.versions if not each.kept]
    dropped, files = list(pruning.dropped), list(pruning.files)
    with journal.step("prune", keep=keep, bundles=titles, dropped=dropped, files=files) as done:
        if pruning.dropped:
            serve_anew(state, pruning.installed)
        if pruning.registry is not None and pruning.registry.going:
            Deleting(pruning.registry, journal, reporter).run()
        if pruning.dropped:
            state.write(pruning.installed)
        _unlink(state, pruning.files)
        done.update(dropped=dropped, freed=pruning.freed)
        if pruning.registry is not None:
            done.update(manifests=pruning.registry.deleted, refused=pruning.registry.refused)


def _unlink(state: StateDirectory, names: Sequence[str]) -> None:
    for name in names:
        path = state.bundles / name
        with host_errors("take away", path):
            path.unlink(missing_ok=True)
    if names:
        sync_directory(state.bundles)


def collecting(state: StateDirectory, installed: Installed) -> Iterator[str]:
    """Yield how the registry gives back the space of what was deleted."""
    if installed.mode == CONTAINER:
        name = registry_name(state, CONTAINER, "").rpartition(" ")[2]
        yield f"docker exec {name} registry garbage-collect /airbundle/config.yml   # frees the space; nobody may push"
    else:
        yield f"{installed.registry}: its garbage collection frees the space (registry:2: `registry garbage-collect`)"
