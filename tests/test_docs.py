from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNLISTED = ("bootstrap.*", "cli.*", "*__init__", "__main__")
"""What the map has in words."""


def mapped() -> set[str]:
    """Return the names of the module map, such as `store.plan` and `transfer.helm*`."""
    names = set()
    for row in re.findall(r"(?m)^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text()):
        package = ""
        for name in re.findall(r"`([^`]+)`", row):
            if "." in name:
                package = name.partition(".")[0] + "."
            names.add(name if "." in name else package + name)
    return names


def test_the_module_map_names_every_module_and_no_other() -> None:
    top = ROOT / "airbundle"
    found = {".".join(path.relative_to(top).with_suffix("").parts) for path in top.rglob("*.py")}
    names = mapped()
    assert not [each for each in sorted(found) if not any(fnmatch(each, name) for name in (*names, *UNLISTED))]
    listed = sorted(name for name in names if not name.startswith(("cli.", "bootstrap")))
    assert not [name for name in listed if not any(fnmatch(each, name) for each in found)]
