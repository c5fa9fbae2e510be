"""Inventories become renders: charts, variants, sites; what fails is told, and the rest is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from airbundle.builder import render_manifests
from airbundle.builder.render import UNAVAILABLE
from airbundle.errors import DocumentError, HostError, Interrupted, UsageError
from airbundle.scan.model import Rendering
from tests.builder.rendering import POD, Kitchen, images
from tests.support.helm import package, write_chart


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def variants(renderings: Sequence[Rendering]) -> dict[str, list[str]]:
    return {rendering.origin.variant: images(rendering) for rendering in renderings}


def test_a_chart_with_its_releases_values(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\nother: {x: 1}\n"}, appVersion="7")
    kitchen.write("values.yaml", "image: b:2\n")
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": {"name": "r", "namespace": "n", "values": ["values.yaml"]}}
    ]
    (rendering,) = kitchen.fine()
    origin = rendering.origin
    assert (origin.source, origin.release, origin.namespace, origin.variant) == ("chart shop 1.0.0", "r", "n", "")
    assert (origin.chart, origin.version, origin.app_version) == ("shop", "1.0.0", "7")
    assert b'name: "r-pod"' in rendering.output
    assert images(rendering) == ["b:2"]
    assert rendering.defaults == {"image": "a:1", "other": {"x": 1}}
    assert rendering.values == {"image": "b:2", "other": {"x": 1}}
    assert list(rendering.given) == [("values.yaml", {"image": "b:2"})]


def test_variants_and_sites_are_further_renders(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\n"})
    kitchen.write("values.yaml", "image: '{{ site.domain }}/x:1'\n")
    kitchen.write("large.yaml", "image: '{{ site.name }}/large:1'\n")
    release = {"name": "r", "values": ["values.yaml"]}
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": release, "variants": {"large": "large.yaml"}}
    ]
    berlin = kitchen.site("berlin", domain="berlin.test")
    mainz = kitchen.site("mainz", domain="mainz.test", values={"r": "own.yaml"})
    (mainz.parent / "own.yaml").write_text("image: mainz/own:3\n")
    assert variants(kitchen.fine(sites=[berlin, mainz])) == {
        "": ["site.internal/x:1"],
        "large": ["site-placeholder/large:1"],
        "site berlin": ["berlin.test/x:1"],
        "site mainz": ["mainz/own:3"],
    }


def test_sites_switch_releases_on_and_off(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\n"})
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": {"name": "off", "enabled": False}},
    ]
    silent = kitchen.site("silent")
    on = kitchen.site("on", releases={"off": {"enabled": True, "namespace": "there"}})
    off = kitchen.site("off", releases={"off": {"enabled": False}})
    renderings = kitchen.fine(sites=[silent, on, off])
    assert [(each.origin.variant, each.origin.namespace) for each in renderings] == [("", ""), ("site on", "there")]


def test_a_site_that_knows_other_releases_is_told(kitchen: Kitchen) -> None:
    kitchen.write("m.yaml", "kind: A\n")
    kitchen.fields["manifests"] = [{"path": "m.yaml", "release": {"name": "base"}}]
    site = kitchen.site("berlin", releases={"bse": {"enabled": True}})
    finding = kitchen.wrong(sites=[site])
    assert str(finding) == (
        "site.yaml: the site says something of the release 'bse', which the inventory does not have; "
        "expected one of base"
    )
    assert finding.severity == "warning"


def test_the_cluster_and_hooks_and_tests_and_crds_count(kitchen: Kitchen) -> None:
    show = (
        'kind: A\nversion: "{{ .Capabilities.KubeVersion }}"\nhas: {{ .Capabilities.APIVersions.Has "x.test/v1/Y" }}\n'
    )
    hook = "kind: B\nmetadata: {annotations: {helm.sh/hook: %s}}\n"
    files = {
        "templates/a.yaml": show,
        "templates/hook.yaml": hook % "pre-install",
        "templates/tests/test.yaml": hook % "test",
        "crds/crd.yaml": "kind: CustomResourceDefinition\n",
    }
    kitchen.chart("shop", files)
    kitchen.fields["kubernetes"] = {"version": "1.29", "apiVersions": ["x.test/v1/Y"]}
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    (rendering,) = kitchen.fine()
    text = rendering.output.decode()
    assert 'version: "v1.29.0"' in text
    assert "has: true" in text
    for source in ("templates/hook.yaml", "templates/tests/test.yaml", "crds/crd.yaml"):
        assert f"# Source: shop/{source}" in text or "CustomResourceDefinition" in text


FAILURES = [
    (
        {"templates/x.yaml": 'a: {{ required "say which image" .Values.image.tag }}\n', "values.yaml": "image: {}\n"},
        "render-refused",
        "chart shop: the chart refuses to be rendered for want of the value 'image.tag': say which image; "
        "found shop/templates/x.yaml line 1 (set it in the release's values)",
    ),
    (
        {
            "templates/x.yaml": '{{ if not .Values.db.host }}\n{{ fail "no database" }}\n{{ end }}\n',
            "values.yaml": "db: {}",
        },
        "render-refused",
        "for want of the value 'db.host': no database; found shop/templates/x.yaml line 2",
    ),
    (
        {"templates/x.yaml": "a: {{ .Values.a.b.c }}\n", "values.yaml": "x: 1\n"},
        "render-failed",
        "a template of the chart fails at the value 'a.b.c': nil pointer evaluating interface {}.b",
    ),
    (
        {"values.schema.json": '{"required": ["domain"]}'},
        "render-schema",
        "chart shop: the value 'domain' does not fit the chart's schema: domain is required",
    ),
    (
        {"values.schema.json": '{"properties": {"greeting": {"type": "integer"}}}'},
        "render-schema",
        "the value 'greeting' does not fit the chart's schema: Invalid type. Expected: integer, given: string",
    ),
    (
        {"templates/x.yaml": "{{ .Values.x | nonsense }}"},
        "render-failed",
        'helm can\'t render the chart: parse error at (shop/templates/x.yaml:1): function "nonsense" not defined',
    ),
]


@pytest.mark.parametrize(("files", "code", "said"), FAILURES, ids=[said[-30:] for _, _, said in FAILURES])
def test_a_chart_that_fails_is_told_and_the_rest_is_there(
    kitchen: Kitchen, files: dict[str, str], code: str, said: str
) -> None:
    kitchen.chart("shop", files)
    kitchen.chart("fine", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\n"})
    charts = [{"name": name, "path": f"charts/{name}", "release": {"name": name}} for name in ("shop", "fine")]
    kitchen.fields["charts"] = charts
    renderings, (finding,) = kitchen.render()
    assert (finding.code, finding.severity) == (code, "error")
    assert said in str(finding)
    assert finding.where.startswith("bundle.yaml:1 charts[0]")
    assert [rendering.origin.chart for rendering in renderings] == ["fine"]


def test_a_chart_that_is_only_carried_need_not_render(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/x.yaml": 'a: {{ required "which" .Values.host }}\n'})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    finding = kitchen.wrong()
    assert (finding.code, finding.severity) == ("render-refused", "warning")


def test_a_chart_that_refuses_the_kubernetes_version(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {}, kubeVersion=">=1.31.0-0")
    kitchen.fields["kubernetes"] = {"version": "1.29"}
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    finding = kitchen.wrong()
    assert (finding.code, finding.found, finding.expected) == ("render-kubernetes", "v1.29.0", ">=1.31.0-0")


def test_what_is_not_yaml_is_rendered_all_the_same(kitchen: Kitchen) -> None:
    files = {"templates/bad.yaml": "a: b\n  c: d: e\n", "templates/pod.yaml": POD, "values.yaml": "image: a:1\n"}
    kitchen.chart("shop", files)
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    (rendering,), (finding,) = kitchen.render()
    assert b'image: "a:1"' in rendering.output
    assert finding.code == "render-yaml"
    assert "renders shop/templates/bad.yaml to what isn't YAML: yaml: line 2: mapping values" in str(finding)


@pytest.mark.parametrize(
    ("values", "severity"),
    [
        ("", "warning"),
        ("shown: nope\n", "error"),
        ("shown: nope\nshop: {enabled: false}\n", "warning"),
        ("shown: ''", "warning"),
    ],
)
def test_a_chart_that_renders_nothing(kitchen: Kitchen, values: str, severity: str) -> None:
    guarded = '{{ if eq .Values.shown "yes" }}\n' + POD + "{{ end }}\n"
    kitchen.chart("shop", {"templates/configmap.yaml": guarded, "values.yaml": "shown: no-no\nshop: {}\n"})
    kitchen.write("values.yaml", values)
    release = {"name": "r", "values": ["values.yaml"]}
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": release}]
    finding = kitchen.wrong()
    assert (finding.code, finding.severity) == ("render-empty", severity)


def test_a_subchart_that_is_asked_for_and_renders_nothing(kitchen: Kitchen) -> None:
    guarded = '{{ if eq .Values.mode "yes" }}\n' + POD + "{{ end }}\n"
    write_chart(kitchen.directory / "charts/shop/charts", "db", files={"templates/configmap.yaml": guarded})
    (kitchen.directory / "charts/shop/charts/db/values.yaml").write_text("mode: none\n")
    kitchen.chart("shop", {})
    kitchen.write("values.yaml", "db: {enabled: true}\n")
    release = {"name": "r", "values": ["values.yaml"]}
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": release}]
    assert "chart shop: the values switch 'db' on, and nothing of it is rendered" in str(kitchen.wrong())


def test_a_secret_in_values_is_not_told_where_the_chart_tells_it(kitchen: Kitchen) -> None:
    refusing = '{{ fail (printf "too weak: %s" .Values.admin.password) }}\n'
    kitchen.chart("shop", {"templates/configmap.yaml": refusing})
    kitchen.write("values.yaml", "admin: {password: hunter2-hunter2}\n")
    release = {"name": "r", "values": ["values.yaml"]}
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": release}]
    finding = kitchen.wrong()
    assert "too weak: …" in finding.message
    assert "hunter2" not in str(finding)


UNREAD = [
    ("imgae: b:2\n", "the value 'imgae' is given, and nothing in the chart reads it (did you mean 'image'?)"),
    ("db: {prot: 1}\n", "the value 'db.prot' is given, and nothing in the chart reads it (did you mean 'db.port'?)"),
    ("nothing: {at: all}\n", "reads it (compare with the chart's own values.yaml)"),
    ("side: {image: {tga: v2}}\n", "'side.image.tga' is given, and nothing in the chart reads it (did you mean 'side."),
    ("db: {disk: {sise: 1Gi}}\n", "'db.disk.sise' is given, and nothing in the chart reads it (did you mean 'db.disk."),
]


@pytest.mark.parametrize(("values", "said"), UNREAD, ids=["top", "subchart", "unlike", "deep", "deep-below"])
def test_a_value_that_nothing_reads(kitchen: Kitchen, values: str, said: str) -> None:
    write_chart(kitchen.directory / "charts/shop/charts", "db", files={"values.yaml": "port: 5\ndisk: {size: 1Gi}\n"})
    own = "image: a:1\nside: {image: {repository: b, tag: v1}}\n"
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": own})
    kitchen.write("values.yaml", values)
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": {"name": "r", "values": ["values.yaml"]}}
    ]
    finding = kitchen.wrong()
    assert (finding.code, finding.severity, finding.where) == ("value-unread", "warning", "values.yaml")
    assert said in str(finding)


def test_a_value_that_nothing_reads_is_told_once_and_where_it_is_set(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\nside: {tag: v1}\n"})
    kitchen.write("base.yaml", "imgae: b:2\nside: {tga: x}\n")
    kitchen.write("large.yaml", "imgae: b:3\na.b: 1\n")
    release = {"name": "r", "values": ["base.yaml"]}
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": release, "variants": {"large": ["large.yaml"]}}
    ]
    for _ in range(2):  # made, and taken from the cache
        _, findings = kitchen.render(sites=[kitchen.site(f"berlin{_}")])
        assert [(each.where, each.message.partition(" is given")[0]) for each in findings] == [
            ("base.yaml", "chart shop: the value 'imgae'"),
            ("base.yaml", "chart shop: the value 'side.tga'"),
            ("large.yaml", "chart shop: the value 'imgae'"),
            ("large.yaml", "chart shop: the value 'a.b'"),
        ]


def test_values_that_are_read_without_being_in_the_charts_own(kitchen: Kitchen) -> None:
    text = "a: {{ .Values.optional }}\nb: {{ .Values.db.extra }}\nc: {{ .Values.pod.read }}\n"
    write_chart(kitchen.directory / "charts/shop/charts", "db", files={"values.yaml": "port: 5\n"})
    own = "pod: {reads: 1, labels: {app: x}, limits: {cpu: 1}}\n"
    kitchen.chart("shop", {"templates/x.yaml": text, "values.yaml": own})
    # Read; a free form; the chart's own name beside it; names that are no variables.
    free = "pod: {read: 1, labels: {team: x, app: y, apps: z, a.b/app: 1}, limits: {memory: 1Gi}}\n"
    given = "x-own: &x {a: 1}\noptional: *x\ndb: {extra: 1}\nglobal: {x: 1}\ntags: {y: true}\n"
    kitchen.write("values.yaml", given + free)
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": {"name": "r", "values": ["values.yaml"]}}
    ]
    kitchen.fine()


def test_a_library_chart_is_no_failure(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/_helpers.tpl": '{{ define "x" }}{{ end }}'}, type="library")
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    (rendering,) = kitchen.fine()
    assert rendering.output == b""


HABITS = [
    ({"templates/x.yaml": 'a: {{ lookup "v1" "Secret" "a" "b" }}\n'}, "reads-cluster", "shop/templates/x.yaml"),
    ({"templates/x.yaml": 'a: {{ getHostByName "example.test" }}\n'}, "calls-out", "shop/templates/x.yaml"),
]


@pytest.mark.parametrize(("files", "code", "found"), HABITS, ids=["lookup", "dns"])
def test_charts_whose_render_depends_on_the_world(
    kitchen: Kitchen, files: dict[str, str], code: str, found: str
) -> None:
    comment = '{{/* lookup "v1" and getHostByName "x" */}}\n# lookup "x"\na: b\n'
    kitchen.chart("shop", {**files, "templates/comment.yaml": comment})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    finding = kitchen.wrong()
    assert (finding.code, finding.found, finding.severity) == (code, found, "warning")


@pytest.mark.parametrize(("end", "said"), [("kill -KILL $$", "ended by SIGKILL"), ("exit 3", "exit code 3")])
def test_a_helm_that_ends_without_a_word(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str, said: str
) -> None:
    silent = tmp_path / "helm"
    silent.write_text(f"#!/bin/sh\n[ $1 = version ] && echo v3.17.3 && exit\n{end}\n")
    silent.chmod(0o755)
    monkeypatch.setenv("AIRBUNDLE_HELM", str(silent))
    kitchen.chart("shop", {"templates/a.yaml": "a: b\n"})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": {"name": "r"}}]
    assert str(kitchen.wrong()).endswith(f"chart shop: helm can't render the chart: {said}")


def test_helm_fetches_nothing_while_it_renders(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "helm"
    spy.write_text("#!/bin/sh\n[ $1 = version ] && echo v3.17.3 && exit\necho \"env: '$HTTPS_PROXY $no_proxy.'\"\n")
    spy.chmod(0o755)
    monkeypatch.setenv("AIRBUNDLE_HELM", str(spy))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", "*")
    kitchen.chart("shop", {"values.schema.json": '{"properties": {"a": {"$ref": "https://schema.test/x.json#/y"}}}'})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    (rendering,), (finding,) = kitchen.render()
    assert rendering.output == b"env: 'http://127.0.0.1:9 .'\n"
    assert (finding.code, finding.found) == ("calls-out", "shop/values.schema.json: https://schema.test/x.json")


def test_a_chart_whose_schema_is_far_away_is_rendered_without_it(kitchen: Kitchen) -> None:
    schema = '{"properties": {"image": {"$ref": "https://schema.invalid/x.json#/y"}}}'
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\n", "values.schema.json": schema})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": {"name": "r"}}]
    (rendering,), (finding,) = kitchen.render()
    assert images(rendering) == ["a:1"]
    assert (finding.code, finding.severity) == ("calls-out", "warning")


BAD_VALUES = [
    (b"a: \xff\n", "values.yaml:1: the values are not UTF-8; found byte 0xff; expected UTF-8 text"),
    (b"a:\n\tb: 1\n", "values.yaml:2: a tab indents this line; expected spaces"),
    (b"- a\n", "values.yaml:1: the values are no mapping; found list"),
    (b"a: {{ site.domian }}\n", "values.yaml:1: '{{ site.domian }}' is no name of the site"),
    (b"a: [\n", "values.yaml: not YAML: "),
]


@pytest.mark.parametrize(("raw", "said"), BAD_VALUES, ids=["utf-8", "tab", "list", "name", "flow"])
def test_values_that_cannot_be_read(kitchen: Kitchen, raw: bytes, said: str) -> None:
    kitchen.chart("shop", {})
    kitchen.chart("other", {})
    kitchen.write("values.yaml", raw)
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": {"name": "r", "values": ["values.yaml"]}},
        {"name": "other", "path": "charts/other"},
    ]
    renderings, findings = kitchen.render()
    assert said in str(findings[0])
    assert [rendering.origin.release for rendering in renderings] == ["other"]


def test_doubled_keys_and_a_bare_equals_sign_are_values(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD + "# {{ .Values.sign }}\n"})
    kitchen.write("values.yaml", "image: a:1\nimage: b:2\nsign: =\n")
    release = {"name": "r", "values": ["values.yaml"]}
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": release}]
    (rendering,), (finding,) = kitchen.render()
    assert images(rendering) == ["b:2"]
    assert b"# =" in rendering.output
    assert str(finding) == "values.yaml:2: the key 'image' stands twice; helm takes the last"
    assert finding.severity == "warning"


def test_a_render_of_five_megabytes(kitchen: Kitchen) -> None:
    big = 'kind: ConfigMap\ndata:\n{{ range until 50000 }}  key{{ . }}: "%s"\n{{ end }}' % ("x" * 90)
    kitchen.chart("shop", {"templates/big.yaml": big})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    (rendering,) = kitchen.fine()
    assert len(rendering.output) > 5_000_000
    assert kitchen.fine()[0].output == rendering.output


def test_a_render_over_the_bound(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.builder.render_helm.OUTPUT_LIMIT", 10_000)
    kitchen.chart("shop", {"templates/big.yaml": "a: b\n" + "# {{ range until 2000 }}0123456789{{ end }}\n"})
    kitchen.chart("fine", {})
    kitchen.fields["charts"] = [{"name": name, "path": f"charts/{name}"} for name in ("shop", "fine")]
    (rendering,), (finding,) = kitchen.render()
    assert rendering.origin.chart == "fine"
    assert finding.code == "render-too-large"
    assert "render chart shop: helm wrote more than the 10000 bytes allowed" in str(finding)


def test_a_render_that_takes_too_long(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.builder.render_helm.TIMEOUT", 0.3)
    endless = '{{ range until 100000 }}{{ range until 100000 }}{{ $x := sha256sum "x" }}{{ end }}{{ end }}'
    kitchen.chart("shop", {"templates/big.yaml": endless})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    assert "helm did not end within" in str(kitchen.wrong())


def test_what_only_renders_with_a_sites_values_is_a_warning(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/x.yaml": 'a: {{ required "which" .Values.host }}\n'})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": {"name": "r"}}]
    site = kitchen.site("berlin", values={"r": "v.yaml"})
    (site.parent / "v.yaml").write_text("host: x\n")
    (rendering,), (finding,) = kitchen.render(sites=[site])
    assert rendering.origin.variant == "site berlin"
    assert (finding.code, finding.severity) == ("render-refused", "warning")
    assert kitchen.wrong().severity == "error"


def test_a_sites_missing_values_file(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "release": {"name": "r"}}]
    finding = kitchen.wrong(sites=[kitchen.site("berlin", values={"r": "none.yaml"})])
    assert "site.yaml values.r: 'none.yaml' is not there" in str(finding)


def test_what_is_no_site_file(kitchen: Kitchen, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no site file"):
        kitchen.render(sites=[tmp_path / "none.yaml"])
    (tmp_path / "bad.yaml").write_text("kind: Site\n")
    with pytest.raises(DocumentError):
        kitchen.render(sites=[tmp_path / "bad.yaml"])


def test_charts_need_helm_and_manifests_do_not(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRBUNDLE_HELM", str(tmp_path / "none"))
    kitchen.write("m.yaml", "kind: A\n")
    kitchen.fields["manifests"] = ["m.yaml"]
    assert len(kitchen.fine()) == 1
    kitchen.chart("shop", {})
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop"}]
    with pytest.raises(HostError, match="which is no program"):
        kitchen.render()


def test_charts_of_a_directory_in_the_place_of_repositories(kitchen: Kitchen, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.4.0", "2.0.0"):
        chart = write_chart(tmp_path / version, "shop", version)
        package(chart, tmp_path / "packages", home=tmp_path / "helm")
    repo = "https://charts.invalid/x"
    kitchen.fields["charts"] = [
        {"name": "shop", "repo": repo, "version": "^1"},
        {"name": "shop", "repo": repo, "version": "2.0.0", "release": {"name": "two"}},
        {"name": "shop", "repo": repo, "version": "3.0.0"},
        {"name": "none", "repo": "oci://charts.invalid/x", "version": "1.0.0"},
    ]
    renderings, findings = kitchen.render(charts_from=tmp_path / "packages")
    assert [rendering.origin.version for rendering in renderings] == ["1.4.0", "2.0.0"]
    assert [finding.code for finding in findings] == [UNAVAILABLE, UNAVAILABLE]
    assert "packages has no shop-3.0.0.tgz; it has 1.0.0, 1.4.0, 2.0.0" in str(findings[0])
    assert "packages has no none-1.0.0.tgz" in str(findings[1])


def test_equal_texts_are_one(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\n"})
    kitchen.write("none.yaml", "x-unused: 1\n")
    kitchen.fields["charts"] = [{"name": "shop", "path": "charts/shop", "variants": {"same": "none.yaml"}}]
    one, two = kitchen.fine()
    assert one.output is two.output


def test_values_that_are_a_pipe_are_told_and_not_waited_for(kitchen: Kitchen) -> None:
    kitchen.chart("shop", {"templates/pod.yaml": POD, "values.yaml": "image: a:1\n"})
    os.mkfifo(kitchen.directory / "values.yaml")
    kitchen.fields["charts"] = [
        {"name": "shop", "path": "charts/shop", "release": {"name": "r", "values": ["values.yaml"]}}
    ]
    renderings, findings = kitchen.render()
    assert renderings == []
    assert [finding.message for finding in findings] == ["'values.yaml' is no file"]


def test_a_signal_is_no_finding(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen.write("m/a.yaml", "kind: Pod\n")
    kitchen.fields["manifests"] = ["m"]

    def stop(*_: object) -> bytes:
        raise Interrupted

    monkeypatch.setattr(render_manifests, "read_bounded", stop)
    with pytest.raises(Interrupted):
        kitchen.render()
