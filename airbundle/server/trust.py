"""`/trust/`: the site's CA, and how people trust it. Read anew each time: a change-over shows at once."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from airbundle.bundle.trust_page import CA_FILE, Root, trust_page
from airbundle.errors import AirbundleError
from airbundle.server.web import HTML, Reply
from airbundle.store.host import read_bounded

TRUST = "trust"
_LIMIT = 256 * 1024
_TYPE = "application/x-x509-ca-cert"


def answer_trust(ca: Path, path: str | None) -> Reply:
    """Answer a request below `/trust`.

    Args:
        ca: PEM of what is trusted.
        path: what follows `/trust/`; None without the last slash.
    """
    if path is None:
        return Reply(HTTPStatus.MOVED_PERMANENTLY, (("Location", f"/{TRUST}/"),))
    if path not in ("", CA_FILE):
        return Reply.text(HTTPStatus.NOT_FOUND, f"there is /{TRUST}/ and /{TRUST}/{CA_FILE}")
    try:
        pem = read_bounded(ca, _LIMIT)
        body = pem if path else trust_page(_roots(pem))
    except AirbundleError:
        return Reply.text(HTTPStatus.NOT_FOUND, "there is no CA here that could be shown")
    kind = _TYPE if path else HTML
    return Reply(HTTPStatus.OK, (("Content-Type", kind), ("Cache-Control", "no-cache")), body)


def _roots(pem: bytes) -> list[Root]:
    # Loads much that a server which is never asked for this page does without.
    from airbundle.crypto.certificate import describe, load_chain

    found = [describe(each) for each in load_chain(pem, what="the site's CA")]
    return [Root(each.subject, each.fingerprint, each.not_after, each.permitted) for each in found]
