"""Adding a signature to a finished bundle: one member of fixed size is rewritten in place, and nothing else."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from airbundle.bundle.layout import SIGNATURES_NAME
from airbundle.bundle.statement import decode_signatures, encode_signatures
from airbundle.errors import Busy
from airbundle.progress import Reporter
from airbundle.store.checksum import file_sum, sign_checksums, write_checksums
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import bundle_path

if TYPE_CHECKING:
    from airbundle.crypto.keys import Signer


def sign_bundle(bundle: BundleFile, signer: Signer, *, reporter: Reporter, checksum: bool = True) -> list[str]:
    """Add a signature to a bundle and write its `.sha256` and `.sig` anew. A key's earlier signature is replaced.

    The whole bundle is verified first: a release key signs nothing that is damaged.

    Args:
        bundle: opened with `writable=True`.
        signer: the release key.
        reporter: hears of the pass over the file.
        checksum: whether to write the files beside it.

    Returns:
        The ids of all keys that have signed.

    Raises:
        VerificationError: the bundle is damaged; it is left as it was.
        Busy: another run signs it.
    """
    first, mine = bundle.file.parts[0], signer.public_key.key_id
    try:
        fcntl.flock(first.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{first.path}: another run signs it", hint="wait for it to end") from None
    # As they are now: whoever had the lock before may have signed since the bundle was opened.
    signatures = [pair for pair in decode_signatures(bundle.member_bytes(SIGNATURES_NAME)) if pair[0] != mine]
    bundle.verify_head()
    bundle.verify_blobs(reporter)
    signatures.append((mine, signer.sign(bundle.statement_raw)))
    bundle.file.write(bundle.head[SIGNATURES_NAME].offset, encode_signatures(signatures))
    bundle.file.sync()
    bundle.signatures = sorted(signatures)
    if checksum:
        path = bundle_path(first.path)
        with reporter.phase("checksum", total=bundle.size) as phase:
            sums = {}
            for part in bundle.file.parts:
                with phase.item(part.path.name, part.size) as item:
                    sums[part.path.name] = file_sum(bundle.file, part, item)
        write_checksums(path, sums)
        sign_checksums(path, signer.sign)
    return [key_id for key_id, _ in bundle.signatures]
