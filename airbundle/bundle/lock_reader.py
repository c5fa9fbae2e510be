"""How the bytes of a lock become a `Lock`: every field is checked, and all that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from airbundle.bundle.digest import is_digest
from airbundle.bundle.lock import API_VERSION, LATEST, LOCK_LIMIT, InstallerPart, Lock, LockedRoot
from airbundle.bundle.oci import Descriptor, parse_json
from airbundle.bundle.own_names import OwnName, parse_own_name
from airbundle.errors import DocumentError, Finding, VerificationError

_T = TypeVar("_T")
_NONE: list[Any] = []
_NAMES = ("kind", "ref", "requested", "source", "origin")
_HINT = "bring back an earlier version of it, or delete it and run `airbundle lock`"


def read_lock(raw: bytes, where: str) -> Lock:
    """Read a lock. Raises DocumentError with every finding."""
    try:
        body = parse_json(raw, what=where, limit=LOCK_LIMIT)
    except VerificationError as error:
        raise DocumentError(error.problem, hint=_HINT) from None
    reader = _Reader(where)
    lock = reader.lock(body)
    if reader.foreign:
        raise DocumentError(
            f"{where}: another version of airbundle wrote it",
            hint=f"use that version, or {_HINT}",
            findings=reader.findings,
        )
    if reader.findings or lock is None:
        count = len(reader.findings)
        raise DocumentError(
            f"{where}: {count} {'field is' if count == 1 else 'fields are'} not as a lock has them",
            hint=_HINT,
            findings=reader.findings,
        )
    return lock


class _Reader:
    """Reads fields and collects what is wrong with them.

    Locks of 10,000 images are read: what names a place is put together only where something is wrong.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.findings: list[Finding] = []
        self.foreign = False
        self.within: tuple[str, int] | None = None
        """The list and the number of its entry that is being read."""

    def wrong(self, path: str, found: object, expected: str) -> None:
        inside = f"{self.within[0]}[{self.within[1]}]" if self.within else ""
        place = f"{inside}.{path}" if inside and path else inside or path
        self.findings.append(
            Finding("wrong field", where=f"{self.where} {place}", found=repr(found)[:80], expected=expected)
        )

    def text(self, body: Mapping[str, Any], name: str, above: str = "") -> str:
        value = body.get(name, "")
        if not isinstance(value, str):
            self.wrong(f"{above}{name}", value, "text")
            return ""
        return value

    def texts(self, body: Mapping[str, Any], names: Sequence[str]) -> list[str]:
        found = [body.get(name, "") for name in names]
        if set(map(type, found)) == {str}:
            return found
        return [self.text(body, name) for name in names]

    def items(self, body: Mapping[str, Any], name: str, above: str = "") -> list[Any]:
        value = body.get(name, _NONE)
        if not isinstance(value, list):
            self.wrong(f"{above}{name}", value, "a list")
            return _NONE
        return value

    def mapping(self, value: object, path: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.wrong(path, value, "an object")
            return {}
        return value

    def descriptors(self, body: Mapping[str, Any], name: str) -> tuple[Descriptor, ...]:
        if name not in body:
            return ()
        values = self.items(body, name)
        found = (self.descriptor(value, f"{name}[{number}]") for number, value in enumerate(values))
        return tuple(descriptor for descriptor in found if descriptor is not None)

    def descriptor(self, value: object, path: str) -> Descriptor | None:
        try:
            return Descriptor.from_json(value, what=path)
        except VerificationError as error:
            self.wrong(path, value, error.problem)
            return None

    def root(self, value: object) -> LockedRoot | None:
        body = self.mapping(value, "")
        descriptor = self.descriptor(body.get("descriptor"), "descriptor")
        info = self.mapping(body.get("info", {}), "info")
        if descriptor is None:
            return None
        kind, ref, requested, source, origin = self.texts(body, _NAMES)
        return LockedRoot(
            kind=kind,
            ref=ref,
            requested=requested,
            source=source,
            origin=origin,
            descriptor=descriptor,
            children=self.descriptors(body, "children"),
            platforms=tuple(map(str, self.items(body, "platforms"))) if "platforms" in body else (),
            referrers=self.descriptors(body, "referrers"),
            blobs=self.descriptors(body, "blobs"),
            info={str(key): str(item) for key, item in info.items()},
        )

    def each(self, body: Mapping[str, Any], name: str, read: Callable[[Any], _T], above: str = "") -> list[_T]:
        found = []
        for number, value in enumerate(self.items(body, name, above)):
            self.within = (above + name, number)
            found.append(read(value))
        self.within = None
        return found

    def doubles(self, roots: Sequence[LockedRoot]) -> None:
        seen: set[tuple[str, str]] = set()
        for root in roots:
            if (root.kind, root.ref) in seen:
                self.wrong("roots", f"{root.kind} {root.ref} twice", "each entry once")
            seen.add((root.kind, root.ref))

    def digests(self, body: Mapping[str, Any], name: str) -> dict[str, str]:
        found = self.mapping(body.get(name, {}), name)
        for key, digest in found.items():
            if not is_digest(digest):
                self.wrong(f"{name}.{key}", digest, "a digest")
        return {key: str(digest) for key, digest in found.items()}

    def own_names(self, body: Mapping[str, Any]) -> Iterator[OwnName]:
        for name, value in self.mapping(body.get("site", {}), "site").items():
            made = parse_own_name(name, value)
            if made is None:
                self.wrong(f"site.{name[:80]}", value, "a name with `default` or `example`")
            else:
                yield made

    def part(self, value: object) -> InstallerPart:
        body = self.mapping(value, "")
        digest, size = body.get("digest"), body.get("size")
        if not is_digest(digest) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            self.wrong("", value, "name, digest and size")
            return InstallerPart("", "", 0)
        return InstallerPart(self.text(body, "name"), str(digest), size)

    def lock(self, value: object) -> Lock | None:
        body = self.mapping(value, "document")
        version, kind = body.get("apiVersion"), body.get("kind")
        if version != API_VERSION or kind != "Lock":
            self.wrong("apiVersion, kind", (version, kind), f"{API_VERSION}, Lock")
            self.foreign = kind == "Lock" and version != API_VERSION
            return None
        metadata = self.mapping(body.get("metadata"), "metadata")
        installer = self.mapping(body.get("installer", {}), "installer")
        serial = body.get("serial")
        if not isinstance(serial, int) or isinstance(serial, bool) or not 0 <= serial <= LATEST:
            self.wrong("serial", serial, "seconds since 1970")
            serial = 0
        roots = [root for root in self.each(body, "roots", self.root) if root is not None]
        self.doubles(roots)
        return Lock(
            name=self.text(metadata, "name", "metadata."),
            version=self.text(metadata, "version", "metadata."),
            inventory=self.text(body, "inventory"),
            serial=serial,
            created=self.text(body, "created"),
            expires=self.text(body, "expires"),
            roots=tuple(roots),
            installer_version=self.text(installer, "version", "installer."),
            installer=tuple(self.each(installer, "parts", self.part, "installer.")),
            local=self.digests(body, "local"),
            site=tuple(self.own_names(body)),
        )
