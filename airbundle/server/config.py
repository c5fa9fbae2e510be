"""The server's configuration, as a file. The document itself is `bundle.serving`, which the installer writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airbundle.bundle.serving import CONFIG_LIMIT, ServedBundle, ServerConfig, parse_config
from airbundle.errors import DocumentError
from airbundle.store.reader import open_bundle

__all__ = ["ServedBundle", "ServerConfig", "newest_first", "read_config"]


def read_config(path: Path) -> ServerConfig:
    """Read the file that `serve --config` names.

    Raises:
        DocumentError: it isn't there, can't be read, or doesn't parse.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(CONFIG_LIMIT + 1)
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror or error}", hint="`airbundle install` writes it") from None
    if len(raw) > CONFIG_LIMIT:
        raise DocumentError(f"{path}: more than {CONFIG_LIMIT} bytes; this is no configuration of the server")
    return parse_config(raw, where=str(path))


def newest_first(bundles: Sequence[ServedBundle]) -> tuple[ServedBundle, ...]:
    """Return bundles that people name in any order, such as by `*.airbundle`, as a server is to have them: by serial.

    Of equal serials the one that is named first stays first.

    Raises:
        UsageError: one isn't there.
        VerificationError: one is damaged.
    """

    def serial(item: ServedBundle) -> int:
        with open_bundle(item.volumes) as bundle:
            return bundle.statement.serial

    return tuple(sorted(bundles, key=serial, reverse=True)) if len(bundles) > 1 else tuple(bundles)
