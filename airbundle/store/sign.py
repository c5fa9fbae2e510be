"""Adding a signature to a finished bundle: one member of fixed size is rewritten in place, and nothing else."""

from __future__ import annotations

import fcntl
import hashlib
from typing import TYPE_CHECKING

from airbundle.bundle.layout import SIGNATURES_NAME
from airbundle.bundle.statement import encode_signatures
from airbundle.errors import Busy
from airbundle.progress import Reporter
from airbundle.store.checksum import sign_checksums, write_checksums
from airbundle.store.host import host_errors
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import Part, bundle_path

if TYPE_CHECKING:
    from airbundle.crypto.keys import Signer

_CHUNK = 1024 * 1024


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
    first = bundle.file.parts[0]
    try:
        fcntl.flock(first.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{first.path}: another run signs it", hint="wait for it to end") from None
    bundle.verify_head()
    bundle.verify_blobs(reporter)
    mine = signer.public_key.key_id
    signatures = [pair for pair in bundle.signatures if pair[0] != mine]
    signatures.append((mine, signer.sign(bundle.statement_raw)))
    bundle.file.write(bundle.head[SIGNATURES_NAME].offset, encode_signatures(signatures))
    bundle.file.sync()
    bundle.signatures = sorted(signatures)
    if checksum:
        path = bundle_path(first.path)
        with reporter.phase("checksum", total=bundle.size):
            write_checksums(path, {part.path.name: _sum(part) for part in bundle.file.parts})
        sign_checksums(path, signer.sign)
    return [key_id for key_id, _ in bundle.signatures]


def _sum(part: Part) -> str:
    hasher = hashlib.sha256()
    with memoryview(bytearray(_CHUNK)) as buffer, host_errors("read", part.path):
        with open(part.fd, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            while count := file.readinto(buffer):
                hasher.update(buffer[:count])
    return hasher.hexdigest()
