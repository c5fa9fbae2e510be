"""`airbundle inspect`: what a bundle holds, from its head alone."""

from __future__ import annotations

import argparse
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_bundle, bundle_paths
from airbundle.cli.console import Console

if TYPE_CHECKING:
    from airbundle.bundle.index import RootRow
    from airbundle.bundle.lock_glance import LockGlance
    from airbundle.store.reader import BundleFile

HELP = "Show what a bundle holds. Reads only its head; `verify` proves it."
EXAMPLE = "  airbundle inspect messenger-1.4.0.airbundle"
_COMPANIONS = ("signature", "referrer")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    parser.add_argument("--all", action="store_true", help="list signatures and other referrers, too")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Show the bundle."""
    from airbundle.store.reader import open_bundle

    with open_bundle(bundle_paths(args)) as bundle, _uncollected():
        problem = _incomplete(bundle)
        if problem and not console.json:
            console.note(f"warning: {problem}")
        lock, roots = _glance(bundle), _roots(bundle)
        if console.json:
            return _document(bundle, lock, roots, problem)
        if not console.quiet:
            _show_head(bundle, lock, console)
            _show_roots(lock, roots, console, every=args.all)
        return {}


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no cycles: of 10,000 images all objects are in use, and looking at them again takes time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _incomplete(bundle: BundleFile) -> str:
    """Return what is missing of the file; a first volume alone can be shown, too."""
    from airbundle.errors import VerificationError

    try:
        bundle.check_size()
    except VerificationError as error:
        return error.problem
    return ""


def _document(bundle: BundleFile, lock: LockGlance, roots: Sequence[RootRow], incomplete: str) -> dict[str, Any]:
    statement = bundle.statement
    return {
        "name": statement.name,
        "version": statement.version,
        "serial": statement.serial,
        "created": statement.created,
        "expires": statement.expires,
        "base": statement.base.to_json() if statement.base else None,
        "size": bundle.size,
        "incomplete": incomplete,
        "files": [str(part.path) for part in bundle.file.parts],
        "blobs": statement.contents.blobs,
        "external": statement.contents.left_out,
        "externalSize": statement.contents.left_out_size,
        "allowedMissing": list(statement.allowed_missing),
        "signatures": [key_id for key_id, _ in bundle.signatures],
        "installer": _installer(bundle, lock),
        "site": {each.name: each.to_json() for each in lock.site},
        "roots": [_entry(root, lock) for root in roots],
    }


def _entry(root: RootRow, lock: LockGlance) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": root.kind, "ref": root.ref, "digest": root.digest}
    entry.update(mediaType=root.media_type, size=root.total)
    name = root.kind, root.ref
    if name in lock:
        entry.update(origin=lock.origin(name), platforms=lock.platforms(name), info=lock.info(name))
    return entry


def _installer(bundle: BundleFile, lock: LockGlance) -> dict[str, Any] | None:
    if not bundle.has_installer:
        return None
    digest, size = bundle.statement.subjects["installer"]
    return {
        "digest": digest,
        "size": size,
        "version": lock.installer_version,
    }


def _glance(bundle: BundleFile) -> LockGlance:
    from airbundle.bundle.layout import LOCK_MEMBER
    from airbundle.bundle.lock_glance import LockGlance

    return LockGlance(bundle.bound_bytes(LOCK_MEMBER), f"{bundle.path.name}: {LOCK_MEMBER}")


def _roots(bundle: BundleFile) -> list[RootRow]:
    from airbundle.bundle.index import read_roots
    from airbundle.bundle.layout import INDEX_NAME

    return read_roots(bundle.bound_bytes(INDEX_NAME))


def _show_roots(lock: LockGlance, roots: Sequence[RootRow], console: Console, *, every: bool) -> None:
    from airbundle.bundle.sizes import human

    rows = [("KIND", "NAME", "DIGEST", "SIZE", "PLATFORMS")]
    hidden: Counter[str] = Counter()
    for root in roots:
        if not every and root.kind in _COMPANIONS:
            hidden[root.kind] += 1
        else:
            rows.append((root.kind, root.ref, root.digest[:19], human(root.total), _platforms(root, lock)))
    console.say()
    console.table(rows)
    if hidden:
        counts = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(hidden.items()))
        console.say(f"and {counts} (--all lists them)")


def _platforms(root: RootRow, lock: LockGlance) -> str:
    found = lock.platforms((root.kind, root.ref)) if root.kind == "image" else []
    return _shown(",".join(found)) if found else ""


def _show_head(bundle: BundleFile, lock: LockGlance, console: Console) -> None:
    from airbundle.bundle.sizes import counted, human

    statement = bundle.statement
    volumes = f" in {len(bundle.file.parts)} volumes" if len(bundle.file.parts) > 1 else ""
    signers = [key_id for key_id, _ in bundle.signatures]
    rows = [
        ("created", f"{statement.created}  (serial {statement.serial})"),
        ("expires", statement.expires or "never"),
        ("size", f"{human(bundle.size)}{volumes}, {counted(statement.contents.blobs, 'blob')}"),
        ("signed by", "\n             ".join(signers) + "  (a claim: `airbundle verify --key PUB` checks it)")
        if signers
        else ("signed by", "NOBODY: sites will refuse it"),
    ]
    if bundle.has_installer:
        digest, size = statement.subjects["installer"]
        rows.append(("installer", f"airbundle {_shown(lock.installer_version)}, {human(size)}, {digest}"))
    else:
        rows.append(("installer", "none"))
    if statement.base:
        lacking = human(statement.contents.left_out_size)
        base = statement.base
        rows.append(
            ("delta on", f"{base.name} {base.version} (serial {base.serial}), which has {lacking} of its blobs")
        )
    if statement.allowed_missing:
        rows.append(("may lack", ", ".join(statement.allowed_missing) + "  (its charts run images of these names)"))
    rows += [("site names" if not number else "", text) for number, text in enumerate(_site_names(lock))]
    console.say(f"{statement.name} {statement.version}")
    for label, text in rows:
        console.say(f"  {label:<10} {text}")


def _site_names(lock: LockGlance) -> Iterator[str]:
    """Yield a line for each name that the site file may, or must, say under `names`."""
    from airbundle.bundle.template import written

    for each in lock.site:
        stands = f"needed, such as {written(each.sample)}" if each.required else f"{written(each.sample)} by default"
        yield _shown(f"{each.name}: {stands}" + (f"  ({each.description})" if each.description else ""))


def _shown(text: str) -> str:
    """Return text of the lock, which nobody has verified, without what would move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
