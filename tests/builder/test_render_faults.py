"""helm's words as findings; whatever it says, something is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.builder.render_faults import is_bad_yaml, render_faults, render_habits
from airbundle.bundle.chart_metadata import ChartMetadata
from airbundle.bundle.chart_values import ChartTree

SUB = ChartTree(ChartMetadata("db", "1"), {"templates/x.yaml": b"one\n{{ .Values.a.b }} {{ .Values.c }}\n"}, {})
TREE = ChartTree(ChartMetadata("shop", "1"), {"templates/y.yaml": b"{{ .Values.top }}\n"}, {}, (("alias", SUB),))

SAID = [
    ("Error: library charts are not installable\n", []),
    ("", ["helm can't render the chart: "]),
    ("panic: runtime error\ngoroutine 1\n", ["helm can't render the chart: panic: runtime error goroutine 1"]),
    (
        "Error: execution error at (shop/charts/alias/templates/x.yaml:2:5): no\n\nUse --debug flag to render",
        ["refuses to be rendered for want of the value 'alias.a.b' or 'alias.c': no; found shop/charts/alias/"],
    ),
    ("Error: execution error at (shop/templates/gone.yaml:99:5): no", ["the chart refuses to be rendered: no; found"]),
    (
        'Error: template: shop/templates/z.yaml:1:2: executing "shop/templates/z.yaml" at <include "f" .>: error '
        'calling include: template: shop/charts/alias/templates/x.yaml:2:3: executing "f" at <.Values.a.b>: bad\n',
        ["a template of the chart fails at the value 'alias.a.b': bad; found shop/charts/alias/templates/x"],
    ),
    (
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\n"
        "shop:\n- (root): top is required\ndb:\n- port: Invalid type. Expected: integer, given: string\n",
        ["the value 'top' does not fit", "the value 'db.port' does not fit"],
    ),
    (
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\nshop:\nboom\n",
        ["helm can't render the chart: values don't meet the specifications"],
    ),
    (
        "WARNING: x\nError: chart requires kubeVersion: >=1.30 <2 which is incompatible with Kubernetes v1.29.0\n",
        ["the chart refuses the Kubernetes version; found v1.29.0; expected >=1.30 <2"],
    ),
    (
        "Error: YAML parse error on shop/x\x1b[31m.yaml: boo",
        ["the chart renders shop/x [31m.yaml to what isn't YAML: boo"],
    ),
]


@pytest.mark.parametrize(("complaint", "told"), SAID)
def test_what_helm_says(complaint: str, told: list[str]) -> None:
    findings = render_faults(complaint, TREE)
    assert len(findings) == len(told)
    for finding, text in zip(findings, told):
        assert text in str(finding)
        assert finding.severity == "error"


@given(st.text(max_size=300) | st.lists(st.sampled_from([said for said, _ in SAID[1:]]), max_size=4).map("\n".join))
def test_something_is_always_told(complaint: str) -> None:
    findings = render_faults(complaint, TREE)
    assert findings or "library charts are not installable" in complaint
    assert all(str(finding).isprintable() for finding in findings)
    is_bad_yaml(complaint)


def test_a_templates_comments_do_not_count() -> None:
    text = b'{{- /* lookup "x" */ -}}{{/* {{ lookup "y" }} */}}a: {{ .Values.lookup }}\n'
    assert render_habits(_with(text)) == []
    (finding,) = render_habits(_with(text.replace(b"a: ", b'b: {{ (lookup "v1" "Secret" "" "").items }}')))
    assert finding.code == "reads-cluster"


_ENDLESS = {
    "comments": b"lookup {{/*" * 200_000,
    "actions": b"lookup" + b"{{" * 200_000,
    "calls": b"{{" + b"lookup (" * 200_000,
}


@pytest.mark.parametrize("text", _ENDLESS.values(), ids=_ENDLESS)
def test_a_template_that_no_pattern_ends_soon_at(text: bytes) -> None:
    render_habits(_with(text))


def _with(template: bytes) -> ChartTree:
    return ChartTree(ChartMetadata("shop", "1"), {"templates/x.yaml": template}, {})
