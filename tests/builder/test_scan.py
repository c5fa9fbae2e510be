"""`airbundle scan`, and what `build` makes of it: real charts, real helm, a real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airbundle.builder.cluster_scan import PODS, WORKLOADS
from airbundle.cli.main import main
from airbundle.store.reader import open_bundle
from tests.builder.conftest import UPSTREAM, Workshop
from tests.support.helm import write_chart
from tests.support.images import tiny_image
from tests.support.tls import Authority
from tests.support.web import serve

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - name: web
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
          args: ["--sidecar-image={{ .Values.sidecar }}"]
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  plugins.yaml: |
    first: %s/maybe:1.0.0
    second: %s/gone:1.0.0
"""
VALUES = f"""\
image: {{repository: {UPSTREAM}/web, tag: 1.0.0}}
sidecar: {UPSTREAM}/sidecar:2.0.0
"""
WEB, SIDECAR = f"{UPSTREAM}/web:1.0.0", f"{UPSTREAM}/sidecar:2.0.0"
HEAD = f"""\
# The shop's bundle.
apiVersion: airbundle.dev/v1
kind: Bundle
metadata: {{name: shop, version: 1.0.0}}
images:
  - {WEB}  # the front
  # (end of the list)
charts:
"""
CHART = "  - {name: shop, path: charts/shop, release: {name: shop, namespace: shop}}\n"


@pytest.fixture
def shop(workshop: Workshop) -> Workshop:
    """A workshop whose chart runs two images; the inventory has the one that is easy to see."""
    for name in ("web", "sidecar", "maybe"):
        workshop.put(tiny_image(name), name, "1.0.0", "2.0.0")
    write_shop(workshop, HEAD + CHART)
    return workshop


def write_shop(workshop: Workshop, inventory: str, **files: str) -> None:
    directory = workshop.root / "inventory"
    (directory / "charts").mkdir(parents=True, exist_ok=True)
    (directory / "bundle.yaml").write_text(inventory)
    contents = {"templates/configmap.yaml": "", "templates/web.yaml": DEPLOYMENT, "values.yaml": VALUES}
    write_chart(directory / "charts", "shop", files={**contents, **files})


def test_a_build_that_lacks_a_hidden_image_is_refused_and_mended(shop: Workshop) -> None:
    shop.lock()
    answer = shop.build(shop.root)
    assert answer.code == 3
    (error,) = answer.body["errors"]
    (finding,) = error["findings"]
    assert SIDECAR in finding["message"]
    assert "set by sidecar" in finding["message"]
    assert finding["where"] == "chart shop 1.0.0: Deployment shop/web: spec.template.spec.containers[0].args[0]"
    assert finding["hint"] == f'add to images: "{SIDECAR}"'
    assert "scan" in error["hint"] and "--write" in error["hint"]
    assert not list(shop.root.glob("*.airbundle*"))

    assert shop.connected("scan", "--write").body["written"] == [SIDECAR]
    text = (shop.root / "inventory" / "bundle.yaml").read_text()
    assert text.splitlines()[5:8] == [f"  - {WEB}  # the front", f"  - {SIDECAR}", "  # (end of the list)"]
    shop.lock()
    assert shop.build(shop.root).code == 0


def test_scan_tells_image_place_and_mend(shop: Workshop) -> None:
    answer = shop.connected("scan")
    assert answer.code == 3
    assert answer.body["missing"] == [SIDECAR]
    by_name = {image["image"]: image for image in answer.body["images"]}
    assert by_name[WEB]["inInventory"]
    assert by_name[WEB]["requested"] == WEB
    assert by_name[WEB]["places"][0]["valuesKey"] == "image.repository, image.tag"
    assert not by_name[SIDECAR]["inInventory"]
    assert by_name[SIDECAR]["size"] > 0
    assert by_name[SIDECAR]["places"][0]["evidence"].startswith("argument")


def test_what_is_written_is_told_as_complete(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["scan", str(shop.root / "inventory"), "--offline", "--cache-dir", str(shop.root / "cache"), "--write"]
    capsys.readouterr()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "MISSING: certain to run" in told
    assert "NOT COMPLETE" not in told
    assert "complete once it is locked: 1 render" in told
    assert "bundle.yaml: 1 added; next: airbundle lock" in told


def test_what_cannot_be_written_is_told_all_the_same(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    listed = f"images:\n  - {WEB}  # the front\n  # (end of the list)\n"
    write_shop(shop, (HEAD + CHART).replace(listed, "operators: &x []\nimages: *x\n"))
    capsys.readouterr()
    code = main(["scan", str(shop.root / "inventory"), "--offline", "--cache-dir", str(shop.root / "cache"), "--write"])
    assert code == 2
    output = capsys.readouterr()
    assert "images can't be added to this file" in output.err
    assert "NOT COMPLETE: 1 render, 0 of 2 certain images in the inventory, 2 missing" in output.out


def test_an_image_that_write_leaves_is_missing_still(shop: Workshop) -> None:
    shop.lock()
    digest = "sha256:" + "c" * 64
    write_shop(shop, HEAD + CHART, **{"values.yaml": VALUES.replace("tag: 1.0.0", f"tag: 1.0.0@{digest}")})
    shop.lock()
    answer = shop.connected("scan", "--write")
    assert answer.body["written"] == [SIDECAR]
    assert answer.code == 3
    assert not answer.body["complete"]
    assert f"{WEB}@{digest}" in answer.body["errors"][0]["hint"]


def test_text_and_markdown(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["scan", str(shop.root / "inventory"), "--offline", "--cache-dir", str(shop.root / "cache")]
    capsys.readouterr()
    assert main(words) == 3
    text = capsys.readouterr().out
    assert SIDECAR in text
    assert "Deployment shop/web" in text
    assert main([*words, "--markdown"]) == 3
    assert f"| `{SIDECAR}` | certain | **no** |" in capsys.readouterr().out


def test_a_name_with_line_breaks_begins_no_line(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    pod = DEPLOYMENT.replace("name: web}", 'name: "web\\ncomplete: all is well"}', 1)
    write_shop(shop, HEAD + CHART, **{"templates/web.yaml": pod})
    capsys.readouterr()
    assert main(["scan", str(shop.root / "inventory"), "--offline", "--cache-dir", str(shop.root / "cache")]) == 3
    told = capsys.readouterr().out
    assert "web\\ncomplete: all is well" in told
    assert not any(line.startswith("complete") for line in told.splitlines())


def test_what_may_be_missing_stands_in_the_statement(shop: Workshop) -> None:
    shop.lock()
    answer = shop.build(shop.root, "--allow-missing", f"{UPSTREAM}/sidecar:*")
    assert answer.code == 0
    with open_bundle([Path(answer.body["path"])]) as bundle:
        assert bundle.statement.allowed_missing == (f"{UPSTREAM}/sidecar:*",)
    assert shop.run("inspect", answer.body["path"]).body["allowedMissing"] == [f"{UPSTREAM}/sidecar:*"]


def test_a_pattern_that_lets_nothing_pass_is_told(shop: Workshop) -> None:
    shop.lock()
    for answer in (
        shop.build(shop.root, "--allow-missing", f"{UPSTREAM}/sidecar"),
        shop.connected("scan", "--allow-missing", f"{UPSTREAM}/sidecar"),
    ):
        assert answer.code == 3
        assert f"`--allow-missing {UPSTREAM}/sidecar` lets no image pass" in answer.body["errors"][0]["hint"]


def test_a_pattern_that_no_image_can_have_is_wrong_usage(shop: Workshop) -> None:
    shop.lock()
    answers = [shop.connected("scan", "--allow-missing", pattern) for pattern in ("[", "", "a b", "docker.io/[a")]
    for answer in (*answers, shop.build(shop.root, "--allow-missing", "[")):
        assert answer.code == 2
        assert "which no image can have" in answer.body["errors"][0]["message"]
    words = [word for pattern in ("docker.io/[!a-c]*", "[[]::1]:5000/*") for word in ("--allow-missing", pattern)]
    assert shop.connected("scan", *words).code == 3


def test_patterns_that_no_statement_can_hold_are_wrong_usage(shop: Workshop) -> None:
    shop.lock()
    many = [word for number in range(101) for word in ("--allow-missing", f"docker.io/x{number}*")]
    for words in (many, ["--allow-missing", "*" * 256], ["--allow-missing", "*[\x1b]"]):
        answer = shop.build(shop.root, *words)
        assert answer.code == 2, answer.errors
    assert not list(shop.root.glob("*.airbundle*"))


def test_the_mend_takes_the_sites_along(shop: Workshop) -> None:
    shop.lock()
    site = shop.root / "berlin.yaml"
    site.write_text("apiVersion: airbundle.dev/v1\nkind: Site\nmetadata: {name: berlin}\ndomain: berlin.internal\n")
    for answer in (shop.build(shop.root, "--site", str(site)), shop.connected("scan", "--site", str(site))):
        assert answer.code == 3
        assert f" --site {site} --write`" in answer.body["errors"][0]["hint"]


def test_a_directory_of_charts_that_is_not_there_is_wrong_usage(shop: Workshop) -> None:
    answer = shop.connected("scan", "--charts", str(shop.root / "nowhere"))
    assert answer.code == 2
    assert "there is no such directory" in answer.body["errors"][0]["message"]


def test_a_registry_says_which_likely_images_exist(shop: Workshop) -> None:
    write_shop(shop, HEAD + CHART, **{"templates/notes.yaml": CONFIG % (UPSTREAM, UPSTREAM)})
    images = {image["image"]: image for image in shop.connected("scan").body["images"]}
    assert images[f"{UPSTREAM}/maybe:1.0.0"]["certainty"] == "likely"
    assert images[f"{UPSTREAM}/gone:1.0.0"]["certainty"] == "decoy"
    offline = {image["image"]: image for image in shop.connected("scan", "--offline").body["images"]}
    assert offline[f"{UPSTREAM}/maybe:1.0.0"]["certainty"] == "likely"


def test_a_chart_that_fails_does_not_hide_the_others(shop: Workshop) -> None:
    broken = "  - {name: broken, path: charts/broken, release: {name: broken, namespace: shop}}\n"
    write_shop(shop, HEAD + CHART + broken)
    files = {
        "templates/x.yaml": '{{ required "set greeting.word" .Values.greeting.word }}',
        "values.yaml": "greeting: {}",
    }
    write_chart(shop.root / "inventory" / "charts", "broken", files=files)
    answer = shop.connected("scan", "--write")
    assert answer.code == 3
    assert answer.body["missing"] == [SIDECAR]
    assert "greeting.word" in json.dumps(answer.body["failed"])
    assert answer.body["errors"][0]["hint"].startswith("mend what could not be looked at")
    shop.lock()
    refused = shop.build(shop.root)
    assert refused.code == 3
    assert "greeting.word" in refused.errors
    assert "--write" not in refused.body["errors"][0]["hint"]


def test_a_chart_that_cannot_be_had_is_upstreams_fault(shop: Workshop) -> None:
    shop.connected("scan", "--write")
    text = (shop.root / "inventory" / "bundle.yaml").read_text()
    write_shop(shop, text + "  - {name: gone, repo: 'http://127.0.0.1:1/charts', version: 1.0.0}\n")
    answer = shop.connected("scan")
    assert answer.code == 4
    assert "gone" in json.dumps(answer.body["failed"])


def test_a_complete_inventory_is_scanned_once(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.connected("scan", "--write")
    shop.lock()
    assert shop.connected("scan").code == 0
    first = shop.build(shop.root)
    assert (first.code, "render" in first.text) == (0, False)
    # Another chart is another question.
    write_shop(shop, (shop.root / "inventory" / "bundle.yaml").read_text(), **{"values.yaml": VALUES + "more: 1\n"})
    shop.lock()
    assert "render" in shop.build(shop.root).text


def test_a_site_that_names_no_registry_and_no_domain(shop: Workshop) -> None:
    site = shop.root / "bare.yaml"
    site.write_text("apiVersion: airbundle.dev/v1\nkind: Site\nmetadata: {name: bare}\n")
    assert shop.connected("scan", "--offline", "--site", str(site)).body["missing"] == [SIDECAR]


def test_names_at_the_sites_registry_are_those_of_upstream(shop: Workshop) -> None:
    release = "{name: shop, namespace: shop, values: [site.yaml]}"
    write_shop(shop, HEAD + CHART.replace("{name: shop, namespace: shop}", release))
    values = f'image: {{repository: "{{{{ site.registry }}}}/{UPSTREAM}/web"}}\n'
    (shop.root / "inventory" / "site.yaml").write_text(values)
    site = {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Site",
        "metadata": {"name": "berlin"},
        "registry": {"mode": "external", "url": "https://registry.berlin.internal:5443"},
    }
    (shop.root / "berlin.yaml").write_text(json.dumps(site))
    for words in ((), ("--site", shop.root / "berlin.yaml")):
        images = {image["image"]: image for image in shop.connected("scan", *words).body["images"]}
        assert images[WEB]["inInventory"], words


def test_findings_end_a_scan_only_when_they_shall(shop: Workshop) -> None:
    shop.connected("scan", "--write")
    secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: "CHANGE_TO_SOMETHING"}\n'
    inventory = (shop.root / "inventory" / "bundle.yaml").read_text()
    write_shop(shop, inventory, **{"templates/secret.yaml": secret})
    answer = shop.connected("scan")
    assert answer.code == 0
    assert "placeholder" in {finding["code"] for finding in answer.body["findings"]}
    assert shop.connected("scan", "--strict").code == 3


def test_an_old_lock_is_stale(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.connected("scan", "--write")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    shop.lock()
    images = shop.connected("scan").body["images"]
    assert all("days ago" in image["stale"] for image in images if image["inInventory"])
    images = shop.connected("scan", "--max-age", "9999d").body["images"]
    assert not any(image["stale"] for image in images)


def test_a_tag_that_moved_is_stale(shop: Workshop) -> None:
    shop.connected("scan", "--write")
    shop.lock()
    shop.put(tiny_image("another web"), "web", "1.0.0")
    stale = {image["image"]: image["stale"] for image in shop.connected("scan", "--upstream").body["images"]}
    assert "moved" in stale[WEB]
    assert stale[SIDECAR] == ""


def test_an_upstream_that_cannot_be_asked_hides_nothing(shop: Workshop) -> None:
    shop.lock()
    registries = {"mirrors": {UPSTREAM: {"endpoint": ["http://127.0.0.1:1"]}}}
    (shop.root / "dead.yaml").write_text(json.dumps(registries))
    words = (shop.root / "inventory", "--upstream", "--offline", "--registries", shop.root / "dead.yaml")
    answer = shop.run("scan", *words)
    assert answer.code == 3
    assert answer.body["missing"] == [SIDECAR]
    assert "upstream" in {finding["code"] for finding in answer.body["findings"]}


def test_an_inventory_without_charts_needs_no_helm(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.put(tiny_image("app"), "app", "1")
    workshop.inventory(images=[f"{UPSTREAM}/app:1"])
    monkeypatch.setenv("AIRBUNDLE_HELM", "/nonexistent")
    workshop.lock()
    assert workshop.connected("scan").code == 0
    assert workshop.build(workshop.root).code == 0


def test_what_a_cluster_runs_is_compared_too(shop: Workshop) -> None:
    shop.connected("scan", "--write")
    shop.lock()
    other = "sha256:" + "b" * 64
    pod = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": WEB}, {"name": "extra", "image": f"{UPSTREAM}/maybe:1.0.0"}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "web", "image": WEB, "imageID": f"{UPSTREAM}/web@{other}"}],
        },
    }
    authority = Authority(shop.root / "ca")
    with serve(tls=authority) as web:
        for resource in (PODS, *WORKLOADS):
            items = [pod] if resource is PODS else []
            body: dict[str, Any] = {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": {},
                "items": items,
            }
            web.files[f"{resource.path()}?limit=100"] = json.dumps(body).encode()
        kubeconfig = shop.root / "kubeconfig"
        cluster = {"server": web.url, "certificate-authority": str(authority.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "berlin",
            "clusters": [{"name": "berlin", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": "t0ken"}}],
            "contexts": [{"name": "berlin", "context": {"cluster": "berlin", "user": "me"}}],
        }
        kubeconfig.write_text(json.dumps(document))
        answer = shop.connected("scan", "--cluster", "--kubeconfig", kubeconfig)
    assert answer.code == 3
    assert answer.body["missing"] == [f"{UPSTREAM}/maybe:1.0.0"]
    images = {image["image"]: image for image in answer.body["images"]}
    assert images[f"{UPSTREAM}/maybe:1.0.0"]["places"][0]["source"] == "cluster berlin"
    assert other in images[WEB]["stale"]


def test_a_context_without_a_cluster_is_wrong_usage(shop: Workshop) -> None:
    answer = shop.connected("scan", "--context", "berlin")
    assert answer.code == 2
    assert "--cluster" in answer.errors
