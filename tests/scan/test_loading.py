"""Documents read where libyaml is not there: PyYAML's own scanner must not see other values."""

from __future__ import annotations

import json
import subprocess
import sys

from airbundle.scan.loading import load_document

TABS = [
    "a:\tb\tc \t d\t# e\n",
    "-\ta\n- \tb\n",
    "{a:\tb,\tc: [d,\n\te]}\n",
    "a: b\t\n  e\t\n  f\nc: 'd'\t# g\n",
    "a\t: &x\tb\nc:\t|\n  x\ty\nd: e#\tf\n",
    "a: b\n\t# x\n\t\nc: d\n",
    "a: x\ty: z\n",
    "- a\n\t- b\n",
    "a:\n \tb\n",
]
WITHOUT_LIBYAML = """\
import json, sys, yaml
vars(yaml).pop("CSafeLoader", None)
from airbundle.scan.loading import load_document
print(json.dumps([[loaded.value, loaded.failure is None] for loaded in map(load_document, json.load(sys.stdin))]))
"""


def test_tabs_without_libyaml_as_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBYAML], input=json.dumps(TABS), capture_output=True, text=True, check=True
    )
    loaded = [load_document(text) for text in TABS]
    assert json.loads(done.stdout) == [[each.value, each.failure is None] for each in loaded]
    assert loaded[0].value == {"a": "b\tc \t d"}
