"""What helm complains of, as faults: helm has one exit code for everything, so its words must tell."""

from __future__ import annotations

import re

from airbundle.errors import NotFound, RemoteError, Side, Unauthorized, Unreachable, UsageError
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import Done
from airbundle.transfer.wire import Fault

_USERINFO = re.compile(r"//[^/@\s\"']+@")
_STATUS = re.compile(
    r"(?:failed to fetch \S+ ?:|unexpected status code|response status code|status from \S+ request to \S+:) (\d{3})"
)
_MISSING = re.compile(
    r"no chart (?:name|version) found|not found in \S+ (?:index|repository)|: not found|no versions found"
)
_DENIED = re.compile(r"unauthorized|denied|no basic auth credentials|forbidden", re.IGNORECASE)
_UNTRUSTED = re.compile(r"x509: |certificate|tls: failed to verify", re.IGNORECASE)
_PLAIN = re.compile(r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake")
_SILENT = re.compile(
    r"connection refused|connection reset|i/o timeout|timeout|unexpected EOF|: EOF|no route to host|broken pipe"
    r"|network is unreachable|context deadline exceeded|server misbehaving|http2: ",
    re.IGNORECASE,
)
_UNKNOWN_HOST = re.compile(r"no such host")
_RANGE = re.compile(r"improper constraint")


def helm_fault(done: Done, *, what: str, side: Side) -> Fault:
    """Translate what helm complained of.

    Args:
        done: helm's end; what it printed counts, too (`repo update` says there what failed).
        what: thing and operation.
        side: whose servers it talked to.
    """
    text = _USERINFO.sub("//", done.complaint + "\n" + done.output[-4096:].decode("utf-8", "replace"))
    status_found = _STATUS.search(text)
    status = int(status_found[1]) if status_found else None
    words = clean(account(text)) or done.ending
    problem = f"{what}: helm says: {words}"
    if _RANGE.search(text):
        return Fault(words, passing=False, error=UsageError(problem, hint="see `helm pull --help`, --version"))
    if status in (401, 403) or (status is None and _DENIED.search(text)):
        hint = "put auth for the host into registries.yaml, or check the account's rights"
        return Fault(words, passing=False, error=Unauthorized(problem, side=side, status=status, hint=hint))
    if status in (404, 410) or (status is None and _MISSING.search(text)):
        hint = "check the repository's URL, and the chart's name and version"
        return Fault(words, passing=False, error=NotFound(problem, side=side, status=status, hint=hint))
    if status is not None:
        passing = status >= 500 or status in (408, 425, 429)
        return Fault(words, passing=passing, error=RemoteError(problem, side=side, status=status))
    if _UNTRUSTED.search(text):
        hint = "name its CA in registries.yaml (configs.<host>.tls.ca_file), or in SSL_CERT_FILE"
        return Fault(words, passing=False, contact=False, error=Unreachable(problem, side=side, hint=hint))
    if _PLAIN.search(text):
        hint = "the server speaks plain HTTP; where that is meant, write http://"
        return Fault(words, passing=False, error=Unreachable(problem, side=side, hint=hint))
    if _UNKNOWN_HOST.search(text) or _SILENT.search(text):
        hint = "check the URL, DNS, and HTTPS_PROXY"
        return Fault(words, contact=False, error=Unreachable(problem, side=side, hint=hint))
    return Fault(words, passing=False, error=RemoteError(problem, side=side))


def account(text: str) -> str:
    """Return helm's own account of what went wrong, without greetings and warnings, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Error: ")]
    updates = [i + 1 for i, line in enumerate(lines) if "Unable to get an update" in line]
    # `repo update` tells the reason on standard output, below a line that names the repository.
    wanted = lines[updates[0] :] if updates else lines[starts[0] :] if starts else lines
    return " ".join(line for line in wanted if not line.startswith("WARNING:")).removeprefix("Error: ")
