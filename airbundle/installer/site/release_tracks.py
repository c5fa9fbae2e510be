"""What attempts at a release may have made, written down before they begin: no kill and no failure leaves strays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from airbundle.errors import AirbundleError
from airbundle.installer.files import PRIVATE_FILE, read_file, write_file
from airbundle.installer.site.rollback_plan import FROM
from airbundle.installer.site.site_state import SiteState

_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Track:
    """What is known of the attempts at a release.

    Attributes:
        objects: `ObjectKey` texts of all that may be there.
        inputs, revision: of the newest attempt that helm, or the API, took in whole; empty and 0 before there is one.
        trying, base: inputs of the newest attempt, and helm's last revision before it: the next one is of that attempt,
            also where a kill kept us from seeing it end.
        begun: whether airbundle ever began with it: what a killed helm left of it is ours.
        saved: whether what is run `before` a change ended well for what was up before these attempts: what it kept is
            of that time, and would be of no time if it were run again.
        restoring: whether it was begun to go back to what was up before, and what is to be restored then is not yet.
        lasting: marks of what was other than it was applied when all of it was up (`release_lasting`).
        declined: `ObjectKey` texts of what somebody else sets, and nobody agreed to put back.
        left, serial: name of the bundle that was gone back from then, and its serial: nothing older can have its data.
    """

    objects: frozenset[str] = frozenset()
    inputs: str = ""
    revision: int = 0
    trying: str = ""
    base: int = 0
    begun: bool = False
    saved: bool = False
    restoring: bool = False
    lasting: frozenset[str] = frozenset()
    declined: frozenset[str] = frozenset()
    left: str = ""
    serial: int = 0

    @property
    def tried(self) -> str:
        """Inputs of the newest attempt; empty where there was none since it was up last."""
        return self.trying or self.inputs

    def takes(self, bundle: str, serial: int) -> bool:
        """Tell whether a bundle can have the data as they are: those that are yet to be restored are of a newer one."""
        return not self.restoring or (self.left == bundle and self.serial <= serial)

    def took(self, inputs: str, revision: int) -> bool:
        """Tell whether an attempt with these inputs gave this revision."""
        return (self.inputs, self.revision) == (inputs, revision) or (self.trying, self.base + 1) == (inputs, revision)


class Tracks:
    """The track of one release of a site."""

    def __init__(self, state: SiteState, release: str) -> None:
        self._path = state.root / "releases" / f"{release}.json"
        self._state = state

    def read(self) -> Track:
        """Return it; one that does not parse is as none.

        What is there is looked at again then. That data were backed up, or are yet to be restored, is lost with it.
        """
        raw = read_file(self._path, limit=_LIMIT)
        try:
            body = json.loads(raw or b"{}")
            return Track(
                objects=frozenset(map(str, body.get("objects", ()))),
                inputs=str(body.get("inputs", "")),
                revision=int(body.get("revision", 0)),
                trying=str(body.get("trying", "")),
                base=int(body.get("base", 0)),
                begun=bool(body.get("begun")),
                saved=bool(body.get("saved")),
                restoring=bool(body.get("restoring")),
                lasting=frozenset(map(str, body.get("lasting", ()))),
                declined=frozenset(map(str, body.get("declined", ()))),
                left=str(body.get("left", "")),
                serial=int(body.get("serial", 0)),
            )
        except (ValueError, OverflowError, TypeError, AttributeError, RecursionError, AirbundleError):
            return Track()

    def begin(self, objects: Iterable[str], inputs: str, base: int, *, saved: bool = False) -> None:
        """Say what an attempt may make, on disk before it begins; `saved`: what is run before it ended well."""
        track = self.read()
        known = track.objects.union(objects)
        begun = replace(track, objects=known, inputs="", revision=0, trying=inputs, base=base, begun=True, saved=saved)
        self._write(begun)

    def taken(self, inputs: str, revision: int) -> None:
        """Say that an attempt was taken in whole."""
        track = self.read()
        self._write(replace(track, inputs=inputs, revision=revision, trying="", base=0, begun=True))

    def restore(self) -> None:
        """Say that it goes back, and that what is to be restored then is not yet."""
        track, deployments = self.read(), self._state.deployments()
        newest = deployments[-1] if deployments else None
        number = newest.who.get(FROM) if newest else None
        newer = next((each for each in deployments if each.number == number), newest)
        left, serial = (newer.name, newer.serial) if newer else ("", 0)
        if left == track.left:
            serial = max(serial, track.serial)
        self._write(replace(track, restoring=True, left=left, serial=serial))

    def settle(
        self,
        objects: Iterable[str],
        *,
        lasting: Iterable[str] = (),
        declined: Iterable[str] = (),
        restored: bool = True,
    ) -> None:
        """Say what is there and recorded, and that nothing else of ours is.

        Args:
            objects, lasting, declined: as `Track` has them.
            restored: its data belong to it; else what was yet to be restored before still is.
        """
        track = Track(frozenset(objects), begun=True, lasting=frozenset(lasting), declined=frozenset(declined))
        if not restored:
            before = self.read()
            track = replace(track, restoring=before.restoring, left=before.left, serial=before.serial)
        self._write(track)

    def forget(self) -> None:
        """Say that nothing is there any more."""
        self._path.unlink(missing_ok=True)

    def _write(self, track: Track) -> None:
        directory: Path = self._state.directory("releases")
        body = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(track).items()}
        write_file(directory / self._path.name, (json.dumps(body) + "\n").encode(), PRIVATE_FILE)
