"""Reading `registries.yaml`, in the form of k3s and RKE2: every finding at once, with line and field.

What k3s ignores silently is an error here: an endpoint without scheme, a key with one, an unknown field. Two fields
are ours: `configs.<host>.token_hosts` and `mirrors.<host>.default_endpoint` (docs/registries.md).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from airbundle.bundle.yamldoc import Node, load
from airbundle.errors import DocumentError, Finding
from airbundle.transfer.credentials import Credential, decode_auth
from airbundle.transfer.hosts import WILDCARD, HostConfig, Mirror, Registries
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import BadUrl, Url

__all__ = ["Registries", "default_path", "load_registries", "parse_registries"]

T = TypeVar("T")

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HOST_EXPECTED = "host or host:port, as in image names, or '*'"


def default_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return `$XDG_CONFIG_HOME/airbundle/registries.yaml`."""
    env = os.environ if environ is None else environ
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "airbundle" / "registries.yaml"


def load_registries(path: Path | None = None) -> Registries:
    """Read a `registries.yaml`.

    Args:
        path: the file; None for the one in the user's configuration, which need not exist.

    Raises:
        DocumentError: the file is missing, or something in it is wrong; all findings are listed.
    """
    file = path or default_path()
    try:
        raw = file.read_bytes()
    except OSError as error:
        if path is None and isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return Registries()
        raise DocumentError(f"{file}: {error.strerror}", hint="see --registries") from None
    return parse_registries(raw, where=str(file), base=file.parent)


def parse_registries(raw: bytes, *, where: str, base: Path) -> Registries:
    """Parse a `registries.yaml`.

    Args:
        raw: its bytes.
        where: its name, for errors.
        base: directory that relative file names in it start from.

    Raises:
        DocumentError: something is wrong; all findings are listed.
    """
    if not raw.strip():
        return Registries()
    document = load(raw, where=where)
    reader = _Reader(where, base, list(document.findings))
    registries = reader.document(document.root)
    if reader.findings:
        raise DocumentError(
            f"{where}: {len(reader.findings)} finding{'s' * (len(reader.findings) > 1)}",
            hint="the form is that of k3s, see docs/registries.md",
            findings=reader.findings,
        )
    return registries


class _Reader:
    """Turns nodes into values and collects what is wrong with them."""

    def __init__(self, where: str, base: Path, findings: list[Finding]) -> None:
        self.where = where
        self.base = base
        self.findings = findings

    def wrong(self, line: int, path: str, message: str, *, found: str = "", expected: str = "", hint: str = "") -> None:
        self.findings.append(
            Finding(message, where=f"{self.where}:{line} {path}", found=found, expected=expected, hint=hint)
        )

    def fields(self, node: Node, path: str, known: Collection[str]) -> Mapping[str, Node]:
        """Return the entries of a mapping with `known` names; others are findings."""
        if node.is_null:
            return {}
        if node.kind != "mapping":
            self.wrong(node.line, path, "wrong kind of value", found=node.describe(), expected="a mapping")
            return {}
        for name in node.entries:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                self.wrong(
                    node.key_lines[name],
                    f"{path}.{name}".lstrip("."),
                    "unknown field",
                    expected=", ".join(sorted(known)),
                    hint=f"did you mean {near[0]}?" if near else "",
                )
        return {name: value for name, value in node.entries.items() if name in known}

    def by_host(self, node: Node | None, path: str, read: Callable[[Node, str], T]) -> dict[str, T]:
        """Read a mapping of hosts."""
        found: dict[str, T] = {}
        if node is None or node.is_null:
            return found
        if node.kind != "mapping":
            self.wrong(node.line, path, "wrong kind of value", found=node.describe(), expected="a mapping of hosts")
            return found
        for name, value in node.entries.items():
            place = f"{path}.{name}"
            if name != WILDCARD and not _HOST.fullmatch(name):
                hint = "the scheme belongs into `endpoint`" if "://" in name else ""
                self.wrong(
                    node.key_lines[name],
                    place,
                    "this is no registry host",
                    found=repr(name),
                    expected=_HOST_EXPECTED,
                    hint=hint,
                )
                continue
            found[name.lower()] = read(value, place)
        return found

    def text(self, node: Node | None, path: str) -> str:
        if node is None or node.is_null:
            return ""
        if node.kind != "scalar" or isinstance(node.value, bool):
            # What stands here may be a secret: only its kind is told.
            self.wrong(node.line, path, "wrong kind of value", expected="text, in quotes if need be")
            return ""
        return str(node.value)

    def flag(self, node: Node | None, path: str, default: bool) -> bool:
        if node is None or node.is_null:
            return default
        if node.kind != "scalar" or not isinstance(node.value, bool):
            self.wrong(node.line, path, "wrong kind of value", found=node.describe(), expected="true or false")
            return default
        return node.value

    def items(self, node: Node | None, path: str) -> list[tuple[str, int, str]]:
        """Return text, line and path of each item of a list of texts."""
        if node is None or node.is_null:
            return []
        if node.kind != "list":
            self.wrong(node.line, path, "wrong kind of value", found=node.describe(), expected="a list")
            return []
        named = [(item, f"{path}[{i}]") for i, item in enumerate(node.items)]
        return [(self.text(item, place), item.line, place) for item, place in named]

    def document(self, root: Node) -> Registries:
        fields = self.fields(root, "", ("mirrors", "configs"))
        mirrors = self.by_host(fields.get("mirrors"), "mirrors", self.mirror)
        return Registries(mirrors, self.by_host(fields.get("configs"), "configs", self.config))

    def mirror(self, node: Node, path: str) -> Mirror:
        fields = self.fields(node, path, ("endpoint", "rewrite", "default_endpoint"))
        found = [self.endpoint(*item) for item in self.items(fields.get("endpoint"), f"{path}.endpoint")]
        return Mirror(
            tuple(url for url in found if url is not None),
            self.rewrites(fields.get("rewrite"), f"{path}.rewrite"),
            self.flag(fields.get("default_endpoint"), f"{path}.default_endpoint", True),
        )

    def endpoint(self, text: str, line: int, path: str) -> Url | None:
        try:
            url = Url.parse(text)
        except BadUrl as error:
            shown = repr(text) if "@" not in text else "a URL with credentials"
            hint = (
                "credentials belong into configs.<host>.auth"
                if "@" in text
                else "k3s ignores such an entry without a word"
            )
            self.wrong(line, path, str(error), found=shown, expected="https://host[:port][/path]", hint=hint)
            return None
        if "?" in url.target:
            self.wrong(line, path, "an endpoint has no query", found=repr(text))
        return url

    def rewrites(self, node: Node | None, path: str) -> tuple[tuple[re.Pattern[str], str], ...]:
        if node is None or node.is_null:
            return ()
        if node.kind != "mapping":
            self.wrong(
                node.line,
                path,
                "wrong kind of value",
                found=node.describe(),
                expected='a mapping such as "^(.*)$": "prefix/$1"',
            )
            return ()
        found = []
        for pattern, value in node.entries.items():
            try:
                found.append((re.compile(pattern), self.text(value, f"{path}.{pattern}")))
            except (re.error, OverflowError, RecursionError) as error:
                self.wrong(node.key_lines[pattern], path, f"not a regular expression: {error}", found=repr(pattern))
        return tuple(found)

    def config(self, node: Node, path: str) -> HostConfig:
        fields = self.fields(node, path, ("auth", "tls", "token_hosts"))
        hosts = []
        for text, line, place in self.items(fields.get("token_hosts"), f"{path}.token_hosts"):
            if _HOST.fullmatch(text):
                hosts.append(text.lower())
            else:
                self.wrong(
                    line, place, "this is no host", found=repr(text), expected="host or host:port of a token server"
                )
        return HostConfig(
            self.tls(fields.get("tls"), f"{path}.tls"), self.auth(fields.get("auth"), f"{path}.auth"), tuple(hosts)
        )

    def tls(self, node: Node | None, path: str) -> TlsSettings | None:
        if node is None:
            return None
        fields = self.fields(node, path, ("ca_file", "cert_file", "key_file", "insecure_skip_verify"))
        files = {name: self.file(fields.get(name), f"{path}.{name}") for name in ("ca_file", "cert_file", "key_file")}
        if files["key_file"] and not files["cert_file"]:
            self.wrong(node.line, path, "a key_file without a cert_file", expected="both, or neither")
        skip = self.flag(fields.get("insecure_skip_verify"), f"{path}.insecure_skip_verify", False)
        return TlsSettings(files["ca_file"], files["cert_file"], files["key_file"], skip)

    def file(self, node: Node | None, path: str) -> str:
        text = self.text(node, path)
        if not text or node is None:
            return ""
        file = self.base / text
        if not file.is_file():
            self.wrong(node.line, path, "there is no such file", found=str(file))
        return str(file)

    def auth(self, node: Node | None, path: str) -> Credential | None:
        if node is None or node.is_null:
            return None
        if node.kind == "scalar":
            # As in `text`: it may be the secret itself.
            self.wrong(node.line, path, "wrong kind of value", expected="a mapping: username and password")
            return None
        fields = self.fields(node, path, ("username", "password", "auth", "identity_token", "identitytoken"))
        texts = {name: self.text(value, f"{path}.{name}") for name, value in fields.items()}
        username, password = texts.get("username", ""), texts.get("password", "")
        if texts.get("auth"):
            pair = decode_auth(texts["auth"])
            if pair is None:
                self.wrong(fields["auth"].line, f"{path}.auth", "not base64 of user:password")
            else:
                username, password = pair
        token = texts.get("identity_token") or texts.get("identitytoken", "")
        if not (username and password) and not token:
            self.wrong(
                node.line, path, "no complete credentials", expected="username and password, auth, or identity_token"
            )
        return Credential(username, password, token, source=self.where)
