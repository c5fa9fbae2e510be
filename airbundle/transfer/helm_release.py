"""Releases in a cluster, by helm: upgraded, rolled back, tested, taken away; and what helm knows of them.

Values go into files of mode 0600; `--wait` is never given: waiting is ours (docs/decisions/0041). Before a release is
changed, what a killed helm left of it is put right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from airbundle.bundle.values_file import ValuesFile
from airbundle.deploy.helm_history import Revision, parse_history, recovery_of
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import Conflict, NotFound, Refused, RemoteError
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.helm_cluster import HelmCluster
from airbundle.transfer.kubeconfig import ClusterAccess

PATIENCE = 300.0
"""Seconds for which helm is run again while the cluster's API fails."""
HOOK_TIMEOUT = 300.0
"""Seconds that a hook may take, unless the release says otherwise."""
HISTORY = 10
"""Revisions that helm keeps of a release."""
_READ_LIMIT = 60.0
_MARGIN = 120.0  # seconds that helm needs besides waiting for hooks
_HOOKS = 4  # helm waits for each kind of hooks anew


class Deletes(Protocol):
    """Deletes objects of the cluster."""

    def delete(self, key: ObjectKey) -> bool:
        """Delete one; return whether it was there."""
        ...


@dataclass(frozen=True)
class HelmRelease:
    """A chart with its values, to be deployed.

    Attributes:
        name, namespace: of the release.
        chart: the chart's own name.
        archive: the chart, packed.
        values: in order, later ones win.
        post_renderer: command that helm gives the render to; empty for none.
        environment: what that command needs set.
        timeout: seconds that each hook may take.
    """

    name: str
    namespace: str
    chart: str
    archive: bytes = field(repr=False)
    values: Sequence[ValuesFile] = field(default=(), repr=False)
    post_renderer: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = HOOK_TIMEOUT

    def arguments(self, directory: Path) -> list[str | Path]:
        """Write chart and values into a private directory; return the arguments after `upgrade`."""
        chart = directory / "chart.tgz"
        chart.write_bytes(self.archive)
        arguments: list[str | Path] = ["--install", "--skip-crds", "--reset-values", f"--history-max={HISTORY}"]
        arguments.append(f"--timeout={self.timeout:.0f}s")
        for number, file in enumerate(self.values):
            path = directory / f"values-{number}.yaml"
            path.touch(mode=0o600)
            path.write_text(file.text, encoding="utf-8")
            arguments += ["--values", path]
        if self.post_renderer:
            program, *rest = self.post_renderer
            arguments += [f"--post-renderer={program}", *(f"--post-renderer-args={word}" for word in rest)]
        return [*arguments, "--", self.name, chart]


class HelmReleases:
    """The releases of one cluster. Several may be worked on at the same time, from several threads.

    Args:
        helm: the program.
        home: its home; gets the credentials.
        access: how the cluster is reached.
        cluster: deletes what a killed helm left of its own records.
        locks: a private directory for locks, which outlives this process.
        patience: seconds for which helm is run again while the cluster's API fails.
        tell: gets one line when something is waited for.
    """

    def __init__(
        self,
        helm: Helm,
        home: HelmHome,
        access: ClusterAccess,
        cluster: Deletes,
        locks: Path,
        *,
        patience: float = PATIENCE,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._at = HelmCluster(helm, home, access, locks, patience=patience, tell=tell)
        self._cluster = cluster

    def history(self, namespace: str, name: str) -> list[Revision]:
        """Return what helm knows of a release, oldest first; nothing where there is none.

        Raises:
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        what = f"history of the release {name}"
        try:
            raw = self._read("history", "--output=json", "--max=256", "--", name, namespace=namespace, what=what)
        except NotFound:
            return []
        return parse_history(raw, what=what)

    def manifest(self, namespace: str, name: str, revision: int) -> bytes:
        """Return what a revision consists of, as it was applied; without hooks.

        Raises:
            NotFound: there is no such revision.
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        what = f"manifest of the release {name}, revision {revision}"
        return self._read("get", "manifest", f"--revision={revision}", "--", name, namespace=namespace, what=what)

    def wait(self, namespace: str, name: str, *, timeout: float = HOOK_TIMEOUT) -> None:
        """Wait until no helm that an earlier run of ours started is at work on a release any more.

        Raises:
            Busy: one still is, after as long as helm may take.
        """
        with self._at.lock(namespace, name, _limit(timeout)):
            pass

    def upgrade(self, release: HelmRelease, *, ours: bool) -> Revision:
        """Deploy a release, new or over what is there; return its revision. Definitions in `crds/` are left out.

        Args:
            release: what to deploy.
            ours: whether airbundle is known to have begun with this release before: only then what a killed helm left
                is put right.

        Raises:
            Conflict: the release is another chart's.
            Refused: another helm is at work on it; an object is another release's.
            SiteError: a hook failed, or took too long.
            Unauthorized, Unreachable, RemoteError: no good answer.
        """

        def attempt(hold: int) -> None:
            history = self.history(release.namespace, release.name)
            check_owner(release.namespace, release.name, release.chart, history)
            self._recover(release.namespace, release.name, history, ours, hold)
            with TemporaryDirectory(dir=self._at.home.path) as directory:
                self._at.once(
                    "upgrade",
                    *release.arguments(Path(directory)),
                    namespace=release.namespace,
                    what=f"deploy the release {release.name}",
                    limit=_limit(release.timeout),
                    hold=hold,
                    values=release.values,
                    environment=release.environment,
                )

        return self._changed(release.namespace, release.name, release.timeout, attempt)

    def rollback(self, namespace: str, name: str, revision: int, *, timeout: float = HOOK_TIMEOUT) -> Revision:
        """Make an earlier revision the newest again; return what it is now.

        Raises:
            NotFound: there is no such revision.
            SiteError: a hook failed, or took too long.
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        what = f"roll the release {name} back to revision {revision}"
        words = (f"--timeout={timeout:.0f}s", f"--history-max={HISTORY}", "--", name, str(revision))

        def attempt(hold: int) -> None:
            self._recover(namespace, name, self.history(namespace, name), True, hold)
            self._at.once("rollback", *words, namespace=namespace, what=what, limit=_limit(timeout), hold=hold)

        return self._changed(namespace, name, timeout, attempt)

    def uninstall(self, namespace: str, name: str, *, timeout: float = HOOK_TIMEOUT) -> bool:
        """Take a release away, with its history; return whether it was there.

        Raises:
            SiteError: a hook failed, or took too long.
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        with self._at.lock(namespace, name, _limit(timeout)) as hold:
            if not self.history(namespace, name):
                return False
            self._at.patiently(lambda: self._uninstall(namespace, name, timeout, hold))
        return True

    def test(self, namespace: str, name: str, *, timeout: float = HOOK_TIMEOUT) -> None:
        """Run a release's tests (`helm test`).

        Raises:
            SiteError: one failed, or took too long.
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        words = ("test", f"--timeout={timeout:.0f}s", "--", name)
        what, limit = f"test the release {name}", _limit(timeout)
        with self._at.lock(namespace, name, limit) as hold:
            self._at.patiently(lambda: self._at.once(*words, namespace=namespace, what=what, limit=limit, hold=hold))

    def _changed(self, namespace: str, name: str, timeout: float, attempt: Callable[[int], None]) -> Revision:
        with self._at.lock(namespace, name, _limit(timeout)) as hold:
            self._at.patiently(lambda: attempt(hold))
            history = self.history(namespace, name)
        if not history:
            raise RemoteError(f"the release {name}: helm does not know it after deploying it", side="site")
        return history[-1]

    def _recover(self, namespace: str, name: str, history: Sequence[Revision], ours: bool, hold: int) -> None:
        """Put right what a killed or failed helm left of a release."""
        if not ours:
            if history and history[-1].pending:
                raise Refused(
                    f"the release {name} in {namespace} is {history[-1].status}, and airbundle did not begin that",
                    side="site",
                    hint="another helm is at work on it, or was killed: `helm rollback` or `helm uninstall` ends that",
                )
            return
        recovery = recovery_of(history)
        if recovery.uninstall:
            self._uninstall(namespace, name, HOOK_TIMEOUT, hold)
        for number in recovery.drop:
            self._at.tell(f"release {name}: its revision {number} was left half-way; going on from there")
            self._cluster.delete(ObjectKey("v1", "Secret", namespace, f"sh.helm.release.v1.{name}.v{number}"))

    def _uninstall(self, namespace: str, name: str, timeout: float, hold: int) -> None:
        words = ("--ignore-not-found", f"--timeout={timeout:.0f}s", "--", name)
        what = f"take the release {name} away"
        self._at.once("uninstall", *words, namespace=namespace, what=what, limit=_limit(timeout), hold=hold)

    def _read(self, *words: str, namespace: str, what: str) -> bytes:
        done = self._at.patiently(lambda: self._at.once(*words, namespace=namespace, what=what, limit=_READ_LIMIT))
        return done.output


def check_owner(namespace: str, name: str, chart: str, history: Sequence[Revision]) -> None:
    """Refuse to go over a release of the same name that is of another chart.

    Raises:
        Conflict: it is.
    """
    found = history[-1] if history else None
    if found and found.status != "uninstalled" and found.chart_name != chart:
        raise Conflict(
            f"the release {name} in {namespace} is of the chart {found.chart}, not of {chart}",
            hint="choose another namespace for it in the site file (`releases`), or `helm uninstall` what is there",
        )


def _limit(timeout: float) -> float:
    return timeout * _HOOKS + _MARGIN
