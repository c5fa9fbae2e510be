"""Releases: what of a bundle gets deployed at the site, how, and after what (design §8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from airbundle.bundle.fields import Field, Flag, ListOf, Record, Text
from airbundle.bundle.reading import Reading, Values
from airbundle.bundle.release_checks import CHECK, Check, read_check
from airbundle.bundle.terms import DURATION, INSIDE_PATH, dns_label, normal_path, one_of
from airbundle.bundle.yamldoc import Node

RELEASE_NAME = Text(
    "a release's name: lower-case letters, digits, '-' and '.', at most 53, such as cert-manager",
    r"[a-z0-9](?:[a-z0-9.-]{0,51}[a-z0-9])?",
    limit=53,
)
RELEASE = Record(
    "a release",
    {
        "name": Field(RELEASE_NAME, "The release's name in the cluster", required=True),
        "namespace": Field(dns_label("a namespace"), "The namespace it is deployed into"),
        "values": Field(ListOf(INSIDE_PATH), "Values files below the inventory, later ones win"),
        "needs": Field(ListOf(RELEASE_NAME, unique=True), "Releases that must be well before this one begins"),
        "timeout": Field(DURATION, "How long it may take to become well; 5m by default"),
        "rollback": Field(one_of("ask", "auto", "never"), "What happens when it fails; ask by default"),
        "before": Field(ListOf(INSIDE_PATH), "Manifests, such as a backup job, that are run before it changes"),
        "restore": Field(
            ListOf(INSIDE_PATH), "Manifests, such as a restore job, that are run after it was rolled back"
        ),
        "checks": Field(ListOf(CHECK), "What must hold once it is deployed"),
        "test": Field(
            Flag(), "Whether the chart's own tests are run (helm test) once it is deployed; false by default"
        ),
        "images": Field(
            one_of("pin", "keep-names"),
            "pin: images are deployed as name:tag@digest at the private registry; keep-names: as the chart has them",
        ),
        "enabled": Field(Flag(), "Whether it is deployed when the site says nothing; true by default"),
    },
)


@dataclass(frozen=True)
class Release:
    """A release of a chart or of manifests. Durations are text such as `10m`; paths are relative to the inventory."""

    name: str
    namespace: str = ""
    values: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    timeout: str = "5m"
    rollback: str = "ask"
    before: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    test: bool = False
    images: str = "pin"
    enabled: bool = True
    where: str = field(default="", compare=False)
    need_places: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """Local files it names."""
        return self.values + self.before + self.restore

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock. Later fields are left out at their defaults: locks from before stay good."""
        body = asdict(self)
        del body["where"], body["need_places"]
        body["checks"] = tuple(check.meaning() for check in self.checks)
        later = {"restore": (), "test": False, "images": "pin"}
        return {name: value for name, value in body.items() if name not in later or value != later[name]}


def read_release(values: Values | None) -> Release | None:
    """Turn a read record into a release."""
    if values is None:
        return None
    needs = values.texts("needs")
    return Release(
        name=values.text("name"),
        namespace=values.text("namespace"),
        values=tuple(map(normal_path, values.texts("values"))),
        needs=needs,
        timeout=values.text("timeout", "5m"),
        rollback=values.text("rollback", "ask"),
        before=tuple(map(normal_path, values.texts("before"))),
        restore=tuple(map(normal_path, values.texts("restore"))),
        checks=tuple(map(read_check, values.records("checks"))),
        test=values.flag("test", False),
        images=values.text("images", "pin"),
        enabled=values.flag("enabled", True),
        where=values.where,
        need_places=tuple(values.place(f"needs[{number}]") for number in range(len(needs))),
    )


def check_releases(releases: Sequence[Release], reading: Reading) -> None:
    """Report releases of one name, needs that nothing meets, and circles.

    Releases whose entry is malformed elsewhere still count as there: one mistake gives one finding.
    """
    by_name: dict[str, Release] = {}
    for release in releases:
        first = by_name.setdefault(release.name, release)
        if first is not release:
            reading.wrong(f"the release {release.name!r} stands twice", release.where, found=f"also at {first.where}")
    there = set(by_name) | _written_names(reading.root)
    for release in releases:
        for need, place in zip(release.needs, release.need_places):
            if need not in there:
                known = ", ".join(sorted(there))
                reading.wrong(f"needs the release {need!r}, which isn't there", place, expected=f"one of {known}")
    circle = find_circle({name: release.needs for name, release in by_name.items()})
    if circle:
        where = by_name[circle[0]].where
        reading.wrong("releases need each other in a circle", where, found=" → ".join([*circle, circle[0]]))


def _written_names(root: Node) -> set[str]:
    entries = [entry for name in ("charts", "manifests") if name in root.entries for entry in root.entries[name].items]
    releases = [entry.entries["release"] for entry in entries if "release" in entry.entries]
    names = [release.entries["name"].value for release in releases if "name" in release.entries]
    return {name for name in names if isinstance(name, str)}


def find_circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of one circle in a graph of needs, or an empty list."""
    done: set[str] = set()
    for start in needs:
        if start in done:
            continue
        path = [start]
        left = [iter(needs[start])]
        while left:
            following = next(left[-1], None)
            if following is None:
                left.pop()
                done.add(path.pop())
            elif following in path:
                return path[path.index(following) :]
            elif following in needs and following not in done:
                path.append(following)
                left.append(iter(needs[following]))
    return []
