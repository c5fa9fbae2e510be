"""helm, run at one cluster: with an address and credentials of its own, again while the API fails, one at a time.

The lock of a release is held by the helm that is at work on it, not only by us: where airbundle is killed and helm is
not, the next run waits for it instead of working against it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from airbundle.bundle.values_file import ValuesFile
from airbundle.errors import Busy, HostError, SiteError
from airbundle.transfer.helm import OUTPUT_LIMIT, Helm, HelmHome
from airbundle.transfer.helm_release_faults import release_fault
from airbundle.transfer.helm_template import without_secrets
from airbundle.transfer.kubeconfig import ClusterAccess
from airbundle.transfer.kubeconfig_write import kubeconfig_of
from airbundle.transfer.programs import Done, TooLong, run_program
from airbundle.transfer.wire import Fault

_PAUSES = (1.0, 2.0, 5.0, 10.0)
_POLL = 0.2
_T = TypeVar("_T")


class HelmCluster:
    """Helm at one cluster.

    Args:
        helm: the program.
        home: its home; gets the credentials, in a file of mode 0600.
        access: how the cluster is reached.
        locks: a private directory for locks, which outlives this process.
        patience: seconds for which helm is run again while the cluster's API fails.
        tell: gets one line when something is waited for.
    """

    def __init__(
        self,
        helm: Helm,
        home: HelmHome,
        access: ClusterAccess,
        locks: Path,
        *,
        patience: float,
        tell: Callable[[str], None],
    ) -> None:
        self.home = home
        self.tell = tell
        self._program = helm.program.absolute()
        self._locks = locks
        self._patience = patience
        self._kubeconfig = home.write("kubeconfig", kubeconfig_of(access))

    def once(
        self,
        *words: str | Path,
        namespace: str,
        what: str,
        limit: float,
        hold: int | None = None,
        values: Sequence[ValuesFile] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run helm once.

        Args:
            words: the command and its arguments, without secrets.
            namespace: of the release.
            what: thing and operation, for errors.
            limit: seconds.
            hold: a lock that helm holds as long as it lives.
            values: their secrets are left out of what it complains of.
            environment: what it needs set besides.

        Raises:
            Fault: it failed.
            HostError: it can't be started.
        """
        where: list[str | Path] = ["--kubeconfig", self._kubeconfig, "--namespace", namespace]
        try:
            done = run_program(
                [self._program, words[0], *where, *words[1:]],
                what=what,
                env={**self.home.environment(os.environ), **(environment or {})},
                timeout=limit,
                output_limit=OUTPUT_LIMIT,
                cwd=self.home.path,
                pass_fds=() if hold is None else (hold,),
            )
        except TooLong as error:
            raise Fault(error.problem, passing=False, error=SiteError(error.problem)) from None
        if done.code:
            said = without_secrets(done.complaint.replace(str(self.home.path), "…"), values)
            raise release_fault(done, what=what, complaint=said, namespace=namespace)
        return done

    def patiently(self, attempt: Callable[[], _T]) -> _T:
        """Return what `attempt` does, made again while it fails for reasons that pass.

        Raises:
            AirbundleError: what its last fault says.
        """
        failing_since, count = 0.0, 0
        while True:
            try:
                return attempt()
            except Fault as fault:
                now = time.monotonic()
                failing_since = failing_since or now
                pause = _PAUSES[min(count, len(_PAUSES) - 1)]
                if not fault.passing or now + pause - failing_since > self._patience:
                    raise fault.error or SiteError(fault.reason, hint=fault.hint) from None
                if pause >= _PAUSES[-1]:
                    self.tell(f"helm: {fault.reason}; trying again in {pause:.0f} s")
                count += 1
                time.sleep(pause)

    @contextmanager
    def lock(self, namespace: str, name: str, wait: float) -> Iterator[int]:
        """Hold the lock of a release within the block; yields what helm is to hold, too.

        Raises:
            Busy: another helm of ours still held it after `wait` seconds.
            HostError: it can't be made.
        """
        # Names of releases may be long: together with the namespace's they must fit one file name.
        path = self._locks / f"helm-{hashlib.sha256(f'{namespace}/{name}'.encode()).hexdigest()[:32]}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(f"cannot lock: {path}: {error.strerror}") from None
        try:
            self._take(descriptor, f"the release {name}", wait)
            yield descriptor
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int, what: str, wait: float) -> None:
        end, told = time.monotonic() + wait, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Busy(
                        f"{what}: a helm that an earlier run started is still at work on it",
                        hint="wait for it, or end it (`ps -C helm`), then run again",
                    ) from None
            if not told:
                self.tell(f"{what}: an earlier run's helm is still at work on it; waiting for it")
                told = True
            time.sleep(_POLL)
