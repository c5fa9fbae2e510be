"""What a render sets of an image: the whole, or parts that are laid over an operator's default."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airbundle.scan.knowledge import Part, Setter

_NAMING: tuple[Part, ...] = ("repository", "tag")


class SetParts:
    """What the render says of an image: the whole, or parts of it; the first setter with something to say wins."""

    def __init__(self, setters: Sequence[Setter], said: Callable[[Setter], list[str]]) -> None:
        self._parts: dict[Part, list[str]] = {}
        named: dict[Part, str] = {}
        for setter in setters:
            values = [] if setter.part in self._parts else said(setter)
            if values:
                self._parts[setter.part] = values
                named[setter.part] = str(setter)
        self.by = named.get("image") or ", ".join(named.values())
        # What already has a tag stands for the whole; so do the operators of Prometheus and Grafana see it.
        wholes: tuple[Part, ...] = tuple(part for part in _NAMING if _is_whole(self._first(part), part))
        if "image" not in self._parts and wholes:
            self._parts["image"] = self._parts[wholes[0]]
            self.by = named[wholes[0]]

    @property
    def whole(self) -> list[str]:
        """Whole images; none where only parts are set."""
        return self._parts.get("image", [])

    def laid_over(self, default: str) -> str:
        """Return the default image with the parts that are set in place of its own; empty when nothing says a tag."""
        repository, colon, tag = default.rpartition(":")
        if not colon or "/" in tag:
            repository, tag = default, ""
        repository = self._first("repository") or repository
        if self._first("registry"):
            repository = f"{self._first('registry').rstrip('/')}/{_path_of(repository)}"
        sha = self._first("sha")
        if sha:
            return f"{repository}@sha256:{sha.split(':')[-1]}"
        tag = self._first("tag") or tag
        return f"{repository}:{tag}" if tag else ""

    def _first(self, part: Part) -> str:
        return next(iter(self._parts.get(part, [])), "")


def _path_of(repository: str) -> str:
    host, slash, path = repository.partition("/")
    return path if slash and ("." in host or ":" in host) else repository


def _is_whole(text: str, part: Part) -> bool:
    if part == "tag":
        return any(mark in text for mark in ":/@")
    return "@" in text or ":" in text.rsplit("/", 1)[-1]
