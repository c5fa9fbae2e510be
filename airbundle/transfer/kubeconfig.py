"""Kubeconfig files, as kubectl reads them: which cluster a context means, and how to be somebody there.

`KUBECONFIG` may name several files, of which the first to say something counts; else `~/.kube/config`; where that is
not there, k3s's own file. What is not supported is refused by its name. Nothing of a file's content gets into errors.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airbundle.bundle.yamldoc import load
from airbundle.errors import DocumentError, HostError, UsageError
from airbundle.transfer.wire import BadUrl, Url

K3S_KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")
FILE_LIMIT = 1 << 20
_UNSUPPORTED = {
    "cluster": ("proxy-url", "tls-server-name"),
    "user": ("auth-provider", "username", "as", "as-uid", "as-groups", "as-user-extra"),
}
_ADVICE = "write a kubeconfig with a token or a client certificate, say by `kubectl create token`"


@dataclass(frozen=True)
class Plugin:
    """A program that gives credentials (`users[].user.exec`).

    Attributes:
        command: program and arguments.
        environ: what its environment has besides ours.
        api_version: of the answer that is expected.
        with_cluster: tell it which cluster it is for.
    """

    command: tuple[str, ...] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    api_version: str
    with_cluster: bool = False
    install_hint: str = ""


@dataclass(frozen=True)
class ClusterAccess:
    """Where a cluster's API is, and how to get in.

    Attributes:
        context: the context's name.
        namespace: that it names; empty where it names none.
        ca: PEM of the CAs that may vouch for the server; empty for those of the system.
        certificate, key: PEM of a client certificate; empty without one.
        token: a bearer token; empty without one.
        plugin: gives one of both.
    """

    context: str
    server: Url
    namespace: str = ""
    ca: bytes = field(default=b"", repr=False)
    insecure: bool = False
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    plugin: Plugin | None = None


def load_kubeconfig(
    path: Path | None = None, context: str = "", *, environ: Mapping[str, str] | None = None
) -> ClusterAccess:
    """Return how a cluster is reached.

    Args:
        path: of the one file to read; by default as kubectl finds them.
        context: by default the current one.
        environ: by default that of the process.

    Raises:
        UsageError: there is no such file or context, or it needs what is not supported.
        DocumentError: a file is no kubeconfig.
        HostError: a file can't be read.
    """
    merged = _Merged()
    for name in _paths(path, os.environ if environ is None else environ):
        merged.add(name, _read(name))
    return merged.access(context)


def _paths(path: Path | None, environ: Mapping[str, str]) -> Sequence[Path]:
    named = [path] if path else [Path(name) for name in environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    home = [Path(environ["HOME"]) / ".kube" / "config"] if environ.get("HOME", "").startswith("/") else []
    found = [name for name in named or [*home, K3S_KUBECONFIG] if name.exists()]
    if not found:
        places = ", ".join(map(str, named or [*home, K3S_KUBECONFIG]))
        raise UsageError(f"no kubeconfig: none of {places} is there", hint="name one with --kubeconfig FILE")
    return found if named else found[:1]


def _read(path: Path) -> Mapping[str, Any]:
    raw = _file(path, "kubeconfig")
    document = load(raw, where=str(path))
    if document.findings:
        raise DocumentError(f"{path} is no good kubeconfig", findings=document.findings)
    body = document.root.plain()
    if not isinstance(body, dict) or body.get("kind", "Config") != "Config":
        raise DocumentError(f"{path} is no kubeconfig", hint="expected a mapping with `kind: Config`")
    return body


def _file(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise HostError(f"{what} {path}: {error.strerror}", hint="run as a user who may read it") from None
    if len(data) > FILE_LIMIT:
        raise UsageError(f"{what} {path}: more than the {FILE_LIMIT} bytes allowed")
    return data


class _Merged:
    """Several files as one: of each name, and of the current context, the first counts."""

    def __init__(self) -> None:
        self.current = ""
        self.where = ""
        self._entries: dict[tuple[str, str], _Entry] = {}

    def add(self, path: Path, body: Mapping[str, Any]) -> None:
        self.where += f"{os.pathsep if self.where else ''}{path}"
        self.current = self.current or _text(body, "current-context", str(path))
        for kind in ("context", "cluster", "user"):
            listed = body.get(f"{kind}s")
            for item in listed if isinstance(listed, list) else ():
                name = item.get("name") if isinstance(item, dict) else None
                value = item.get(kind) if isinstance(item, dict) else None
                if isinstance(name, str) and isinstance(value, dict):
                    self._entries.setdefault((kind, name), _Entry(path, f"{kind} {name!r}", value))

    def access(self, name: str) -> ClusterAccess:
        name = name or self.current
        if not name:
            raise UsageError(f"{self.where}: no current context", hint=f"name one with --context: {self._contexts()}")
        context = self._entry("context", name, f"it has {self._contexts()}")
        cluster = self._entry("cluster", context.text("cluster"), f"context {name!r} names it")
        user = _Entry(context.path, "no user", {})
        if context.text("user"):
            user = self._entry("user", context.text("user"), f"context {name!r} names it")
        for kind, entry in (("cluster", cluster), ("user", user)):
            entry.refuse(_UNSUPPORTED[kind])
        token = user.file("tokenFile").decode("latin-1").strip() or user.text("token")
        if not token.isprintable() or not token.isascii():
            raise UsageError(f"{user}: its token holds what no header may")
        return ClusterAccess(
            context=name,
            server=cluster.server(),
            namespace=context.text("namespace"),
            ca=cluster.data("certificate-authority"),
            insecure=cluster.value.get("insecure-skip-tls-verify") is True,
            certificate=user.data("client-certificate"),
            key=user.data("client-key"),
            token=token,
            plugin=user.plugin(),
        )

    def _contexts(self) -> str:
        return ", ".join(name for kind, name in self._entries if kind == "context")[:500] or "no contexts"

    def _entry(self, kind: str, name: str, hint: str) -> _Entry:
        try:
            return self._entries[kind, name]
        except KeyError:
            raise UsageError(f"{self.where}: there is no {kind} {name!r}", hint=hint) from None


@dataclass(frozen=True)
class _Entry:
    """A context, cluster or user, and the file that it is from."""

    path: Path
    name: str
    value: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

    def text(self, key: str) -> str:
        return _text(self.value, key, str(self))

    def server(self) -> Url:
        try:
            return Url.parse(self.text("server"))
        except BadUrl as error:
            raise UsageError(f"{self}: its server is no URL to use: {error}") from None

    def data(self, key: str) -> bytes:
        """Return PEM that stands there in base64 (`KEY-data`, which counts), or in a file."""
        inline = self.text(f"{key}-data")
        if not inline:
            return self.file(key)
        try:
            return base64.b64decode("".join(inline.split()), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(f"{self}: {key}-data is not base64") from None

    def file(self, key: str) -> bytes:
        name = self.text(key)
        return _file(self.path.parent / name, f"{self}: {key}") if name else b""

    def refuse(self, keys: Sequence[str]) -> None:
        for key in keys:
            if self.value.get(key):
                raise UsageError(f"{self}: {key} is not supported", hint=_ADVICE)

    def plugin(self) -> Plugin | None:
        body = self.value.get("exec")
        if body is None:
            return None
        inner = _Entry(self.path, f"{self.name}: exec", body if isinstance(body, dict) else {})
        command, arguments = inner.text("command"), inner.value.get("args") or []
        variables = inner.value.get("env") or []
        whole = isinstance(arguments, list) and all(isinstance(argument, str) for argument in arguments)
        if not command or not whole or not isinstance(variables, list):
            raise UsageError(f"{inner}: expected a command, args and env")
        if inner.text("interactiveMode") == "Always":
            raise UsageError(f"{inner}: {command} wants to ask questions, which is not supported", hint=_ADVICE)
        if os.sep in command:
            command = str(self.path.parent / command)
        return Plugin(
            (command, *arguments),
            {_text(each, "name", str(inner)): _text(each, "value", str(inner)) for each in map(_mapping, variables)},
            inner.text("apiVersion"),
            inner.value.get("provideClusterInfo") is True,
            inner.text("installHint"),
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(body: Mapping[str, Any], key: str, where: str) -> str:
    value = body.get(key)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise UsageError(f"{where}: {key} is no text")
    return value or ""
