"""Single places and spellings, with what must be said of each."""

from __future__ import annotations

import base64
import gzip
import textwrap

import pytest

from airbundle.scan.find import find
from tests.scan.support import DIGEST, brief, manifests, sightings


def _configmap(name: str, text: str) -> str:
    body = textwrap.indent(textwrap.dedent(text), "    ")
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  {name}: |\n{body}\n"


def _pod(container: str) -> str:
    head = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: q.io/a/main:1\n"
    )
    return head + textwrap.indent(textwrap.dedent(container), "    ")


def _custom(spec: str) -> str:
    head = "apiVersion: x.example.org/v1\nkind: Thing\nmetadata: {name: t}\nspec:\n"
    return head + textwrap.indent(textwrap.dedent(spec), "  ")


def _seen(text: str) -> dict[str, str]:
    """Return image → certainty, without the pod's own."""
    order = {"certain": 0, "likely": 1, "decoy": 2}
    found: dict[str, str] = {}
    for sighting in sightings(text):
        image = str(sighting.image).replace("docker.io/library/", "")
        if image != "q.io/a/main:1":
            found[image] = min(found.get(image, "decoy"), sighting.certainty, key=lambda word: order[word])
    return found


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("args: [--init-image=busybox:1.36]", {"busybox:1.36": "certain"}),
        ("args: [-image, 'q.io/a/b:1', --v=2]", {"q.io/a/b:1": "certain"}),
        ("args: [--set, 'image.repository=q.io/a/b,image.tag=1']", {"q.io/a/b:1": "certain"}),
        ("args: ['--sidecar-images=a=q.io/a/b:1,b=q.io/a/c:2']", {"q.io/a/b:1": "certain", "q.io/a/c:2": "certain"}),
        ("args: [--default-base-image=quay.io/thanos/thanos]", {"quay.io/thanos/thanos:latest": "likely"}),
        (
            'args: [--job-images, "1=q.io/a/b:1\\n2=q.io/a/c:2"]',
            {"q.io/a/b:1": "certain", "q.io/a/c:2": "certain"},
        ),
        (
            "args: [--note, 'see q.io/a/b:1 there', --run-image, 'q.io/a/c:1']",
            {"q.io/a/b:1": "likely", "q.io/a/c:1": "certain"},
        ),
        ("command: [bash, -ec, 'JOB_IMAGE=q.io/a/b:1 exec run']", {"q.io/a/b:1": "certain"}),
        ("args: [JOB_IMAGE=q.io/a/b:1]", {"q.io/a/b:1": "certain"}),
        (f"args: ['--reloader-image=q.io/a/b:1@{DIGEST}']", {f"q.io/a/b:1@{DIGEST}": "certain"}),
        ("command: [sh, -c, 'run --worker-image q.io/a/b:1 && sleep 5']", {"q.io/a/b:1": "certain"}),
        ("command: [sh, -c, 'docker run --rm alpine:3.20 true']", {"alpine:3.20": "likely"}),
        ("args: [--image-pull-policy=Always, --image-tag=v1, --pull-secret=regcred]", {}),
        ("args: [--image-gc-high-threshold=85, '--listen=[::1]:8080', --cidr=10.0.0.0/8]", {}),
        ("args: [--config=/etc/x/config.yaml:ro, --url=https://q.io/a/b:1]", {}),
        ("env: [{name: IMG, value: q.io/a/b:1}]", {"q.io/a/b:1": "certain"}),
        (
            "env: [{name: REG, value: q.io}, {name: JOB_IMAGE, value: '$(REG)/a/b:$(VER)'}, {name: VER, value: '1'}]",
            {},  # the kubelet puts in only what stands before
        ),
        (
            "env: [{name: REG, value: q.io}, {name: JOB_IMAGE, value: '$(REG)/a/b:1'}]",
            {"q.io/a/b:1": "certain"},
        ),
        (
            "env: [{name: JOB_IMAGE_REGISTRY, value: q.io}, {name: JOB_IMAGE_REPOSITORY, value: a/b},"
            " {name: JOB_IMAGE_TAG, value: v1}]",
            {"q.io/a/b:v1": "certain"},
        ),
        (
            f"env: [{{name: JOB_IMAGE, value: 'q.io/a/b:1'}}, {{name: JOB_IMAGE_DIGEST, value: '{DIGEST}'}}]",
            {f"q.io/a/b:1@{DIGEST}": "certain"},
        ),
        (
            "env: [{name: METRICS_ENABLED, value: 'false'}, {name: METRICS_IMAGE, value: 'q.io/a/b:1'}]",
            {"q.io/a/b:1": "decoy"},
        ),
        (
            "env: [{name: PG_IMAGES, value: '16:q.io/a/pg:16,17:q.io/a/pg:17'}]",
            {"q.io/a/pg:16": "certain", "q.io/a/pg:17": "certain"},
        ),
        (
            "env: [{name: PG_IMAGES, value: 'sixteen=redis:7;seventeen=a/b:1'}]",
            {"redis:7": "certain", "docker.io/a/b:1": "certain"},
        ),
        ("env: [{name: OLD_IMAGE, value: 'q.io/a/b:1'}]", {"q.io/a/b:1": "likely"}),
        ("env: [{name: OP_CUSTOMRELOADERIMAGE, value: 'a/b:1'}]", {"docker.io/a/b:1": "certain"}),
        ("env: [{name: REDIS, value: 'redis:6379'}, {name: DB_URL, value: 'postgres://u@db:5432/x'}]", {}),
        ("env: [{name: CACHE_IMAGE_SIZE, value: '10'}, {name: TZ, value: Europe/Berlin}]", {}),
        ("env: [{name: X, value: 'a.b.c/v1:foo'}, {name: Y, value: 'user@example.org'}]", {}),
        ("env: [{name: M, value: application/vnd.oci.image.manifest.v1+json}]", {}),
    ],
)
def test_arguments_and_variables(container: str, expected: dict[str, str]) -> None:
    assert _seen(_pod(container)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("image: redis", {"redis:latest": "likely"}),
        ("image: redis:7", {"redis:7": "certain"}),
        ("image: {repository: redis, tag: 7}", {"redis:7": "certain"}),
        ("image: {repository: q.io/a/b, tag: 1.10}", {"q.io/a/b:1.1": "certain"}),
        ("image: {repository: q.io/a/b, tag: '1.10'}", {"q.io/a/b:1.10": "certain"}),
        (f"image: {{registry: q.io, repository: a/b, sha: {DIGEST[7:]}}}", {f"q.io/a/b@{DIGEST}": "certain"}),
        (f"image: {{repository: q.io/a/b, tag: '{DIGEST}'}}", {f"q.io/a/b@{DIGEST}": "certain"}),
        ("image: {registry: docker.io, repository: q.io/a/b, tag: v1}", {"q.io/a/b:v1": "certain"}),
        ("image: {registry: 'q.io/', repository: a, name: b, tag: v1}", {"q.io/a/b:v1": "certain"}),
        ("image: {repository: q.io/a, image: b, version: v1.2}", {"q.io/a/b:v1.2": "certain"}),
        ("image: {name: a/b, version: v1.2, pullPolicy: always}", {"docker.io/a/b:v1.2": "certain"}),
        ("imageRepository: q.io/a/b\nimageTag: v1", {"q.io/a/b:v1": "certain"}),
        ("worker: {image: q.io/a/b, tag: v1, name: worker}", {"q.io/a/b:v1": "certain"}),
        ("image: q.io/a/b\nversion: v1.2.3", {"q.io/a/b:v1.2.3": "likely"}),
        ("image: 'localhost:5000/a/b'\n", {"localhost:5000/a/b:latest": "likely"}),
        ("image: 'q.io:8443/a/b:v1'\n", {"q.io:8443/a/b:v1": "certain"}),
        ("image: '[fd00::1]:5000/a/b:v1'\n", {"[fd00::1]:5000/a/b:v1": "certain"}),
        ("image: 'Q.IO/a/b:v1'\n", {"Q.IO/a/b:v1": "certain"}),
        ("workers: [{image: q.io/a/b:1, count: 2}]", {"q.io/a/b:1": "certain"}),
        ("container: {image: alpine, command: [sh]}", {"alpine:latest": "certain"}),
        ("steps: [{name: build, image: golang, script: go build}]", {"golang:latest": "certain"}),
        ("template: {spec: {containers: [{image: a}]}}", {"a:latest": "certain"}),
        ("a: {disabled: true, image: q.io/a/b:1}", {"q.io/a/b:1": "decoy"}),
        ("a: {enabled: 'false', b: {image: q.io/a/b:1}}", {"q.io/a/b:1": "decoy"}),
        ("a: {enabled: true, image: q.io/a/b:1}", {"q.io/a/b:1": "certain"}),
        ("source: {repository: github.com/a/b, tag: v1}", {}),
        ("imagePullSecrets: [{name: a}]\nimageRegistry: q.io\nimagePullPolicy: Always", {}),
        ("image: auto", {}),
        ("image: ''", {}),
        ("logo: {image: logos/a.png}", {}),
        ("image: 'https://example.org/a:1'", {}),
        ("image: '{{ inputs.image }}'", {}),
        ("extraArgs: {worker-image: 'q.io/a/b:1'}", {"q.io/a/b:1": "certain"}),
        ("arguments: '--worker-image=q.io/a/b:1 --v=2'", {"q.io/a/b:1": "certain"}),
        (
            "driver: {repository: nvcr.io/nvidia, image: driver, version: '550.1'}",
            {"nvcr.io/nvidia/driver:550.1": "certain"},
        ),
        ("image: {registry: q.io, org: a, name: b, tag: v1}", {"q.io/a/b:v1": "certain"}),
        ("image: {host: q.io, path: a/b, tag: v1}", {"q.io/a/b:v1": "certain"}),
        ("image: {registry: q.io, namespace: a, repository: b, tag: v1}", {"q.io/a/b:v1": "certain"}),
        ("imageSpec: {repository: q.io/a/b, tag: v1}", {"q.io/a/b:v1": "certain"}),
        ("proxy: {image: {name: q.io/a/b, version: ''}}", {"q.io/a/b:latest": "likely"}),
        ("images: {tags: {one: q.io/a/b:1}}", {"q.io/a/b:1": "certain"}),
        ("imageRegistry: q.io\nworkerImage: a/b:v1", {"docker.io/a/b:v1": "certain"}),
        ("imageRegistry: q.io\nworkerImage: a/b\nworkerTag: v1", {"q.io/a/b:v1": "certain"}),
        ("source: {registry: {url: 'docker://a/b:v1'}}", {"docker.io/a/b:v1": "likely"}),
        ("labels: 'ubuntu:docker://node:20,x:host'", {"node:20": "likely"}),
        ("examples: {image: q.io/a/b:1}", {"q.io/a/b:1": "likely"}),
        ("allowed: {images: [q.io/a/b:1]}", {"q.io/a/b:1": "likely"}),
        ("output: {image: q.io/a/b:1}", {"q.io/a/b:1": "likely"}),
        ("verify: {imageReferences: ['q.io/a/b:1', 'q.io/*']}", {"q.io/a/b:1": "likely"}),
    ],
)
def test_fields_of_custom_resources(spec: str, expected: dict[str, str]) -> None:
    assert _seen(_custom(spec)) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.toml", '[job.image]\nrepository = "q.io/a/b"\ntag = "v1"\n', {"q.io/a/b:v1": "certain"}),
        ("a.toml", 'image = { repository = "q.io/a/b", tag = "v1" }\n', {"q.io/a/b:v1": "certain"}),
        ("a.toml", '[side]\nenabled = false\nimage = "q.io/a/b:v1"\n', {"q.io/a/b:v1": "decoy"}),
        ("a.toml", 'images = ["q.io/a/b:v1", "q.io/a/c:v1"]\n', {"q.io/a/b:v1": "certain", "q.io/a/c:v1": "certain"}),
        ("a.properties", "job.image.repository=q.io/a/b\njob.image.tag=v1\n", {"q.io/a/b:v1": "certain"}),
        ("a.sh", 'REG=q.io\nTAG=v1\nJOB_IMAGE="${REG}/a/b:${TAG}"\n', {"q.io/a/b:v1": "certain"}),
        (
            "a.sh",
            "IMAGE=${IMAGE:-q.io/a/b:v1} # was q.io/a/old:v1\n",
            {"q.io/a/b:v1": "certain", "q.io/a/old:v1": "decoy"},
        ),
        ("a.sh", ': "${JOB_IMAGE:=q.io/a/b:v1}"\n', {"q.io/a/b:v1": "certain"}),
        ("a.sh", "REPO=q.io/a/b; TAG=v1\ndocker pull $REPO:$TAG\n", {"q.io/a/b:v1": "likely"}),
        ("a.sh", "kubectl set image deploy/x app=q.io/a/b:v1\n", {"q.io/a/b:v1": "likely"}),
        ("a.sh", 'echo "usage: run --image=q.io/a/b:v1"\n', {"q.io/a/b:v1": "likely"}),
        ("a.toml", 'images = [\n  "q.io/a/b:v1",\n  "redis:7",\n]\n', {"q.io/a/b:v1": "certain", "redis:7": "certain"}),
        ("a.toml", '[images]\nmain = "q.io/a/b:v1"\n', {"q.io/a/b:v1": "certain"}),
        ("a.toml", 'image = "q.io/a/b:v1" # q.io/a/c:v1\n', {"q.io/a/b:v1": "certain", "q.io/a/c:v1": "decoy"}),
        ("a.ini", "image = q.io/a/b:v1 ; q.io/a/c:v1\n", {"q.io/a/b:v1": "certain", "q.io/a/c:v1": "decoy"}),
        ("main.tf", 'resource "x" { image = "q.io/a/b:v1" }\n', {"q.io/a/b:v1": "certain"}),
        ("job.groovy", "podTemplate(containers: [c(name: 'm', image: 'maven:3.9')])\n", {"maven:3.9": "certain"}),
        ("a.xml", "<job><image>q.io/a/b:v1</image></job>\n", {"q.io/a/b:v1": "certain"}),
        ("spark.conf", "spark.container.image   q.io/a/b:v1\n", {"q.io/a/b:v1": "certain"}),
        ("t.tpl", 'containers:\n- name: a\n  image: "{{ .hub }}/proxy:{{ .tag }}"\n', {}),
        ("example.yaml", "image: q.io/a/b:v1\n", {"q.io/a/b:v1": "likely"}),
        ("config.yaml.bak", "image: q.io/a/b:v1\n", {"q.io/a/b:v1": "likely"}),
        (
            "values",
            '{"global": {"hub": "q.io/istio", "tag": "1.2", "proxy": {"image": "proxyv2", "logLevel": "info"}}}',
            {"q.io/istio/proxyv2:1.2": "certain"},
        ),
        ("a.sh", "cat <<EOF\nspec:\n  image: q.io/a/b:v1\nEOF\n", {"q.io/a/b:v1": "certain"}),
        ("Dockerfile", "FROM q.io/a/b:v1\nRUN true\n", {"q.io/a/b:v1": "likely"}),
        ("values", '{"hub": "q.io/istio", "tag": "1.2", "image": "proxy"}', {"q.io/istio/proxy:1.2": "certain"}),
        (
            "values",
            '{"hub": "", "tag": "", "image": "pilot", "global": {"hub": "q.io/istio", "tag": "1.2"}}',
            {"q.io/istio/pilot:1.2": "certain"},
        ),
        ("values", '{"hub": "", "tag": "", "image": "pilot"}', {}),
        ("a.yaml", "a: 1\n---\nimage: q.io/a/b:v1\n", {"q.io/a/b:v1": "certain"}),
        ("a.yaml", "image: q.io/a/b:v1 # or q.io/a/c:v1\n", {"q.io/a/b:v1": "certain", "q.io/a/c:v1": "decoy"}),
        ("README.md", "Use it so:\n\n    image: q.io/a/b:v1\n", {"q.io/a/b:v1": "decoy"}),
        ("images.txt", "q.io/a/b:v1\nq.io/a/c:v1\n", {"q.io/a/b:v1": "likely", "q.io/a/c:v1": "likely"}),
        (
            "t.tpl",
            '{{- define "x" }}\nimage:\n  repository: q.io/a/b\n  tag: v1\n{{ $x := .a }}{{ b . }}\n{{- end }}',
            {"q.io/a/b:v1": "certain"},
        ),
        ("t.tpl", '{{/*\nimage: q.io/a/b:v1\n*/}}\nimage: "{{ .Values.image }}"\n', {"q.io/a/b:v1": "decoy"}),
        ("t.tpl", 'image: "{{ .Values.image | default "q.io/a/b:v1" }}"\n', {"q.io/a/b:v1": "likely"}),
        ("dash.json", '{"panels": [{"image": "panel", "type": "text", "url": "http://a.b/c:1"}]}', {}),
        ("nginx.conf", "location ~ ^/a/(.*):(.*)$ { proxy_pass http://b:80/$1; }\n", {}),
        ("prom.yml", "- source_labels: [a]\n  target: 'a.example.org/metrics:x'\n  image: ''\n", {}),
    ],
)  # fmt: skip
def test_files_in_config_maps(name: str, text: str, expected: dict[str, str]) -> None:
    assert _seen(_configmap(name, text)) == expected


def test_a_container_image_that_no_kubelet_takes_is_told() -> None:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: 'q.io/Upper/Case:1'}]}\n"
    )
    scanned = find(manifests(text))
    assert scanned.sightings == ()
    (finding,) = scanned.findings
    assert "spec.containers[0].image" in finding.message
    assert "q.io/Upper/Case:1" in finding.found


def test_a_template_of_a_custom_resource_is_no_broken_image() -> None:
    text = _custom("templates: [{container: {image: '{{x}}', args: [a]}}]")
    assert find(manifests(text)).findings == ()


def test_a_container_named_with_a_scheme_is_likely_and_told() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: 'docker://q.io/a/b:1'}]}\n"
    scanned = find(manifests(text))
    assert brief(scanned.sightings) == {("q.io/a/b:1", "likely", "spec.containers[0].image")}
    assert len(scanned.findings) == 1


def test_the_same_place_is_told_once() -> None:
    text = _pod("args: [--x-image=q.io/a/b:1]\n")
    assert len(sightings(text + "---\n" + text)) == 2


def test_paths_lead_into_texts() -> None:
    found = brief(sightings(_configmap("config.yaml", "sidecar: {image: 'q.io/a/b:1'}\n")))
    assert found == {("q.io/a/b:1", "certain", "data.config.yaml → sidecar.image")}


def test_a_known_field_with_a_version_beside_it_is_certain() -> None:
    text = _custom("image: quay.io/p/p\nversion: v3.1.0").replace("x.example.org", "monitoring.coreos.com")
    text = text.replace("Thing", "Prometheus")
    assert _seen(text) == {"quay.io/p/p:v3.1.0": "certain"}


def test_a_secret_with_name_and_tag_apart() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {name: q.io/a/b, tag: v1, password: x}\n"
    assert brief(sightings(text)) == {("q.io/a/b:v1", "likely", "stringData.name")}
    named = text.replace("{name: s}", "{name: job-image}")
    assert brief(sightings(named)) == {("q.io/a/b:v1", "certain", "stringData.name")}


def test_values_that_are_packed_are_unpacked() -> None:
    packed = base64.b64encode(gzip.compress(b"image: q.io/a/b:v1\n", mtime=0)).decode()
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\nbinaryData: {{config.yaml: {packed}}}\n"
    assert _seen(text) == {"q.io/a/b:v1": "certain"}


def test_a_variable_says_what_the_key_of_a_secret_is() -> None:
    pod = _pod(
        """\
        env:
          - {name: JOB_IMAGE_NAME, valueFrom: {secretKeyRef: {name: s, key: a}}}
          - {name: JOB_IMAGE_TAG, valueFrom: {secretKeyRef: {name: s, key: b}}}
          - {name: OTHER_IMAGE, valueFrom: {configMapKeyRef: {name: m, key: other}}}
        """
    )
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: q.io/a/b, b: v1, c: x}\n"
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {other: 'q.io/a/c:1'}\n"
    assert _seen(f"{pod}---\n{secret}---\n{config}") == {"q.io/a/b:v1": "certain", "q.io/a/c:1": "certain"}
    assert _seen(f"{secret}---\n{config}") == {"q.io/a/c:1": "likely"}
