"""Which files to carry again, when blobs of a bundle turn out damaged."""

from __future__ import annotations

from collections.abc import Sequence

from airbundle.store.checksum import file_sum, read_checksums
from airbundle.store.volumes import ByteFile, bundle_path


def damaged_files(file: ByteFile, touched: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of the files to carry again.

    A blob in one volume tells for sure. Where blobs cross volumes, the checksums beside them help, if they are there:
    then the volumes in question are read.

    Args:
        file: with the damage.
        touched: for each damaged blob, the names of the volumes that it lies in.
    """
    sure = {names[0] for names in touched if len(names) == 1}
    if all(sure.intersection(names) for names in touched):
        return sorted(sure)
    suspects = {name for names in touched for name in names}
    sums = read_checksums(bundle_path(file.path))
    wrong = [
        part.path.name
        for part in file.parts
        if part.path.name in suspects and sums.get(part.path.name) not in (None, file_sum(file, part))
    ]
    return wrong or sorted(suspects)


def carry_again(file: ByteFile, names: Sequence[str]) -> str:
    """Return the hint that goes with these names."""
    if len(file.parts) == 1:
        return "carry the file again"
    return f"carry {'this volume' if len(names) == 1 else 'these volumes'} again"
