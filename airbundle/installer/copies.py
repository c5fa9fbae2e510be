"""Two steps of an install: the site's own copy of the bundle, and the supplement of a delta's copy."""

from __future__ import annotations

from contextlib import ExitStack

from airbundle.bundle.serving import Fingerprint
from airbundle.installer.copy import Copy, copy_bundle, copy_name
from airbundle.installer.filler import PARTIAL, Source
from airbundle.installer.journal import Journal
from airbundle.installer.missing import FromRegistry, Missing
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.supplement import make_supplement, supplement_name
from airbundle.installer.target import Target
from airbundle.installer.verify import Trusted
from airbundle.progress import Reporter


class Copies:
    """What lies in `bundles/` of one bundle. The state's lock is held."""

    def __init__(
        self, trusted: Trusted, state: StateDirectory, journal: Journal, reporter: Reporter, *, whole: bool
    ) -> None:
        """Name bundle and place.

        Args:
            trusted: the bundle, with the files that may have what it leaves out.
            state: of the site.
            journal: is told the steps, and tells those of earlier runs.
            reporter: gets progress.
            whole: whether the copy has all blobs (`copy.wanted_blobs`).
        """
        self._trusted = trusted
        self._state = state
        self._journal = journal
        self._reporter = reporter
        self._whole = whole
        self._name = copy_name(trusted.bundle, whole=whole)
        self._supplement_name = supplement_name(trusted.bundle, whole=whole)

    def copy(self) -> Copy:
        """Make the site's own copy.

        Raises:
            VerificationError, NoSpace, HostError: as `copy_bundle`.
        """
        self._clear()
        directory, known = self._state.directory("bundles"), self._known("copy", self._name)
        with self._journal.step("copy", file=self._name) as done:
            copy = copy_bundle(
                self._trusted.bundle, directory, whole=self._whole, verified=known, reporter=self._reporter
            )
            done.update(file=self._name, verified=list(copy.verified))
        return copy

    def supplement(self, missing: Missing, registry: Target) -> Copy | None:
        """Keep what a delta leaves out and no copy of another bundle has; None where nothing is wanted.

        Args:
            missing: says what, and where it is.
            registry: has what no file here has.

        Raises:
            VerificationError, NoSpace, HostError: as `make_supplement`.
            RemoteError: the registry fails.
        """
        if not missing.supplement:
            return None
        self._clear()
        target = self._state.directory("bundles") / self._supplement_name
        known = self._known("supplement", target.name)
        with ExitStack() as undo, self._journal.step("supplement", file=target.name) as done:
            source: Source = self._trusted.blobs
            if missing.located:
                client = undo.enter_context(registry.client(self._reporter))
                source = FromRegistry(self._trusted.blobs, client, registry.host, missing.located)
            copy = make_supplement(source, missing.supplement, target, verified=known, reporter=self._reporter)
            done.update(file=target.name, verified=list(copy.verified))
        return copy

    def forget_supplement(self, installed: Installed) -> None:
        """Take away this bundle's supplement where it is no longer served: other copies have now what it has."""
        known = {each.supplement for each in installed.bundles}
        for whole in (True, False):
            name = supplement_name(self._trusted.bundle, whole=whole)
            if name not in known:
                (self._state.bundles / name).unlink(missing_ok=True)

    def _clear(self) -> None:
        """Take away what runs with other bundles left half-written."""
        kept = {name + PARTIAL for name in (self._name, self._supplement_name)}
        for path in self._state.directory("bundles").glob(f"*{PARTIAL}"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _known(self, step: str, name: str) -> Fingerprint | None:
        """Return the fingerprint of a copy that an earlier run verified, though it may not have come to its end."""
        for entry in reversed(self._journal.read()):
            if (entry.step, entry.event, entry.info.get("file")) == (step, "done", name):
                numbers = entry.info.get("verified")
                if isinstance(numbers, list) and [type(number) for number in numbers] == [int] * 4:
                    return numbers[0], numbers[1], numbers[2], numbers[3]
        return None
