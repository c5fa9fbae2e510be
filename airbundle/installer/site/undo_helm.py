"""Takes a release of helm's away, with what its hooks left; objects that hold data, or take volumes along, stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from airbundle.deploy.helm_history import Revision
from airbundle.deploy.helm_record import HelmRecord, is_kept, parse_record
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import DocumentError
from airbundle.installer.site.kept_data import KeptData
from airbundle.transfer.cluster_write import ClusterWriter

Kept = tuple[ObjectKey, str]
"""An object that stays, and why."""


class HelmUninstalls(Protocol):
    """Takes releases away; `transfer.helm_release.HelmReleases` is one."""

    def history(self, namespace: str, name: str) -> list[Revision]:
        """Return what helm knows of a release, oldest first."""

    def uninstall(self, namespace: str, name: str) -> bool:
        """Take a release away; return whether it was there."""


def uninstall_release(
    helm: Callable[[], HelmUninstalls],
    cluster: ClusterWriter,
    data: KeptData,
    namespace: str,
    name: str,
    *,
    delete_data: bool,
    wait: float,
) -> tuple[bool, list[Kept]]:
    """Take a release away.

    Args:
        helm: gives helm; not called where there is no release.
        cluster: its API.
        data: what holds data.
        namespace, name: of the release.
        delete_data: whether data goes, too.
        wait: seconds in which an object must be gone.

    Returns:
        Whether it was there; and what of it stays.

    Raises:
        SiteError, RemoteError: a part could not be taken away.
    """
    record = read_record(helm().history(namespace, name), cluster, namespace, name)
    if record is None:
        return helm().uninstall(namespace, name), []
    found = [] if delete_data else list(_holding(record, cluster, data, namespace))
    if found:
        names = {key for key, _ in found}
        kept_record = record.record.keeping(lambda body: _key(body, namespace) in names)
        write_record(replace(record, record=kept_record), cluster)
    chosen = [] if delete_data else [(key, "its chart says to keep it") for key in _of_chart(record.record, namespace)]
    gone = helm().uninstall(namespace, name)
    leftover = [key for body in record.record.hooks() for key in _keys(body, namespace)]
    if delete_data:
        leftover += _of_chart(record.record, namespace)
    kept = [*found, *((key, why) for key, why in chosen if key not in dict(found) and cluster.get(key) is not None)]
    for key in dict.fromkeys(leftover):
        live = cluster.get(key)
        why = "" if live is None or delete_data else data.why(key, live)
        if why:
            kept.append((key, why))
        elif live is not None:
            cluster.delete(key, wait=wait)
    return gone, kept


@dataclass(frozen=True)
class StoredRecord:
    """helm's record of the newest revision, and the Secret that it lies in."""

    secret: Mapping[str, Any]
    record: HelmRecord


def read_record(history: Sequence[Revision], cluster: ClusterWriter, namespace: str, name: str) -> StoredRecord | None:
    """Return helm's record of the newest revision of a release; None where there is none.

    Raises:
        RemoteError: it can't be read, or is none of helm's.
    """
    if not history:
        return None
    key = ObjectKey("v1", "Secret", namespace, f"sh.helm.release.v1.{name}.v{history[-1].number}")
    secret = cluster.get(key)
    return None if secret is None else StoredRecord(secret, parse_record(secret, what=key.title))


def write_record(stored: StoredRecord, cluster: ClusterWriter) -> None:
    """Write a record that was changed over what it was read from.

    Raises:
        Conflict: helm has changed it since.
        RemoteError: no good answer.
    """
    cluster.replace({**stored.secret, "data": {**stored.secret["data"], "release": stored.record.to_data()}})


def _holding(stored: StoredRecord, cluster: ClusterWriter, data: KeptData, namespace: str) -> Iterator[Kept]:
    for body in stored.record.objects():
        for key in _keys(body, namespace):
            live = cluster.get(key)
            why = "" if live is None else data.why(key, live)
            if why:
                yield key, why


def _of_chart(record: HelmRecord, namespace: str) -> list[ObjectKey]:
    return [key for body in record.objects() if is_kept(body) for key in _keys(body, namespace)]


def _key(body: Mapping[str, Any], namespace: str) -> ObjectKey | None:
    return next(_keys(body, namespace), None)


def _keys(body: Mapping[str, Any], namespace: str) -> Iterator[ObjectKey]:
    """Yield the key of an object of a manifest; what names none is no object that could be there."""
    try:
        yield key_of(body, namespace)
    except DocumentError:
        return
