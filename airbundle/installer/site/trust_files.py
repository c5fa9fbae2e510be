"""The page that tells people how to trust the site's CA, with the CA beside it, in the directory of a site."""

from __future__ import annotations

from collections.abc import Mapping

from airbundle.bundle.trust_page import CA_FILE, PAGE_NAME, Root, trust_page
from airbundle.crypto.certificate import describe, load_chain
from airbundle.installer.files import PUBLIC_FILE, read_file, write_file
from airbundle.installer.site.step import Change, SiteRun

DIRECTORY = "trust"
_LIMIT = 1024 * 1024


def page_changes(run: SiteRun, pem: bytes) -> list[Change]:
    """Return what `write_page` would change. Reads only; without a CA there is no page."""
    directory = run.site_state.root / DIRECTORY
    changes = []
    for name, data in _files(run, pem).items():
        live = read_file(directory / name, limit=_LIMIT)
        if live != data:
            changes.append(Change(str(directory / name), "create" if live is None else "change"))
    return changes


def write_page(run: SiteRun, step: str, pem: bytes) -> bool:
    """Write the page and the CA; return whether anything changed.

    Args:
        run: what the steps share.
        step: journalled as the one who did it.
        pem: what clients trust; empty: nothing is written.
    """
    files = _files(run, pem)
    changed = False
    for name, data in files.items():
        path = run.site_state.directory(DIRECTORY) / name
        if not path.exists():
            run.journal.note(step, undo=[{"file": str(path)}])
        changed = write_file(path, data, PUBLIC_FILE) or changed
    return changed


def _files(run: SiteRun, pem: bytes) -> Mapping[str, bytes]:
    if not pem:
        return {}
    found = [describe(each) for each in load_chain(pem, what="the site's CA")]
    roots = [Root(each.subject, each.fingerprint, each.not_after, each.permitted) for each in found]
    return {CA_FILE: pem, PAGE_NAME: trust_page(roots, site=run.site.site.name)}
