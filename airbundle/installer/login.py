"""The login at an external registry that a site file has (`registry.auth`): read from there when it is needed.

A password that stands in the site file itself is kept with the copy of that file which each deployment has.
"""

from __future__ import annotations

from pathlib import Path

from airbundle.crypto.keyfile import read_private_file
from airbundle.errors import UsageError
from airbundle.store.site_dir import open_site
from airbundle.transfer.credentials import Credential


def read_login(site_file: Path) -> Credential | None:
    """Return what a site file says of `registry.auth`; None where it says nothing.

    A file with a password that others may read is told, as key files are.

    Args:
        site_file: its path; that of a password file starts from its directory.

    Raises:
        UsageError: the site file, or the password file that it names, is not there, or the password is empty.
        DocumentError: the site file does not parse.
        NoPermission: one may not be read.
    """
    if not site_file.is_file():
        raise UsageError(
            f"{site_file}: there is no such site file, and it says how to log in at the registry",
            hint="put it back, or install again with --site and the file where it is now",
        )
    site = open_site(site_file)
    auth = site.site.registry.auth
    if auth is None:
        return None
    if not auth.password_file:
        read_private_file(site_file)
        return Credential(auth.username, auth.password, source=str(site_file))
    file = site.root / auth.password_file
    password = _first_line(read_private_file(file))
    if not password:
        raise UsageError(
            f"{file}: its first line is no password", hint=f"{site.site.where} names it as registry.auth.passwordFile"
        )
    return Credential(auth.username, password, source=str(file))


def _first_line(raw: bytes) -> str:
    """Return the first line as text; nothing where it is none, which is not shown."""
    try:
        text = raw.split(b"\n", 1)[0].removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
