"""Whether a CA that a program in the cluster issues with is still the one that the site's CA gave it."""

from __future__ import annotations

from datetime import datetime

from airbundle.crypto.authority import has_room, load_server_key
from airbundle.crypto.certificate import check_key, describe, is_ca, load_chain, signed_by, to_pem, utc_now
from airbundle.errors import UsageError, VerificationError

RENEW_BELOW = 1 / 3
"""Which part of its life must be left."""


def issuer_problem(chain: bytes, key: bytes, above: bytes, *, now: datetime | None = None) -> str:
    """Return why a CA below the site's has to be made anew; empty when it needn't.

    Args:
        chain: its certificate and those above it, PEM; from a cluster: anything may stand there.
        key: its private key, PEM.
        above: the site's issuing certificate, and those above that, PEM.
        now: the time; by default the present.

    Raises:
        UsageError: `above` does not parse.
    """
    expected = load_chain(above, what="the site's CA")
    try:
        found = load_chain(chain, what="certificate")
        private = load_server_key(key)
        check_key(found[0], private, what="certificate")
    except (UsageError, VerificationError) as error:
        return error.problem
    info = describe(found[0])
    if not is_ca(found[0]) or not signed_by(found[0], expected[0]):
        return f"{info.subject} was not issued by {expected[0].subject.rfc4514_string()}"
    if to_pem(found[1:]) != to_pem(expected):
        return "the certificates above it are not those of the site's CA now"
    if info.life_left(now or utc_now()) < RENEW_BELOW:
        return f"it ends at {info.not_after:%Y-%m-%d}"
    return ""


def may_have_issuer(above: bytes) -> bool:
    """Tell whether the site's CA, given by its certificate and those above it (PEM), may have a CA below it.

    Raises:
        UsageError: it does not parse.
    """
    return has_room(load_chain(above, what="the site's CA"))
