"""Plain files over HTTP(S): pinned by digest, so that any mirror will do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from airbundle.bundle.oci import Descriptor
from airbundle.errors import RemoteError
from airbundle.transfer.download import Download
from airbundle.transfer.http import HttpClient

FILE_LIMIT = 1 << 40
"""Largest file in bytes; a server that claims more is not believed."""
_SMALL = 64 * 1024 * 1024


def download_file(http: HttpClient, url: str, digest: str, directory: Path) -> Path:
    """Fetch `url` into a new file in `directory`, which the caller removes; its digest has verified.

    Args:
        http: trust, credentials, proxies and patience.
        url: http(s).
        digest: `sha256:…` that the bytes must have.
        directory: an existing directory.

    Raises:
        NotFound, RemoteError: the server fails, or doesn't have it.
        DigestMismatch: the bytes are others.
    """
    what = f"file {url}"
    size = _size(http, url, what)
    fd, name = tempfile.mkstemp(dir=directory, prefix="download-")
    path = Path(name)
    try:
        if size is None:
            os.write(fd, http.request("GET", url, what=what, limit=_SMALL).body)
        else:
            blob = Descriptor("application/octet-stream", digest, size)

            def write(offset: int, data: memoryview) -> None:
                while data:
                    done = os.pwrite(fd, data, offset)
                    offset, data = offset + done, data[done:]

            Download(http, what, blob, write).run(http.url(url, what))
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(fd)
    return path


def _size(http: HttpClient, url: str, what: str) -> int | None:
    """Return what the server says of the file's size in bytes; None when it does not say."""
    answer = http.request("HEAD", url, what=what)
    text = answer.headers.get("content-length", "")
    if not text.isdigit():
        return None
    size = int(text)
    if size > FILE_LIMIT:
        raise RemoteError(f"{what}: the server claims {size} bytes; at most {FILE_LIMIT} are believed")
    return size
