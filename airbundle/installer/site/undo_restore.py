"""Puts an object of the cluster back as it was before airbundle changed it, from the file that was written then."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from airbundle.bundle.oci import parse_json
from airbundle.deploy.dns_parts import CONFIGS, data_of, sites_in, without_part
from airbundle.deploy.keeping import as_made_anew, changed_by_others, metadata_of
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import AirbundleError, Conflict, NotFound, SiteError
from airbundle.installer.files import read_file
from airbundle.installer.site.site_state import SiteState
from airbundle.transfer.cluster_write import ClusterWriter

BEFORE = "before"
_LIMIT = 8 << 20
_ATTEMPTS = 5
_COREFILE = "Corefile"


def put_back(site: SiteState, cluster: ClusterWriter, key: ObjectKey, file: str) -> bool:
    """Put an object back; return whether that changed anything.

    What others changed in it since stays: of CoreDNS's Corefile only our own marks are taken out then; anything else
    is refused, because nobody can tell which of both is meant.

    Raises:
        SiteError: there is no such file, or others have changed the object since.
        RemoteError: the cluster did not do it.
    """
    before = _read(site, key, file)
    return change_object(
        cluster, key, lambda live: _wanted(site, key, before, live, file), gone=lambda: _make(cluster, before)
    )


def take_part_out(site: SiteState, cluster: ClusterWriter, key: ObjectKey) -> bool:
    """Take a site's part out of a ConfigMap of CoreDNS's, and leave all else; return whether there was one.

    Raises:
        SiteError: somebody took away one mark of two.
        RemoteError: the cluster did not do it.
    """
    return change_object(cluster, key, lambda live: without_part(live, site.name))


def change_object(
    cluster: ClusterWriter,
    key: ObjectKey,
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    gone: Callable[[], bool] = lambda: False,
) -> bool:
    """Change an object as it is at that moment, again where somebody else changed it just then.

    Args:
        cluster: its API.
        key: of the object.
        change: returns it as it is to be; nothing where it is to be left.
        gone: done where it isn't there.

    Returns:
        Whether anything changed.

    Raises:
        RemoteError: the cluster did not do it.
    """
    for attempt in range(_ATTEMPTS):
        live = cluster.get(key)
        if live is None:
            return gone()
        wanted = change(live)
        if not wanted or _same(wanted, live):
            return False
        try:
            cluster.replace(wanted)
        except Conflict:
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return True
    return False


def _make(cluster: ClusterWriter, before: Mapping[str, Any]) -> bool:
    try:
        cluster.create(as_made_anew(before))
    except NotFound:
        return False  # with its namespace, or its kind, others took away what it was for
    return True


def _wanted(
    site: SiteState, key: ObjectKey, before: Mapping[str, Any], live: Mapping[str, Any], file: str
) -> dict[str, Any]:
    """Return the object as it is to be, over the state that `live` is of."""
    others = changed_by_others(before, live)
    if key in CONFIGS and (sites_in(live) | sites_in(before)) - {site.name}:
        return without_part(live, site.name)  # another site of this cluster came or went since
    if not others:
        body = as_made_anew(before)
        version = metadata_of(live).get("resourceVersion")
        return {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
    if isinstance(data_of(live).get(_COREFILE), str):
        return without_part(live, site.name)
    raise SiteError(
        f"{key.title}: {', '.join(others)} changed it since airbundle did; it is left as it is",
        hint=f"put back by hand what is to be as in {site.root / file}",
    )


def _same(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    return _content(wanted) == _content(live)


def _content(body: Mapping[str, Any]) -> str:
    plain = as_made_anew(body)
    return json.dumps(plain, sort_keys=True)


def _read(site: SiteState, key: ObjectKey, file: str) -> Mapping[str, Any]:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] != (BEFORE,):
        raise SiteError(f"{key.title}: the journal names {file!r} as how it was before, which is no file of the site's")
    where = site.root / path
    raw = read_file(where, limit=_LIMIT)
    try:
        if raw is None:
            raise SiteError(f"{key.title}: how it was before is gone: {where} is not there")
        body = parse_json(raw, what=str(where), limit=_LIMIT)
        if not isinstance(body, dict) or key_of(body).name != key.name or body.get("kind") != key.kind:
            raise SiteError(f"{key.title}: {where} holds another object")
    except AirbundleError as error:
        error.hint = error.hint or "put it back by hand"
        raise
    return body
