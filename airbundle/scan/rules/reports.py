"""Settings by which a program reports to its makers, or asks for updates or else hosts that are compiled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from airbundle.errors import Finding
from airbundle.scan.rules.scene import Scene, tell
from airbundle.scan.rules.texts import Text, holds_any

_ON = re.compile(
    r"(?i)(check[_-]?for[_-]?(?:plugin[_-]?)?updates|reporting[_-]?enabled|report[_-]?stats|telemetry[_-]?enabled"
    r"|enable[_-]?telemetry|analytics[_-]?enabled|enable[_-]?analytics|usage[_-]?(?:stats|report|reporting)[_-]?enabled"
    r"|(?:anonymous|send)[_-]?usage[_-]?(?:stats|statistics)|allow[_-]?tracking|use[_-]external[_-]ip|send-?anonymous-?usage|check-?new-?version)"
    r"[\"']?[ \t]{0,20}[:=][ \t]{0,20}[\"']?(?:true|yes|on|1)\b"
)
_NOT_OFF = re.compile(
    r"(?i)(disable[_-]?(?:telemetry|analytics|reporting|tracking))"
    r"[\"']?[ \t]{0,20}[:=][ \t]{0,20}[\"']?(?:false|no|off|0)\b"
)
_FLAG = re.compile(r"(?i)-{1,2}[\w.]{0,40}?(send-?anonymous-?usage|check-?new-?version|(?:enable|send)-?telemetry)")
_SIGNS = ("updates", "report", "telemetry", "analytics", "usage", "tracking", "external")


def find(scene: Scene) -> Iterator[Finding]:
    """Yield such settings in environment, arguments and configuration."""
    for text in scene.texts:
        if text.source == "annotation":
            continue
        if text.source in {"environment", "argument"} and "\n" not in text.value:
            yield from _in_line(scene, text, f"{text.name}={text.value}")
            flag = _FLAG.fullmatch(text.value) if text.source == "argument" else None
            if flag:
                yield tell(scene, text, flag[0], replace(_FINDING, found=flag[1]))
        elif holds_any(text.value, _SIGNS):
            for line in text.lines():
                yield from _in_line(scene, line, line.value)


def _in_line(scene: Scene, line: Text, setting: str) -> Iterator[Finding]:
    match = _ON.search(setting) or _NOT_OFF.search(setting)
    if match:
        yield tell(scene, line, match[0], replace(_FINDING, found=match[1]))


_FINDING = Finding(
    "a setting makes a program ask hosts of the internet that are compiled in (telemetry, updates, STUN)",
    code="phone-home",
    hint="switch it off in the values",
    severity="warning",
)
