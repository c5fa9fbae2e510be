"""The whole error tree and its exit codes (design §7).

```
AirbundleError            1   a fault of airbundle itself
├── UsageError            2   wrong usage; what was given is wrong, such as a passphrase
│   └── DocumentError     2   an inventory, lock or site file that does not parse; carries all findings
├── CheckFailed           3   a check found something
├── RemoteError           4   upstream failed after retries (6 when `side` is "site")
│   ├── NotFound              the other side says that the thing does not exist
│   ├── Unauthorized          401, 403, or no usable credentials
│   ├── Refused               the other side understood and will not do it (4xx)
│   │   └── Conflict          somebody else set, changed or made what was to be changed (409)
│   └── Unreachable           no answer: names, connections, TLS, timeouts
├── MissingContent        4   pinned bytes that are gone and can't be made again
├── VerificationError     5   signature, digest, trust
│   ├── DigestMismatch
│   └── TrustError
├── SiteError             6   private registry, cluster, helm; with `outcome`
├── HostError             7
│   ├── NoSpace
│   └── NoPermission
├── Busy                  8   another run holds the lock
└── Interrupted         130   what is done is kept
```

Each error names the thing, the operation, what was found and what was expected; `hint` is the next step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Side = Literal["upstream", "site"]
Outcome = Literal["unchanged", "rolled-back", "partial"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found. All findings of a check are reported at once.

    `where` is a place a person can go to: `bundle.yaml:12 images[3].ref`, a node, an image.
    """

    message: str
    where: str = ""
    code: str = ""
    found: str = ""
    expected: str = ""
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.found:
            text += f"; found {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.hint:
            text += f" ({self.hint})"
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object, without empty fields."""
        return {key: value for key, value in asdict(self).items() if value}


class AirbundleError(Exception):
    """Root of the tree. `problem` is one sentence; `hint` the next step; `findings` the list behind it.

    `outcome`, where it is set, is the state that a site was left in.
    """

    exit_code = 1
    outcome: Outcome | None = None

    def __init__(self, problem: str, *, hint: str = "", findings: Sequence[Finding] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.findings = tuple(findings)

    def to_json(self) -> dict[str, Any]:
        """Return the error as a JSON object for `--json`."""
        body: dict[str, Any] = {"type": type(self).__name__, "message": self.problem}
        if self.hint:
            body["hint"] = self.hint
        if self.findings:
            body["findings"] = [finding.to_json() for finding in self.findings]
        if self.outcome:
            body["outcome"] = self.outcome
        return body


class UsageError(AirbundleError):
    """The command line asks for something that can't be meant."""

    exit_code = 2


class DocumentError(UsageError):
    """A document people write (inventory, site file, registries.yaml) or a lock does not parse."""


class CheckFailed(AirbundleError):
    """A check ran and found something. `body` is what it has to tell besides, for `--json`."""

    exit_code = 3

    def __init__(
        self,
        problem: str,
        *,
        hint: str = "",
        findings: Sequence[Finding] = (),
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(problem, hint=hint, findings=findings)
        self.body: Mapping[str, Any] = body or {}


class RemoteError(AirbundleError):
    """A registry, chart repository, mirror or engine failed. `side` says whose: it decides the exit code."""

    def __init__(
        self,
        problem: str,
        *,
        side: Side = "upstream",
        status: int | None = None,
        hint: str = "",
        findings: Sequence[Finding] = (),
    ) -> None:
        super().__init__(problem, hint=hint, findings=findings)
        self.side = side
        self.status = status
        self.exit_code = 4 if side == "upstream" else 6


class NotFound(RemoteError):
    """The other side says that the thing does not exist."""


class Unauthorized(RemoteError):
    """The other side wants credentials, or refuses those it got."""

    @property
    def forbidden(self) -> bool:
        """Whether it is known who asks, and may not (403)."""
        return self.status == 403


class Refused(RemoteError):
    """The other side understood the request and will not do it."""


class Conflict(Refused):
    """Somebody else sets a field of the object, changed it since it was read, or made it before.

    `fields` is pairs of who and which field, such as `("kubectl-edit", ".spec.replicas")`; empty where none are told.
    """

    def __init__(
        self,
        problem: str,
        *,
        side: Side = "site",
        status: int | None = 409,
        hint: str = "",
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(problem, side=side, status=status, hint=hint)
        self.fields = tuple(fields)


class Unreachable(RemoteError):
    """No answer: name, connection, TLS, timeout; after retries."""


class MissingContent(AirbundleError):
    """Pinned bytes are gone and can't be made again."""

    exit_code = 4


class VerificationError(AirbundleError):
    """Content is not what a signature or a digest says."""

    exit_code = 5


class DigestMismatch(VerificationError):
    """Bytes do not have the digest or size they must have."""


class TrustError(VerificationError):
    """Unsigned, signed by another key, expired, or older than what the site has seen."""


class SiteError(AirbundleError):
    """The private registry, the cluster or helm failed. `outcome` says what state the site is in."""

    exit_code = 6

    def __init__(
        self, problem: str, *, outcome: Outcome = "partial", hint: str = "", findings: Sequence[Finding] = ()
    ) -> None:
        super().__init__(problem, hint=hint, findings=findings)
        self.outcome = outcome


class HostError(AirbundleError):
    """This host lacks something."""

    exit_code = 7


class NoSpace(HostError):
    """A file system is full, or would be."""


class NoPermission(HostError):
    """A file or an operation is not allowed to this user."""


class Busy(AirbundleError):
    """Another run holds the lock."""

    exit_code = 8


class Interrupted(AirbundleError):
    """Stopped by a signal; what is done is kept."""

    exit_code = 130

    def __init__(
        self,
        problem: str = "interrupted; what is done is kept, run the same command again",
        *,
        signal: int = 2,
    ) -> None:
        super().__init__(problem)
        self.exit_code = 128 + signal
