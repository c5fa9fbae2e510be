"""`compact`: a chain of deltas becomes the one full bundle that `build` would have made of the same lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from airbundle.builder.donors import Donors
from airbundle.builder.fetch import JOBS, fetch_blobs
from airbundle.builder.reuse import Origins, reuse_blobs, shared_blobs
from airbundle.bundle.content import BlobSource, walk
from airbundle.bundle.index import REFERRER, SIGNATURE, kind_of, ref_of
from airbundle.bundle.layout import INDEX_NAME, LOCK_MEMBER, Extra, content_of, repository_of
from airbundle.bundle.oci import BUNDLE_REF, Descriptor
from airbundle.bundle.statement import INSTALLER, Statement, parse_statement
from airbundle.crypto.keys import Signer
from airbundle.errors import CheckFailed, Finding, TrustError, UsageError, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.store.checksum import sign_checksums
from airbundle.store.plan import BundlePlan, plan_bundle
from airbundle.store.reader import BundleFile
from airbundle.store.verified import VerifiedRecords
from airbundle.store.writer import BuiltBundle, BundleWriter


@dataclass(frozen=True)
class CompactOptions:
    """How a full bundle is written; see `BuildOptions`."""

    signer: Signer | None = None
    split_size: int = 0
    checksum: bool = True
    jobs: int = JOBS


def newest(bundles: Sequence[BundleFile]) -> BundleFile:
    """Return the bundle at the end of the chain: the newest of the deltas that no other bundle builds on.

    Raises:
        UsageError: there is no delta.
    """
    deltas = [bundle for bundle in bundles if bundle.statement.base is not None or bundle.toc.external]
    if not deltas:
        names = ", ".join(bundle.path.name for bundle in bundles)
        raise UsageError(f"no delta is among {names}: they have all their blobs", hint="name the newest delta, too")
    bases = [bundle.statement.base for bundle in deltas if bundle.statement.base is not None]
    ends = [bundle for bundle in deltas if not any(base.is_base(bundle.statement) for base in bases)]
    return max(ends or deltas, key=lambda bundle: bundle.statement.serial)


def compact_bundles(
    bundles: Sequence[BundleFile],
    output: Path,
    records: VerifiedRecords,
    options: CompactOptions = CompactOptions(),
    *,
    reporter: Reporter = SILENT,
) -> BuiltBundle:
    """Write the full bundle of the newest delta.

    Args:
        bundles: the delta and all that it builds on, in any order; they stay open.
        output: the file to write; for volumes without their number.
        records: tells which of the bundles need not be hashed.
        options: the release key must be the one that signed the delta.

    Raises:
        CheckFailed: blobs lack; lists them. Nothing is written.
        TrustError: the release key has not signed the delta.
        VerificationError: one of the bundles is damaged.
        NoSpace, HostError, Busy: as `build`.
    """
    delta = newest(bundles)
    delta.verify_head()
    signer = options.signer
    if signer is not None:
        _check_signer(delta, signer)
    plan = _plan(delta)
    _check_lacking(delta, plan, bundles)
    signatures = [(signer.public_key.key_id, signer.sign(plan.statement))] if signer else []
    donors = Donors(records, reporter)  # their files belong to the caller: it is not closed here
    for bundle in bundles:
        donors.add_bundle(bundle.path.name, bundle)
    with BundleWriter.create(
        plan,
        output,
        reporter=reporter,
        signatures=signatures,
        checksum=options.checksum,
        volume_size=options.split_size or None,
        records=records,
        shared=shared_blobs(plan.blobs_to_fetch, donors, output.parent, volume_size=options.split_size),
    ) as writer:
        reuse_blobs(writer, plan.blobs_to_fetch, donors, Origins(), reporter=reporter)
        fetch_blobs(writer, lambda blob: _holders(bundles, blob), jobs=options.jobs, reporter=reporter)
        built = writer.finish()
    if signer is not None and built.sums:
        sign_checksums(built.path, signer.sign)
    return built


def _check_signer(delta: BundleFile, signer: Signer) -> None:
    """A release key signs only what it has signed before: the full bundle has the delta's content."""
    mine = signer.public_key
    if not any(key == mine.key_id and mine.verify(signed, delta.statement_raw) for key, signed in delta.signatures):
        raise TrustError(
            f"{delta.path.name} is not signed by this key, {mine.key_id}",
            hint="use the key that signed the delta; or leave --key out, verify, then `airbundle sign`",
        )


def _plan(delta: BundleFile) -> BundlePlan:
    """Lay the full bundle out, from the delta's lock and its manifests, which are all there."""
    manifests: dict[str, bytes] = {}

    def load(descriptor: Descriptor) -> bytes | None:
        raw = delta.manifest(descriptor)
        if raw is not None:
            manifests[descriptor.digest] = raw
        return raw

    for root in delta.index:
        list(walk(root, load, what=ref_of(root)))
    installer = delta.installer_bytes() if delta.has_installer else None
    content = content_of(delta.lock, manifests, _extras(delta, manifests))
    plan = plan_bundle(content, installer=installer, allowed_missing=delta.statement.allowed_missing)
    _check_same(delta.statement, parse_statement(plan.statement), delta.path.name)
    if set(plan.toc.blobs) != {*delta.toc.blobs, *delta.toc.external}:
        raise VerificationError(f"{delta.path.name}: its lock needs other blobs than its toc lists")
    return plan


def _extras(delta: BundleFile, manifests: dict[str, bytes]) -> list[Extra]:
    """Return the signatures that the build had made: those that the lock does not have."""
    locked = {
        (referrer.annotations.get(BUNDLE_REF) or f"{repository_of(root.ref)}@{referrer.digest}", referrer.digest)
        for root in delta.lock.roots
        for referrer in root.referrers
    }
    made = [root for root in delta.index if kind_of(root) in (SIGNATURE, REFERRER)]
    return [
        Extra(ref_of(root), Descriptor(root.media_type, root.digest, root.size), manifests[root.digest], {})
        for root in made
        if (ref_of(root), root.digest) not in locked
    ]


def _check_same(delta: Statement, full: Statement, name: str) -> None:
    for subject in (INDEX_NAME, LOCK_MEMBER, INSTALLER):
        if delta.subjects.get(subject) != full.subjects.get(subject):
            raise VerificationError(
                f"{name}: {subject} can't be made again from it as it is",
                hint="the delta is of another airbundle; use that one",
            )


def _holders(bundles: Iterable[BundleFile], blob: Descriptor) -> list[BlobSource]:
    return [b for b in bundles if b.has_blob(blob.digest) and b.blob_size(blob.digest) == blob.size]


def _check_lacking(delta: BundleFile, plan: BundlePlan, bundles: Sequence[BundleFile]) -> None:
    lacking = [blob for blob in plan.blobs_to_fetch if not _holders(bundles, blob)]
    if not lacking:
        return
    findings = []
    for blob in lacking:
        owner = plan.content.owners.get(blob.digest)
        where = owner.ref if owner else ""
        findings.append(Finding("no bundle here has this blob", where=where, code="base", expected=blob.digest))
    told = _bases_to_get(bundles)
    count = f"{len(lacking)} blobs" if len(lacking) > 1 else "a blob"
    raise CheckFailed(
        f"{delta.path.name}: {count} of {sum(blob.size for blob in lacking)} bytes lack",
        hint=f"name {told}, too" if told else "name the bundles that have them, too",
        findings=findings,
    )


def _bases_to_get(bundles: Sequence[BundleFile]) -> str:
    """Return which bundles are named as a base by one of those here, and are not here."""
    bases = {b.statement.base for b in bundles if b.statement.base is not None}
    absent = [base for base in bases if not any(base.is_base(bundle.statement) for bundle in bundles)]
    return ", ".join(sorted(map(str, absent)))
