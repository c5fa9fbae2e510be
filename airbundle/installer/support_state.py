"""What of a state directory goes into a support archive. Files are known by name: one that nobody knows is only listed.

Each is read as it should be and written anew from what was understood; where it is damaged its text goes in, redacted.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airbundle.bundle.redaction import redact_text, redact_value
from airbundle.bundle.serving import CONFIG_LIMIT, parse_config
from airbundle.bundle.trust import TrustState
from airbundle.crypto.certificate import CertificateInfo, describe, load_chain
from airbundle.crypto.keyfile import KEY_FILE_LIMIT
from airbundle.errors import AirbundleError, HostError
from airbundle.installer.ca_files import CaState
from airbundle.installer.embedded import CONFIG
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.support_archive import Archive
from airbundle.store.host import host_errors
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registries import load_registries

_MIB = 1024 * 1024
_DOCUMENT_LIMIT = _MIB
_JOURNAL_LIMIT = 4 * _MIB
_LOGS = {"server.log": 2 * _MIB, "server.log.1": _MIB // 2}
_ACCESS_LIMIT = _MIB
_MOST_FILES = 5000
_CERTIFICATES = ("ca/*.crt", "ca/servers/*.crt", "certs/*.crt", "certs/registry/*.crt")
_MOST_CERTIFICATES = 200
_OPTIONAL = {
    "ca/os-trust.json": "what was put into the trust store of the OS",
    "run/server.json": "the server's process",
    "lock": "who held the lock last",
}
_SECRET_FILES = {
    ".key": "private keys never leave the site",
    ".passphrase": "passphrases never leave the site",
}
_KEPT_BACK = {
    "uploads.json": "addresses of uploads may be signed",
    "bundles": "copies of bundles; their names and sizes are in files.json",
    "bin": "the program; its version is in versions.json",
    "cache": "unpacked native code",
}


def add_documents(archive: Archive, state: StateDirectory) -> None:
    """Add state, trust, journal, configuration, and what the CA's directory says of itself."""
    _document(archive, state, "state.json", "what is installed", _installed)
    _document(archive, state, "trust.json", "trusted public keys, serials seen", _trust)
    _document(archive, state, f"server/{CONFIG}", "how the server runs", _config)
    _document(archive, state, "ca/ca.json", "mode and generation of the CA", _ca)
    for name, what in _OPTIONAL.items():
        if os.path.lexists(state.path(name)):
            _document(archive, state, name, what, json.loads)
    add_journal(archive, "journal.jsonl", "steps begun and done", state.journal)


def add_journal(archive: Archive, name: str, what: str, path: Path) -> None:
    """Add the end of a journal, line by line as it was understood.

    Args:
        archive: gets it.
        name: in the archive.
        what: it is, for people.
        path: of the journal.
    """
    with archive.part(name):
        found = _read_end(path, _JOURNAL_LIMIT)
        if found is None:
            archive.fail(name, "is not there")
            return
        raw, cut = found
        lines, damaged = [], 0
        *whole, torn = _text(raw, begun=cut, ended=True).split("\n")
        for line in whole:
            try:
                lines.append(json.dumps(redact_value(json.loads(line)), sort_keys=True, ensure_ascii=False))
            except (ValueError, RecursionError):
                damaged += 1
                lines.append(redact_text(line))
        if damaged or not lines:
            archive.fail(name, f"{damaged} of {len(lines)} lines do not parse")
        archive.add_text(name, what, "\n".join([*lines, redact_text(torn)]), cut=cut)


def add_logs(archive: Archive, state: StateDirectory) -> None:
    """Add the ends of the server's logs."""
    for name, limit in _LOGS.items():
        with archive.part(f"log/{name}"):
            _log(archive, f"log/{name}", "what the server said", state.path("log", name), limit)
    with archive.part("the access log"):
        raw = _read(state.path("server", CONFIG), CONFIG_LIMIT)
        named = parse_config(raw[0], where=CONFIG).access_log if raw else ""
        if named not in ("", "-"):
            _log(archive, "log/access.log", f"requests; the end of {named}", Path(named), _ACCESS_LIMIT)


def add_certificates(archive: Archive, state: StateDirectory) -> None:
    """Add what certificates say: subjects, names, days; nothing of keys."""
    found: list[dict[str, Any]] = []
    paths = sorted({path for pattern in _CERTIFICATES for path in state.root.glob(pattern)})
    for path in paths[:_MOST_CERTIFICATES]:
        name = path.relative_to(state.root).as_posix()
        with archive.part(name):
            raw = _read(path, KEY_FILE_LIMIT)
            chain = load_chain(raw[0], what=name) if raw else []
            found.append({"file": name, "certificates": [_certificate(describe(each)) for each in chain]})
    if len(paths) > _MOST_CERTIFICATES:
        archive.leave_out(f"{len(paths) - _MOST_CERTIFICATES} more certificates", "too many")
    archive.add_json("certificates.json", "subjects, names and terms of certificates", found)


def add_files(archive: Archive, state: StateDirectory) -> None:
    """Add the list of files in the state directory, and tell which never go in."""
    listed = []
    for number, path in enumerate(_walk(archive, state.root)):
        if number == _MOST_FILES:
            archive.leave_out(f"{state.root}: names of more than {_MOST_FILES} files", "too many")
            break
        listed.append(_listed(path, state.root))
        why = _SECRET_FILES.get(path.suffix)
        if why:
            archive.leave_out(path.relative_to(state.root).as_posix(), why)
    for name, why in _KEPT_BACK.items():
        if os.path.lexists(state.path(name)):
            archive.leave_out(name, why)
    archive.add_json("files.json", "names, modes, owners and sizes in the state directory", listed)


def add_registries(archive: Archive, state: StateDirectory) -> None:
    """Add what `registries.yaml` says, but for credentials."""
    installed = state.read()
    if installed.registries:
        archive.leave_out(installed.registries, "holds credentials; what else it says is in registries.json")
        said = _registries(load_registries(Path(installed.registries)))
        archive.add_json("registries.json", "mirrors and trust of registries, without credentials", said)


def _document(
    archive: Archive, state: StateDirectory, name: str, what: str, understand: Callable[[bytes], object]
) -> None:
    with archive.part(name):
        found = _read(state.path(name), CONFIG_LIMIT if name.endswith(CONFIG) else _DOCUMENT_LIMIT)
        if found is None:
            archive.fail(name, "is not there")
            return
        raw, cut = found
        try:
            archive.add_json(name, what, understand(raw))
        except (AirbundleError, ValueError, RecursionError) as error:
            archive.fail(name, f"does not parse: {error}")
            # Half of a document that is too large can't end in half a line.
            text = _text(raw[:_DOCUMENT_LIMIT], begun=False, ended=len(raw) <= _DOCUMENT_LIMIT and not cut)
            archive.add_text(f"{name}.damaged", f"{what}, as it was found", text, cut=cut)


def _installed(raw: bytes) -> object:
    return json.loads(Installed.parse(raw, where="state.json").to_bytes())


def _trust(raw: bytes) -> object:
    return json.loads(TrustState.from_bytes(raw).to_bytes())


def _config(raw: bytes) -> object:
    return parse_config(raw, where=CONFIG).to_json()


def _ca(raw: bytes) -> object:
    return json.loads(CaState.parse(raw, where="ca.json").to_bytes())


def _log(archive: Archive, name: str, what: str, path: Path, limit: int) -> None:
    found = _read_end(path, limit)
    if found is not None:
        archive.add_text(name, what, _text(found[0], begun=found[1], ended=True), cut=found[1])


def _text(raw: bytes, *, begun: bool, ended: bool) -> str:
    """Return whole lines as text: half a line may be half a secret, which nothing tells to be one.

    Args:
        raw: from a file.
        begun: whether there was something before it.
        ended: whether there is nothing after it.
    """
    if begun:
        raw = raw.partition(b"\n")[2]
    if not ended:
        raw = raw.rpartition(b"\n")[0]
    return raw.decode("utf-8", "replace")


def _read(path: Path, limit: int) -> tuple[bytes, bool] | None:
    """Return the beginning of a file, and whether there is more; None where there is none."""
    return _part_of(path, limit, end=False)


def _read_end(path: Path, limit: int) -> tuple[bytes, bool] | None:
    """Return the end of a file, and whether there is more before it; None where there is none."""
    return _part_of(path, limit, end=True)


def _part_of(path: Path, limit: int, *, end: bool) -> tuple[bytes, bool] | None:
    with host_errors("read", path):
        try:
            # No link leads out of the state directory, and no pipe makes anybody wait.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise HostError(f"{path}: is no regular file")
            stream.seek(max(0, found.st_size - limit) if end else 0)
            return stream.read(limit), found.st_size > limit


def _certificate(info: CertificateInfo) -> dict[str, Any]:
    return {
        "subject": info.subject,
        "issuer": info.issuer,
        "serial": info.serial,
        "fingerprint": info.fingerprint,
        "notBefore": info.not_before.isoformat(),
        "notAfter": info.not_after.isoformat(),
        "daysLeft": info.days_left(),
        "names": list(info.names),
        "isCa": info.is_ca,
        "permitted": info.permitted,
    }


def _walk(archive: Archive, root: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            archive.fail(str(error.filename), f"can't be listed: {error.strerror}")

    for directory, names, files in os.walk(root, onerror=unreadable):
        names.sort()
        if Path(directory) == root:
            names[:] = [name for name in names if name != "cache"]
        for name in sorted([*names, *files]):
            yield Path(directory, name)


def _listed(path: Path, root: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": path.relative_to(root).as_posix()}
    try:
        found = path.lstat()
    except OSError as error:  # it has just gone
        return {**entry, "error": error.strerror}
    time = datetime.fromtimestamp(int(found.st_mtime), timezone.utc)
    return {
        **entry,
        "mode": stat.filemode(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "size": found.st_size,
        "allocated": found.st_blocks * 512,
        "modified": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _registries(registries: Registries) -> dict[str, Any]:
    return {
        "mirrors": {
            host: {
                "endpoints": [f"{url.scheme}://{url.host}{url.path}" for url in mirror.endpoints],
                "rewrites": [[pattern.pattern, to] for pattern, to in mirror.rewrites],
                "default": mirror.default_endpoint,
            }
            for host, mirror in registries.mirrors.items()
        },
        "configs": {
            host: {
                "caFile": config.tls.ca_file if config.tls else "",
                "clientCertificate": bool(config.tls and config.tls.cert_file),
                "skipsVerification": bool(config.tls and config.tls.insecure_skip_verify),
                "logsIn": config.credential is not None,
                "alsoAt": list(config.token_hosts),
            }
            for host, config in registries.configs.items()
        },
    }
