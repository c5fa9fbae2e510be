"""What of a site's cluster this user may not look at: told as a warning, and all else is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from airbundle.errors import Finding, NotFound, Unauthorized
from airbundle.transfer.cluster_api import Resource


class Lists(Protocol):
    """Lists the cluster's objects."""

    def objects(self, resource: Resource, namespace: str = "") -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a kind."""


def list_open(cluster: Lists, resource: Resource, namespace: str) -> list[Mapping[str, Any]] | None:
    """Return the objects of a kind in a namespace; None where this user may not list them.

    Raises:
        Unauthorized, Unreachable, RemoteError: no good answer.
    """
    try:
        return list(cluster.objects(resource, namespace))
    except NotFound:
        return []
    except Unauthorized as error:
        if not error.forbidden:
            raise
        return None


def closed(what: str, namespace: str) -> Finding:
    """Return that something may not be looked at."""
    return Finding(
        f"{what} of the namespace {namespace} were not looked at: this user may not list them",
        where="cluster",
        code="closed",
        hint="an administrator can",
        severity="warning",
    )
