"""The server's configuration, as a file. The document itself is `bundle.serving`, which the installer writes."""

from __future__ import annotations

from pathlib import Path

from airbundle.bundle.serving import CONFIG_LIMIT, ServedBundle, ServerConfig, parse_config
from airbundle.errors import DocumentError

__all__ = ["ServedBundle", "ServerConfig", "read_config"]


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
