"""The walk through one object, and through what its texts hold: every place where an image can hide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airbundle.errors import UsageError
from airbundle.scan.commands import Variables, read_command
from airbundle.scan.fields import is_switched_off
from airbundle.scan.lines import Group
from airbundle.scan.model import Certainty
from airbundle.scan.names import Says, is_doubtful, says_image, words
from airbundle.scan.pairs import Pair, images_of
from airbundle.scan.podspecs import Container, container_image, containers_in, image_volumes_in
from airbundle.scan.seen import ARROW, Seen, judged
from airbundle.scan.spelling import Spelled, as_image, joined
from airbundle.scan.texts import is_structured, unpack

_DEPTH_LIMIT = 160
_TEXT_DEPTH = 4
_COMMANDS = frozenset({"args", "command", "commands", "cmd", "entrypoint", "arguments"})
_DONE_IN_CONTAINERS = frozenset({"image", "env", "args", "command"})
# Annotations that make an injector run what they name, on the pod that carries them.
_INJECTORS = ("sidecar.istio.io/", "config.linkerd.io/", "vault.hashicorp.com/", "instrumentation.opentelemetry.io/")
_STALE = ("kubectl.kubernetes.io/last-applied-configuration", "artifacthub.io/", "alm-examples", "olm.")


@dataclass(frozen=True)
class Scope:
    """What holds for a part of an object.

    Attributes:
        label: the evidence of what is found there; empty: the field's path.
        off: it belongs to a part that is switched off.
        texts: how many texts it lies within.
        says: what the name above says.
        doubtful: a name above says that images are named there for other reasons than to run.
        hub: registry and tag of all images below, as Istio has them.
    """

    label: str = ""
    off: bool = False
    texts: int = 0
    says: Says = ""
    depth: int = 0
    doubtful: bool = False
    hub: tuple[object, object] | None = None

    def within(self, key: str) -> Scope:
        """Return the scope below a key."""
        own = says_image(key)
        return replace(self, says=own or self.says, depth=self.depth + 1, doubtful=self.doubtful or is_doubtful(key))


class Walk:
    """Collects images of one object; `unreadable` are (path, text) of container images that no kubelet takes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.unreadable: list[tuple[str, str]] = []

    def node(self, value: Any, path: str, scope: Scope, key: str = "") -> None:
        """Search a value of any form."""
        if scope.depth > _DEPTH_LIMIT:
            return
        if isinstance(value, dict):
            self.mapping(value, path, scope)
        elif isinstance(value, list):
            self.items(value, path, scope, key)
        elif isinstance(value, str):
            self.pairs([Pair(key, value, path)], scope)

    def mapping(self, mapping: Mapping[str, Any], path: str, scope: Scope) -> None:
        """Search a mapping: the containers it lists, its fields together, and what is below them."""
        if is_switched_off(mapping):
            scope = replace(scope, off=True)
        scope = replace(scope, hub=_hub(mapping) or scope.hub)
        containers = list(containers_in(mapping))
        for container in containers:
            self.container(container, join(path, container.place), scope)
        done = {id(container.body) for container in containers}
        for index, reference in image_volumes_in(mapping):
            self._run(reference, join(path, f"volumes[{index}].image.reference"), "image volume", scope)
        self.pairs([Pair(key, value, join(path, key)) for key, value in mapping.items()], scope)
        for key, value in mapping.items():
            if key == "metadata" and isinstance(value, dict):
                self.annotations(value.get("annotations"), join(path, "metadata.annotations"), scope)
            elif isinstance(value, dict) and id(value) not in done:
                self.node(value, join(path, key), scope.within(key))
            elif isinstance(value, list):
                rest = [(index, item) for index, item in enumerate(value) if id(item) not in done]
                self.items([item for _, item in rest], join(path, key), scope.within(key), key, [n for n, _ in rest])

    def items(
        self, items: Sequence[Any], path: str, scope: Scope, key: str = "", numbers: Sequence[int] | None = None
    ) -> None:
        """Search a list: arguments, names with values, or anything."""
        numbered = [(f"{path}[{number}]", item) for number, item in zip(numbers or range(len(items)), items)]
        texts = [(where, item) for where, item in numbered if isinstance(item, str)]
        if texts and ((words(key)[-1:] and words(key)[-1] in _COMMANDS) or any(t[:2] == "--" for _, t in texts)):
            self.command(texts, scope)
        else:
            for where, text in texts:
                self.pairs([Pair(key, text, where)], scope)
        named = [(where, item) for where, item in numbered if _is_named_value(item)]
        what = "environment {name}" if "env" in words(key) else "parameter {name}"
        self.pairs([Pair(str(item["name"]), item["value"], f"{where}.value") for where, item in named], scope, what)
        for where, item in numbered:
            if isinstance(item, dict) and not _is_named_value(item):
                self.mapping(item, where, replace(scope, depth=scope.depth + 1))
            elif isinstance(item, list):
                self.items(item, where, replace(scope, depth=scope.depth + 1), key)

    def container(self, container: Container, path: str, scope: Scope) -> None:
        """Search a container: its image, variables and arguments, and the rest of it."""
        body = container.body
        self._run(str(body["image"]), f"{path}.image", container.role, scope)
        variables = self._environment(body.get("env"), f"{path}.env", scope)
        arguments = []
        for key in ("command", "args"):
            given = body.get(key)
            for index, item in enumerate(given if isinstance(given, list) else ()):
                if isinstance(item, str):
                    arguments.append((f"{path}.{key}[{index}]", variables.expanded(item)))
        self.command(arguments, scope)
        rest = {key: value for key, value in body.items() if key not in _DONE_IN_CONTAINERS}
        self.mapping(rest, path, replace(scope, depth=scope.depth + 1))

    def _environment(self, env: Any, path: str, scope: Scope) -> Variables:
        variables = Variables()
        pairs = []
        for index, item in enumerate(env if isinstance(env, list) else ()):
            if _is_named_value(item):
                text = item["value"]
                text = variables.expanded(text) if isinstance(text, str) else text
                variables.add(str(item["name"]), str(text))
                pairs.append(Pair(str(item["name"]), text, f"{path}[{index}].value"))
        self.pairs(pairs, scope, "environment {name}")
        return variables

    def command(self, items: Sequence[tuple[str, str]], scope: Scope) -> None:
        """Search arguments."""
        command = read_command(items)
        self.pairs(command.pairs, scope, "argument {name}")
        self.pairs(command.bare, scope, "argument")
        for path, text in command.scripts:
            self.text(text, path, replace(scope, label=scope.label or "argument"), script=True)

    def pairs(self, pairs: Sequence[Pair], scope: Scope, evidence: str = "") -> None:
        """Search names and values that stand beside each other; texts among the values are taken apart."""
        flat = []
        for pair in pairs:
            if isinstance(pair.value, str) and (is_structured(pair.value) or " --" in pair.value):
                label = scope.label or evidence.format(name=pair.name)
                within = replace(scope, says=says_image(pair.name) or scope.says, label=label)
                self.text(pair.value, pair.path, within, script=not is_structured(pair.value))
            else:
                flat.append(pair)
        for held in images_of(flat, inherited=scope.says, prose=scope.texts > 0):
            name = f"--{held.pair.name}" if evidence.startswith("argument") else held.pair.name
            label = evidence.format(name=name) or scope.label or f"field {held.pair.path}"
            spelled, certainty = held.spelled, held.certainty
            self._add(spelled, certainty, label, held.pair.path, replace(scope, off=scope.off or held.off))
        if scope.hub:
            self._from_hub(flat, scope)

    def _from_hub(self, pairs: Sequence[Pair], scope: Scope) -> None:
        """Put the hub's registry and tag to what is but a word."""
        hub, tag = scope.hub or (None, None)
        for pair in pairs:
            text = pair.value if isinstance(pair.value, str) and says_image(pair.name) == "image" else ""
            if text and "/" not in text and ":" not in text and as_image(text):
                spelled = joined(hub, text, tag)
                if spelled is not None:
                    self._add(spelled, "certain", scope.label or f"field {pair.path}", pair.path, scope)

    def text(self, text: str, path: str, scope: Scope, *, script: bool = False) -> None:
        """Search a text: a file, a script, JSON."""
        if scope.texts >= _TEXT_DEPTH:
            return
        unpacked = unpack(text, script=script)
        inner = replace(scope, texts=scope.texts + 1, label=scope.label or f"field {path}", depth=scope.depth + 1)
        before = len(self.seen)
        for value in unpacked.values:
            self.node(value, path + ARROW, inner)
        for group in unpacked.groups:
            self._group(group, path, inner)
        named_here = {seen.image for seen in self.seen[before:]}
        for spelled in unpacked.free:
            certainty = judged(spelled, scope.says)
            if spelled.image not in named_here and certainty:
                self._add(spelled, certainty, inner.label, path, scope)
        for spelled in unpacked.comments:
            if spelled.image not in named_here:
                self._add(spelled, "decoy", f"comment in {inner.label}", path, scope)

    def _group(self, group: Group, path: str, scope: Scope) -> None:
        off = is_switched_off({pair.name: pair.value for pair in group.pairs}) and group.section != ""
        scope = replace(scope, off=scope.off or off, says=says_image(group.section) or scope.says)
        self.pairs([replace(pair, path=f"{path}{ARROW}{pair.path}") for pair in group.pairs], scope)
        for where, table in group.inline:
            self.mapping(table, f"{path}{ARROW}{where}", scope.within(where.rpartition(".")[2]))

    def annotations(self, annotations: Any, path: str, scope: Scope) -> None:
        """Search annotations: an injector's may be certain, others never; what is stale or only told is a decoy."""
        if not isinstance(annotations, dict):
            return
        found = Walk()
        injected = {key: value for key, value in annotations.items() if key.startswith(_INJECTORS)}
        stale = {key: value for key, value in annotations.items() if key.startswith(_STALE)}
        told = {key: value for key, value in annotations.items() if key not in injected and key not in stale}
        limits: Iterable[tuple[Mapping[str, Any], Certainty]]
        limits = ((injected, "certain"), (told, "likely"), (stale, "decoy"))
        for group, limit in limits:
            found.seen.clear()
            pairs = [Pair(key, value, join(path, key)) for key, value in group.items()]
            found.pairs(pairs, replace(scope, label="", says=""), "annotation {name}")
            self.seen += [seen.at_most(limit) for seen in found.seen]

    def _run(self, text: str, path: str, role: str, scope: Scope) -> None:
        """Add what a kubelet would run."""
        try:
            image = container_image(text)
        except UsageError:
            spelled = as_image(text)
            if spelled is not None:
                self._add(spelled, "likely", f"{role}, in a form that no kubelet takes", path, scope)
            if not scope.texts:
                self.unreadable.append((path, text))
            return
        if image is None:
            return
        certainty: Certainty = "certain"
        judgement = as_image(text)
        if scope.texts and judgement is None:  # a template's words
            return
        if scope.texts and judgement is not None and not judgement.pinned:
            certainty = "likely"
        evidence = f"{scope.label}: {role}" if scope.label else role
        self._add(
            Spelled(image, text.strip(), "full", unmistakable=True, telling=True), certainty, evidence, path, scope
        )

    def _add(self, spelled: Spelled, certainty: Certainty, evidence: str, path: str, scope: Scope) -> None:
        if scope.off and certainty != "decoy":
            certainty, evidence = "decoy", f"{evidence} of a part that is switched off"
        if scope.doubtful and certainty == "certain":
            certainty = "likely"
        self.seen.append(Seen(spelled.image, spelled.written, certainty, evidence, path))


def join(path: str, key: str) -> str:
    """Return the path of a field; a key without a letter is shown as one."""
    key = key or "''"
    return f"{path}.{key}" if path and not path.endswith(ARROW) else path + key


def _is_named_value(item: Any) -> bool:
    """Whether it is `{name: X, value: Y}`: a variable, a parameter."""
    return (
        isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and isinstance(item.get("value"), (str, int, float))
    )


def _hub(mapping: Mapping[str, Any]) -> tuple[object, object] | None:
    """Return the registry and tag of all images below: the mapping's own, else what it holds under `global`."""
    for holder in (mapping, mapping.get("global")):
        if isinstance(holder, dict) and holder.get("hub") and holder.get("tag"):
            return holder["hub"], holder["tag"]
    return None
