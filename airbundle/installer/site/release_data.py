"""What becomes of the data of releases that go back: which backup is restored, by whom, and what is doubtful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from airbundle.installer.journal import Entry, Journal
from airbundle.installer.site.backups import Backup, backups_of, choose, first_of, since
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.release_back import Restores
from airbundle.installer.site.release_tracks import Track, Tracks
from airbundle.installer.site.rollback_moves import ReleaseMove


class DataBack:
    """Says of each release that goes back what is restored, and does it.

    The right backup is the one that was made when what is gone back to was left. The version that made it knows how to
    restore it: its `restore:` is run; where the copy of that version is gone, or it has none, the newer one's.
    """

    def __init__(
        self,
        newer: Restores,
        journal: Journal,
        then: Deployment | None,
        deployments: Sequence[Deployment] = (),
        made_by: Callable[[Backup], Restores] = lambda _backup: Restores(),
    ) -> None:
        """Change nothing, and read nothing yet.

        Args:
            newer: of what is up.
            journal: of the site.
            then: what is gone back to; None where that is no deployment of this bundle.
            deployments: of the bundle, oldest first.
            made_by: gives what restores of the version that made a backup.
        """
        self._newer = newer
        self._journal = journal
        self._then = then
        self._deployments = deployments
        self._made_by = made_by
        self._entries: list[Entry] | None = None
        self._by: dict[str, Restores] = {}

    def of(self, move: ReleaseMove) -> ReleaseMove:
        """Return a move with what is restored.

        Raises:
            DocumentError: the journal does not parse.
            CheckFailed, HostError: the manifests that restore can't be read.
        """
        if move.move != "back" or move.then is None or self._then is None:
            return replace(move, restores=self._newer.names(move))
        if self._only_put_back(move.name, move.then):
            return move
        if self._entries is None:
            self._entries = self._journal.read()
        made = backups_of(self._entries, move.name)
        later = since(made, self._then)
        newer = self._newer.release(move.name)
        if not later and not (made and newer and newer.before):
            return self._unknown(move)
        if not later:
            return move  # what is up was gone back to itself, and nothing was backed up on that way
        by = self._who(first_of(later), move)
        choice = choose(later, self._then, move.then, apart=by.keeps_apart(move))
        if choice.backup is not None and choice.backup != first_of(later):
            by = self._who(choice.backup, move)
        names = by.names(move)
        self._by[move.name] = by
        return replace(move, restores=names, backup=choice.backup, warning=choice.warning) if names else move

    def _only_put_back(self, name: str, then: DeployedRelease) -> bool:
        """Tell whether what was tried is what was up, put back: no other version had its data, nothing was saved."""
        run = self._newer.run_of
        track = Tracks(run.site_state, name).read() if run else Track()
        return track.tried == then.inputs and not (track.saved or track.restoring)

    def _who(self, backup: Backup, move: ReleaseMove) -> Restores:
        """Return the version that made a backup, if it is here and restores; else the newer one."""
        maker = self._made_by(backup)
        return maker if maker.names(move) else self._newer

    def _unknown(self, move: ReleaseMove) -> ReleaseMove:
        """Return a move of a release of which no backup was ever written down, as by earlier versions of airbundle."""
        names, release = self._newer.names(move), self._newer.release(move.name)
        number = self._then.number if self._then else 0
        found = (each.release(move.name) for each in self._deployments if each.number > number)
        several = len({each.inputs for each in found if each}) > 1
        doubtful = bool(names and release and release.before and several)
        warning = "which backup that is was not written down: there are versions between" if doubtful else ""
        return replace(move, restores=names, warning=warning)

    def run(self, move: ReleaseMove) -> None:
        """Restore; as `Restores.run`."""
        self._by.get(move.name, self._newer).run(move)
