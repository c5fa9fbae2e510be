"""Operating system and TLS errors in words, told apart by whether another attempt may help."""

from __future__ import annotations

import errno
import socket
import ssl

from airbundle.errors import Interrupted
from airbundle.transfer.wire import Fault

_CA_HINT = (
    "add its CA to registries.yaml (configs.<host>.tls.ca_file), to the system's trust store, or to SSL_CERT_FILE"
)
_PLAIN_HINT = (
    "the server seems to speak plain HTTP; where that is meant, say so with http:// in --registry, or with an http:// "
    "endpoint in registries.yaml"
)
NO_HTTP_HINT = "check that the port is the server's own, and is named with http:// or https:// as it speaks"
_HINTS = {
    errno.ECONNREFUSED: "nothing listens there: check host and port, that the server runs, and HTTPS_PROXY",
    errno.ECONNRESET: NO_HTTP_HINT,
    errno.EHOSTUNREACH: "check the address, the network's routes, firewalls, and HTTPS_PROXY",
    errno.ENETUNREACH: "check the address, the network's routes, and HTTPS_PROXY",
}
_SLOW_HINT = "check the address, firewalls on the way, and HTTPS_PROXY"


def os_fault(error: OSError, *, connecting: bool) -> Fault:
    """Return the fault for an error of a socket.

    Args:
        error: what was raised.
        connecting: whether it happened before the first byte could be sent.
    """
    if isinstance(error, ssl.SSLError):
        return _tls_fault(error, connecting)
    if isinstance(error, socket.gaierror):
        unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
        reason = "the name is not known" if unknown else f"the name can't be looked up: {error.strerror}"
        # A resolver may say so while it is starting, too: only the short budget of a first contact applies.
        return Fault(reason, contact=False, hint="check the name, DNS (or /etc/hosts), and HTTPS_PROXY")
    if isinstance(error, (TimeoutError, socket.timeout)):
        return slow_fault(connecting=connecting)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Fault("too many open files", passing=False, hint="raise `ulimit -n`")
    hint = _HINTS.get(error.errno or 0, "")
    return Fault(error.strerror or str(error) or type(error).__name__, contact=not connecting, hint=hint)


def slow_fault(*, connecting: bool) -> Fault:
    """Return the fault for a connection, or an answer, that did not come in time."""
    if connecting:
        return Fault("no connection in time", contact=False, hint=_SLOW_HINT)
    return Fault("nothing came in time")


def closed_fault() -> Fault:
    """Return the fault for a request that comes after the client was closed, as when a run is interrupted."""
    closed = "the client is closed"
    return Fault(closed, passing=False, error=Interrupted(closed))


def _tls_fault(error: ssl.SSLError, connecting: bool) -> Fault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault(
            f"its certificate is not trusted: {error.verify_message}", passing=False, contact=False, hint=_CA_HINT
        )
    reason = error.reason or str(error)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}:
        return Fault(f"TLS failed: {reason}", passing=False, contact=False, hint=_PLAIN_HINT)
    if "ALERT" in reason:
        return Fault(f"TLS failed: {reason}", passing=False, contact=False)
    return Fault(f"TLS failed: {reason}", contact=not connecting)
