"""What helm complains of while it deploys, as faults: its words tell whether another attempt may go better."""

from __future__ import annotations

import re

from airbundle.errors import Conflict, NotFound, RemoteError, SiteError, Unauthorized, Unreachable
from airbundle.transfer.helm_faults import account
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import Done
from airbundle.transfer.wire import Fault

_WORDS = 1500
_GONE = re.compile(r"release: not found|has no revisions|no revision for release")
_FOREIGN = re.compile(r"invalid ownership metadata|exists and cannot be imported")
_BUSY = re.compile(r"another operation \(\S+\) is in progress")
_HOOK = re.compile(r"hooks? failed|failed (?:pre|post)-\w+|timed out waiting for the condition|BackoffLimitExceeded")
_DENIED = re.compile(r"is forbidden|unauthorized|the server has asked for the client to provide credentials", re.I)
_UNKNOWN = re.compile(r"no matches for kind|ensure CRDs are installed first")
_INVALID = re.compile(r"is invalid: |field is immutable|unknown field|strict decoding|denied the request|cannot patch")
_SILENT = re.compile(
    r"connection refused|connection reset|i/o timeout|unexpected EOF|: EOF|no route to host|broken pipe"
    r"|network is unreachable|context deadline exceeded|http2: |TLS handshake timeout|etcdserver: "
    r"|apiserver is shutting down|too many requests|the server is currently unable|Internal error occurred"
    r"|connection lost|cluster unreachable|request timed out",
    re.IGNORECASE,
)


def release_fault(done: Done, *, what: str, complaint: str, namespace: str) -> Fault:
    """Translate what helm complained of.

    Args:
        done: helm's end.
        what: thing and operation.
        complaint: what it said, without secrets.
        namespace: of the release.
    """
    words = clean(account(complaint), _WORDS) or done.ending
    problem = f"{what}: helm says: {words}"
    if _GONE.search(complaint):
        return Fault(words, passing=False, error=NotFound(problem, side="site"))
    if _FOREIGN.search(complaint):
        hint = "delete that object, or give it to the release with helm's ownership metadata; it is not taken over"
        return Fault(words, passing=False, error=Conflict(problem, side="site", hint=hint))
    if _BUSY.search(complaint):
        hint = "another helm is at work on the release; wait for it, then run again"
        return Fault(words, passing=True, error=SiteError(problem, hint=hint))
    if _HOOK.search(complaint):
        hint = f"look at the hook's job and its log: `kubectl -n {namespace} get jobs,pods`, then run again"
        return Fault(words, passing=False, error=SiteError(problem, hint=hint))
    if _SILENT.search(complaint):
        hint = "check that the cluster's API answers, then run again"
        return Fault(words, passing=True, contact=False, error=Unreachable(problem, side="site", hint=hint))
    if _DENIED.search(complaint):
        hint = "ask for a role that may do that"
        return Fault(words, passing=False, error=Unauthorized(problem, side="site", hint=hint))
    hint = ""
    if _UNKNOWN.search(complaint):
        hint = "the cluster lacks a kind that the chart uses: install what brings it first (`needs`)"
    elif _INVALID.search(complaint):
        hint = "the cluster refuses what the chart makes of the values"
    return Fault(words, passing=False, error=RemoteError(problem, side="site", hint=hint))
