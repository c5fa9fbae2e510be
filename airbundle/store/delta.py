"""What a delta leaves out: who needs it, which bundle brings it, and how a refusal lists it (design §3 "Deltas")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from airbundle.bundle.content import Node, walk
from airbundle.bundle.index import CHART, ref_of
from airbundle.bundle.naming import SERVED_ONLY
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.statement import Statement
from airbundle.errors import CheckFailed, Finding, UsageError
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import bundle_path, bundles_in, real_path

BASE = "base"
"""Code of a finding that tells of a blob which a delta leaves out and nothing here has."""

_SHOWN_REFS = 5


def base_bundles(paths: Sequence[Path]) -> list[list[Path]]:
    """Return the files of each bundle that `--base` names: one, or the volumes of one wherever they lie.

    Args:
        paths: files, volumes, and directories of either.

    Raises:
        UsageError: there is no such file, or no bundle in a directory.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        named = bundles_in(path) if path.is_dir() else [path]
        if not named:
            raise UsageError(f"--base {path}: there is no bundle, and no volume of one")
        for each in named:
            whole = bundle_path(each)
            # Volumes of one bundle may lie in several directories; whole files of one name are several bundles.
            key = whole.name if whole != each else str(real_path(each))
            found.setdefault(key, []).append(each)
    return list(found.values())


def nodes_of(bundle: BundleFile, root: Descriptor) -> list[Node]:
    """Return the manifests that a bundle carries of one of its roots.

    Raises:
        VerificationError: one is damaged or does not parse.
    """
    return list(walk(root, bundle.manifest, what=ref_of(root)))


def server_blobs(bundle: BundleFile) -> frozenset[str]:
    """Return the blobs that airbundle's own server needs where the registry is another one.

    They are manifests and configs, and the blobs of charts, files and databases, whether carried or left out.

    Raises:
        VerificationError: a manifest is damaged or does not parse.
    """
    found = {digest for digest, _ in bundle.toc.blobs[: bundle.toc.metadata]}
    for kind in (CHART, *sorted(SERVED_ONLY)):
        for root in bundle.roots(kind):
            for node in nodes_of(bundle, root):
                found.update(blob.digest for blob in node.manifest.blobs)
    return frozenset(found)


def needed_by(bundle: BundleFile, digests: Collection[str]) -> dict[str, list[str]]:
    """Return the full names of the roots that need each of some blobs.

    Raises:
        VerificationError: a manifest is damaged or does not parse.
    """
    found: dict[str, list[str]] = {}
    for root in bundle.index:
        blobs = {blob.digest for node in nodes_of(bundle, root) for blob in node.manifest.blobs}
        for digest in blobs.intersection(digests):
            found.setdefault(digest, []).append(ref_of(root))
    return found


def base_of(statement: Statement) -> str:
    """Return which bundle brings what a delta leaves out, for people."""
    return str(statement.base or "the bundle it was made from")


def lacking_findings(
    bundle: BundleFile,
    lacking: Sequence[Descriptor],
    damaged: Mapping[str, Sequence[str]],
    known: Sequence[BundleFile] = (),
) -> list[Finding]:
    """Return a finding for each blob that a delta leaves out and nothing has.

    Args:
        bundle: the delta.
        lacking: such blobs.
        damaged: names of the files that have one, but with other bytes; by digest.
        known: other bundles at hand: where the base is one of them and a delta that leaves a blob out, too, that one's
            base is named.
    """
    brings = _Brings(bundle, known)
    refs = needed_by(bundle, {blob.digest for blob in lacking})
    return [
        Finding(
            "a blob that this delta leaves out is not there",
            where=_some(refs.get(blob.digest, ())),
            code=BASE,
            found=f"damaged in {', '.join(damaged[blob.digest])}" if damaged.get(blob.digest) else "",
            expected=f"{blob.digest}, {blob.size} bytes",
            hint=f"{brings.of(blob.digest)} brings it",
        )
        for blob in lacking
    ]


class _Brings:
    """Which bundle brings a blob that a delta leaves out."""

    def __init__(self, bundle: BundleFile, known: Sequence[BundleFile]) -> None:
        self._statement = bundle.statement
        self._known = [(each.statement, frozenset(digest for digest, _ in each.toc.external)) for each in known]

    def of(self, digest: str) -> str:
        """Return it for people."""
        statement = self._statement
        for _ in range(len(self._known) + 1):
            base = statement.base
            below = [found for found, left_out in self._known if base and base.is_base(found) and digest in left_out]
            if not below:
                break
            statement = below[0]
        return base_of(statement)


def lacking_body(bundle: BundleFile, lacking: Sequence[Descriptor]) -> dict[str, Any]:
    """Return the same for `--json`: `base`, and `missing` with digest, size and all names that need each blob."""
    refs = needed_by(bundle, {blob.digest for blob in lacking})
    base = bundle.statement.base
    return {
        "base": base.to_json() if base else None,
        "missing": [
            {"digest": blob.digest, "size": blob.size, "neededBy": refs.get(blob.digest, [])} for blob in lacking
        ],
    }


def refuse_lacking(
    bundle: BundleFile,
    lacking: Sequence[Descriptor],
    damaged: Mapping[str, Sequence[str]],
    known: Sequence[BundleFile] = (),
) -> None:
    """Raise when anything lacks (see `lacking_findings`).

    Raises:
        CheckFailed: lists every blob, who needs it, and which bundle brings it.
    """
    if not lacking:
        return
    statement = bundle.statement
    count = "a blob that it leaves out is" if len(lacking) == 1 else f"{len(lacking)} blobs that it leaves out are"
    raise CheckFailed(
        f"{statement.name} {statement.version} is a delta, and {count} nowhere here",
        hint=base_hint(statement),
        findings=lacking_findings(bundle, lacking, damaged, known),
        body=lacking_body(bundle, lacking),
    )


def base_hint(statement: Statement) -> str:
    """Return the next step where blobs of a base lack."""
    return f"give the file with --base, or first install {base_of(statement)}, or carry the full bundle"


def _some(refs: Sequence[str]) -> str:
    more = f" and {len(refs) - _SHOWN_REFS} more" if len(refs) > _SHOWN_REFS else ""
    return ", ".join(refs[:_SHOWN_REFS]) + more
