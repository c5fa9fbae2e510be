"""The site's zones in CoreDNS's configuration, put in and taken out; all else stays byte for byte. Pure.

kubeadm's form: blocks of our own at the end of the Corefile, between marks; where the site has forwarders, the line
`forward . …` of the block for all names is replaced, and what stood there is kept in comments. k3s's form: blocks of
our own, as a key `*.server` of the ConfigMap `coredns-custom`.

A zone is served by the plugin `template`, which needs no file beside the Corefile: a rule for each name, the deepest
names first, as RFC 4592 has it (deploy.zone).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from airbundle.deploy.corefile_text import Block, Directive, blocks_of, root_of
from airbundle.deploy.zone import TTL, Zone, alias, records, soa
from airbundle.errors import SiteError

_OWNER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TARGET = re.compile(r"[0-9a-zA-Z.:\[\]-]{1,253}")
_WAS = "#airbundle was:"
_ADDED = ", after a line end of ours"
_FORWARDS = re.compile(rf"# airbundle begin ({_OWNER.pattern}) forward")
_MARK = re.compile(rf"# airbundle (begin|end) ({_OWNER.pattern}) (?:zones|forward)(?:{_ADDED})?")


def server_blocks(zones: Sequence[Zone], port: int = 53) -> str:
    """Return server blocks for zones: what a key `*.server` of k3s's `coredns-custom` holds."""
    return "".join("\n".join(_block(zone, port)) + "\n" for zone in zones)


def with_zones(corefile: str, owner: str, zones: Sequence[Zone], forward: Sequence[str] = ()) -> str:
    """Return a Corefile with zones and forwarders, instead of those that it had of the same owner.

    Args:
        corefile: the whole text.
        owner: the site's name, which stands in the marks.
        zones: none, for forwarders alone.
        forward: resolvers for all other names; none: as the Corefile has it.

    Raises:
        SiteError: it does not parse, somebody else serves such a zone, or it has forwarders that can't be replaced.
    """
    text = without_zones(corefile, owner)
    blocks = blocks_of(text)
    root, port = root_of(blocks)
    for zone in zones:
        _check_free(zone, blocks)
    if forward:
        text = _with_forward(text, owner, root, forward)
    if not zones:
        return text
    gap = "" if text.endswith("\n") else "\n"
    begin, end = _marks(owner, "zones")
    return f"{text}{gap}{begin}{_ADDED if gap else ''}\n{server_blocks(zones, port)}{end}\n"


def without_zones(corefile: str, owner: str) -> str:
    """Return a Corefile without what `with_zones` put in for an owner: byte for byte as it was.

    Raises:
        SiteError: somebody took away one mark of two.
    """
    return _without(_without(corefile, owner, "zones"), owner, "forward")


def owners_of(corefile: str) -> set[str]:
    """Return the owners of parts that a Corefile has: names of sites."""
    found = (_MARK.fullmatch(line.strip()) for line in _lines(corefile))
    return {match[2] for match in found if match}


def with_owner(corefile: str, owner: str, heir: str) -> str:
    """Return a Corefile in which what belongs to one owner belongs to another; all else stays byte for byte."""
    if not _OWNER.fullmatch(heir):
        raise ValueError(f"owner {heir!r}")

    def marked(line: str) -> str:
        match = _MARK.fullmatch(line.strip())
        if not match or match[2] != owner:
            return line
        return line.replace(f"# airbundle {match[1]} {owner} ", f"# airbundle {match[1]} {heir} ", 1)

    return "".join(map(marked, _lines(corefile)))


def _marks(owner: str, part: str) -> tuple[str, str]:
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"owner {owner!r}")
    return f"# airbundle begin {owner} {part}", f"# airbundle end {owner} {part}"


def _without(text: str, owner: str, part: str) -> str:
    begin, end = _marks(owner, part)
    lines = _lines(text)
    starts = [number for number, line in enumerate(lines) if line.strip() in (begin, begin + _ADDED)]
    ends = [number for number, line in enumerate(lines) if line.strip() == end]
    if not starts and not ends:
        return text
    if len(starts) != 1 or len(ends) != 1 or starts[0] > ends[0]:
        raise SiteError(
            f"the Corefile of CoreDNS: found {len(starts)} lines `{begin}` and {len(ends)} `{end}`; expected one each",
            outcome="unchanged",
            hint="take out what is left of airbundle's part by hand, then run this again",
        )
    before, kept = lines[: starts[0]], [_unmarked(line) for line in lines[starts[0] : ends[0]] if _WAS in line]
    if lines[starts[0]].strip().endswith(_ADDED) and before:
        before[-1] = before[-1][:-1]
    return "".join([*before, *kept, *lines[ends[0] + 1 :]])


def _lines(text: str) -> list[str]:
    """Return lines with their ends; nothing else than a line feed ends one for CoreDNS."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _unmarked(line: str) -> str:
    return line.partition(_WAS)[2]


def _with_forward(text: str, owner: str, root: Block, forward: Sequence[str]) -> str:
    for target in forward:
        if not _TARGET.fullmatch(target):
            raise ValueError(f"forward {target!r}")
    others = [match[1] for match in map(_FORWARDS.fullmatch, map(str.strip, _lines(text))) if match]
    if others:
        raise SiteError(
            f"the Corefile of CoreDNS has forwarders of the site {others[0]}",
            outcome="unchanged",
            hint="they hold for all of the cluster: leave `dns.forward` out of this site file",
        )
    there = [each for each in root.directives if each.words[:2] == ("forward", ".")]
    if len(there) > 1:
        raise SiteError(
            "the Corefile of CoreDNS forwards all names twice",
            outcome="unchanged",
            hint="leave one `forward .` in it, or leave `dns.forward` out of the site file",
        )
    begin, end = _marks(owner, "forward")
    place = there[0] if there else Directive((), root.close, root.close)
    was = "".join(_WAS + line for line in _lines(text[place.start : place.end]))
    ours = f"    {begin}\n    forward . {' '.join(forward)}\n{was}    {end}\n"
    return text[: place.start] + ours + text[place.end :]


def _check_free(zone: Zone, blocks: Sequence[Block]) -> None:
    for block in blocks:
        if any(name == zone.name for name, _ in block.zones()):
            raise SiteError(
                f"the Corefile of CoreDNS has a block for {zone.name} already, which is not airbundle's",
                outcome="unchanged",
                hint="take it out, or name another zone in the site file",
            )
        for directive in block.directives:
            own = [word.lower().rstrip(".") for word in directive.words[1:] if directive.words[0] == "kubernetes"]
            swallowed = [name for name in own if name == zone.name or name.endswith(f".{zone.name}")]
            if swallowed:
                raise SiteError(
                    f"the zone {zone.name} would hide the cluster's own names, {', '.join(swallowed)!s:.200}",
                    outcome="unchanged",
                    hint="name another zone in the site file",
                )


def _block(zone: Zone, port: int) -> Iterator[str]:
    yield f"{zone.name}:{port} {{"
    yield "    errors"
    yield "    cache 30"
    for name in sorted(zone.records):
        if not name.startswith("*."):
            yield from _answers(zone, name, _escaped(name))
    existing = sorted(zone.existing, key=lambda name: (-name.count("."), name))
    for name in existing:
        if name not in zone.records:
            yield from _rule(zone, "ANY", _escaped(name), [], "NOERROR")
    for name in existing:
        below = rf".+[.]{_escaped(name)}"
        if f"*.{name}" in zone.records:
            yield from _answers(zone, f"*.{name}", below)
        else:
            yield from _rule(zone, "ANY", below, [], "NXDOMAIN")
    yield "}"


def _answers(zone: Zone, name: str, pattern: str) -> Iterator[str]:
    """Yield the rules for a name: its answers, and that it has nothing else."""
    found = list(records(zone, name))
    if alias(zone.records[name]):
        yield from _rule(zone, "ANY", pattern, found, "")
        return
    for kind in ("A", "AAAA"):
        answers = [record for record in found if record[0] == kind]
        if answers:
            yield from _rule(zone, kind, pattern, answers, "")
    yield from _rule(zone, "ANY", pattern, [], "NOERROR")


def _rule(zone: Zone, kind: str, pattern: str, answers: Sequence[tuple[str, str]], rcode: str) -> Iterator[str]:
    yield f"    template IN {kind} {zone.name} {{"
    yield f'        match "^{pattern}[.]$"'
    for answer in answers:
        yield f'        answer "{{{{ .Name }}}} {TTL} IN {answer[0]} {answer[1]}"'
    if rcode:
        # With the zone's SOA, those who ask may remember that there is nothing.
        yield f'        authority "{zone.name}. {TTL} IN SOA {soa(zone)}"'
        yield f"        rcode {rcode}"
    yield "        fallthrough"
    yield "    }"


def _escaped(name: str) -> str:
    return name.replace(".", "[.]")
