"""Operating system and TLS errors in words, told apart by whether another attempt may help."""

from __future__ import annotations

import errno
import socket
import ssl

from airbundle.transfer.wire import Fault

_CA_HINT = (
    "add its CA to registries.yaml (configs.<host>.tls.ca_file), to the system's trust store, or to SSL_CERT_FILE"
)
_PLAIN_HINT = (
    "the server seems to speak plain HTTP; where that is meant, say so with an http:// endpoint in registries.yaml"
)


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
        return Fault(reason, contact=False, hint="check the name, DNS, and HTTPS_PROXY")
    if isinstance(error, (TimeoutError, socket.timeout)):
        return Fault("no connection in time" if connecting else "nothing came in time", contact=not connecting)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Fault("too many open files", passing=False, hint="raise `ulimit -n`")
    return Fault(error.strerror or str(error) or type(error).__name__, contact=not connecting)


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
