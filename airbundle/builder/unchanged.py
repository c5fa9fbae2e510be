"""Nothing changed: the bundle that would be written is there already (design §10: the answer comes in seconds)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airbundle.builder.donors import Donor, Donors
from airbundle.errors import HostError, UsageError, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.store.checksum import file_sum
from airbundle.store.plan import BundlePlan
from airbundle.store.proven import proof, record, statuses, untouched
from airbundle.store.reader import BundleFile
from airbundle.store.verified import VerifiedRecords
from airbundle.store.volumes import ByteFile
from airbundle.store.writer import BuiltBundle

Signatures = Sequence[tuple[str, bytes]]


def is_same(bundle: BundleFile, plan: BundlePlan, signatures: Signatures) -> bool:
    """Tell whether a bundle claims to be the very bundle of a plan: its bytes are not hashed."""
    return (
        bundle.size == plan.total_size
        and bundle.statement_raw == plan.statement
        and bundle.signatures == sorted(signatures)
    )


def known_sums(donors: Donors, plan: BundlePlan, signatures: Signatures, sizes: Sequence[int]) -> tuple[str, ...]:
    """Return the SHA-256 of each file that will be written where a proven bundle of the same bytes tells, else none."""
    for donor in _same_donors(donors, plan, signatures):
        cut_alike = donor.file is not None and [part.size for part in donor.file.file.parts] == list(sizes)
        if cut_alike and donor.proof is not None:
            return donor.proof.sums
    return ()


def has_same(donors: Donors, plan: BundlePlan, signatures: Signatures) -> bool:
    """Tell whether one of the donors is the very bundle of a plan, whatever its volumes; what is replaced is none.

    To be asked when all that they give was taken: one that turned out to be damaged is not the same.
    """
    return not all(donor.replaced or donor.damaged for donor in _same_donors(donors, plan, signatures))


def _same_donors(donors: Donors, plan: BundlePlan, signatures: Signatures) -> list[Donor]:
    return [donor for donor in donors.all if is_same(donor.held, plan, signatures)]


def find_unchanged(
    plan: BundlePlan,
    out: Path,
    files: Sequence[tuple[Path, int]],
    signatures: Signatures,
    records: VerifiedRecords,
    *,
    checksum: bool,
    reporter: Reporter = SILENT,
) -> BuiltBundle | None:
    """Return the output when it is what would be written: by airbundle's own record, else by hashing it.

    Args:
        plan: of the bundle.
        out: its path; for volumes without their number.
        files: path and size in bytes of each file that would be written.
        signatures: that it would get.
        records: tells whether its bytes were verified; is told so.
        checksum: whether its files' SHA-256 are wanted.
        reporter: told of a damaged output.

    Returns:
        None when it has to be written.
    """
    if not all(_is_there(path, size) for path, size in files):
        return None
    try:
        with BundleFile(ByteFile.open([path for path, _ in files])) as bundle:
            if not is_same(bundle, plan, signatures):
                return None
            sums = _sums(bundle, records, checksum=checksum, reporter=reporter)
    except (VerificationError, HostError, UsageError) as error:
        reporter.warn(f"{out}: {error.problem}; it is written anew")
        return None
    named = {path.name: digest for (path, _), digest in zip(files, sums)}
    return BuiltBundle(out, tuple(path for path, _ in files), plan.total_size, named)


def _is_there(path: Path, size: int) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def _sums(bundle: BundleFile, records: VerifiedRecords, *, checksum: bool, reporter: Reporter) -> Sequence[str]:
    found = proof(records, bundle)
    if found is not None and (found.sums or not checksum):
        return found.sums if checksum else ()
    before = statuses(bundle.file)
    if found is None:
        bundle.verify_head()
        bundle.verify_blobs(reporter)
    sums = [file_sum(bundle.file, part) for part in bundle.file.parts] if checksum else []
    if not untouched(bundle.file, before):
        raise VerificationError("it was changed while it was read")
    record(records, bundle.file, before, bundle.statement_raw, sums)
    return sums
