"""What airbundle itself knows of operators, tried with objects as charts of these operators render them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airbundle.builder.knowledge import knowledge_for, own_knowledge
from airbundle.bundle.reference import parse_reference
from airbundle.bundle.semver import Constraint
from airbundle.errors import DocumentError
from airbundle.scan.model import Manifest, Origin
from airbundle.scan.operators import operator_images
from airbundle.store.inventory_dir import open_inventory

ORIGIN = Origin("manifests", namespace="ns")


def operator(image: str, *arguments: str, **env: str) -> Manifest:
    variables = [{"name": name, "value": value} for name, value in env.items()]
    container = {"name": "manager", "image": image, "args": list(arguments), "env": variables}
    spec = {"template": {"spec": {"containers": [container]}}}
    return Manifest(ORIGIN, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "op"}, "spec": spec})


def resource(kind: str, **spec: Any) -> Manifest:
    group, _, name = kind.rpartition("/")
    return Manifest(ORIGIN, {"apiVersion": f"{group}/v1", "kind": name, "metadata": {"name": "x"}, "spec": spec})


CNPG = "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0"
PROMETHEUS = "quay.io/prometheus-operator/prometheus-operator:v0.93.0"
MINIO = "quay.io/minio/operator:v7.1.1"
RELOADER = "quay.io/prometheus-operator/prometheus-config-reloader:v0.93.0"
BARMAN = [{"name": "barman-cloud.cloudnative-pg.io"}]
SOLVERS: dict[str, Any] = {"solvers": [{"http01": {"ingress": {}}}]}


@pytest.mark.parametrize(
    ("manifests", "certain"),
    [
        pytest.param(
            [operator(CNPG), resource("postgresql.cnpg.io/Cluster", instances=3)],
            {"ghcr.io/cloudnative-pg/postgresql:18.4-system-trixie"},
            id="cnpg cluster",
        ),
        pytest.param(
            [operator(CNPG), resource("postgresql.cnpg.io/Pooler", pgbouncer={"poolMode": "session"})],
            {"ghcr.io/cloudnative-pg/pgbouncer:1.25.1"},
            id="cnpg pooler",
        ),
        pytest.param(
            [operator(CNPG), resource("postgresql.cnpg.io/Cluster", imageCatalogRef={"name": "x"})], set(), id="catalog"
        ),
        pytest.param(
            [
                operator("ghcr.io/cloudnative-pg/plugin-barman-cloud:v0.13.0", SIDECAR_IMAGE="x.io/sidecar:v1"),
                resource("postgresql.cnpg.io/Cluster", imageName="x.io/pg:1", plugins=BARMAN),
            ],
            {"x.io/sidecar:v1"},
            id="barman",
        ),
        pytest.param(
            [operator(PROMETHEUS), resource("monitoring.coreos.com/Prometheus", thanos={})],
            {"quay.io/prometheus/prometheus:v3.13.1", "quay.io/thanos/thanos:v0.42.2", RELOADER},
            id="prometheus with thanos",
        ),
        pytest.param(
            [
                operator(
                    PROMETHEUS,
                    "--prometheus-default-base-image=x.io/prom",
                    "--alertmanager-default-base-image=x.io/am",
                    "--prometheus-config-reloader=x.io/reloader:1",
                ),
                resource("monitoring.coreos.com/Prometheus", version="v3.0.0"),
                resource("monitoring.coreos.com/Alertmanager"),
            ],
            {"x.io/prom:v3.0.0", "x.io/am:v0.33.1", "x.io/reloader:1"},
            id="prometheus with other bases",
        ),
        pytest.param(
            [operator(PROMETHEUS), resource("monitoring.coreos.com/ThanosRuler")],
            {"quay.io/thanos/thanos:v0.42.2", RELOADER},
            id="thanos ruler",
        ),
        pytest.param(
            [operator(MINIO, "controller"), resource("minio.min.io/Tenant", kes={"replicas": 1})],
            {
                "docker.io/minio/minio:RELEASE.2025-04-08T15-41-24Z",
                "quay.io/minio/operator-sidecar:v7.0.1",
                "docker.io/minio/kes:2025-03-12T09-35-18Z",
            },
            id="minio",
        ),
        pytest.param(
            [
                operator("quay.io/spotahome/redis-operator:v1.2.4"),
                resource("databases.spotahome.com/RedisFailover", redis={"exporter": {"enabled": True}}, sentinel={}),
            ],
            {"docker.io/library/redis:6.2.6-alpine", "quay.io/oliver006/redis_exporter:v1.43.0"},
            id="spotahome",
        ),
        pytest.param(
            [operator("quay.io/opstree/redis-operator:v0.26.0"), resource("redis.redis.opstreelabs.in/Redis")],
            set(),
            id="opstree: only with a feature gate",
        ),
        pytest.param(
            [
                operator("quay.io/jetstack/cert-manager-controller:v1.21.1"),
                resource("cert-manager.io/ClusterIssuer", acme=SOLVERS),
            ],
            {"quay.io/jetstack/cert-manager-acmesolver:v1.21.1"},
            id="acme",
        ),
        pytest.param(
            [
                operator("quay.io/jetstack/cert-manager-controller:v1.21.1"),
                resource("cert-manager.io/ClusterIssuer", ca={"secretName": "ca"}),
            ],
            set(),
            id="no acme",
        ),
        pytest.param(
            [
                operator("docker.elastic.co/eck/eck-operator:3.4.1"),
                resource("elasticsearch.k8s.elastic.co/Elasticsearch", version="9.1.0"),
                resource("kibana.k8s.elastic.co/Kibana", version="8.19.1", image="x.io/kibana:1"),
                resource("beat.k8s.elastic.co/Beat", version="8.19.1", type="filebeat"),
                resource("logstash.k8s.elastic.co/Logstash"),
            ],
            {
                "docker.elastic.co/elasticsearch/elasticsearch:9.1.0",
                "x.io/kibana:1",
                "docker.elastic.co/beats/filebeat:8.19.1",
            },
            id="eck",
        ),
        pytest.param(
            [
                operator("docker.elastic.co/eck/eck-operator:3.4.1", "--container-registry=x.io:5000"),
                resource("elasticsearch.k8s.elastic.co/Elasticsearch", version="9.1.0"),
            ],
            {"x.io:5000/elasticsearch/elasticsearch:9.1.0"},
            id="eck with a registry",
        ),
        pytest.param(
            [
                operator("ghcr.io/open-telemetry/opentelemetry-operator/opentelemetry-operator:0.152.0"),
                resource("opentelemetry.io/OpenTelemetryCollector", targetAllocator={"enabled": True}),
            ],
            {
                "ghcr.io/open-telemetry/opentelemetry-collector-releases/opentelemetry-collector:0.152.1",
                "ghcr.io/open-telemetry/opentelemetry-operator/target-allocator:0.152.0",
            },
            id="opentelemetry",
        ),
        pytest.param([operator("ghcr.io/fluxcd/helm-controller:v1.4.5")], set(), id="flux"),
    ],
)
def test_what_the_operators_of_the_stack_run(manifests: list[Manifest], certain: set[str]) -> None:
    scanned = operator_images(own_knowledge(), manifests)
    assert {str(one.image) for one in scanned.sightings if one.certainty == "certain"} == certain
    assert not scanned.findings


def test_the_place_is_the_field_that_a_person_would_set() -> None:
    scanned = operator_images(own_knowledge(), [operator(CNPG), resource("postgresql.cnpg.io/Pooler")])
    assert [one.place.path for one in scanned.sightings if one.certainty == "certain"] == ["spec.pgbouncer.image"]


def test_every_default_says_where_it_was_read() -> None:
    for known in own_knowledge().operators:
        assert known.source, known.name
        assert known.images or known.note, known.name
        for image in known.images:
            assert image.source, (known.name, image.name)


def test_no_two_defaults_of_an_image_claim_the_same_version() -> None:
    for known in own_knowledge().operators:
        for image in known.images:
            named = [end for default in image.defaults for end in default.ends if "{version}" not in default.image]
            for version in named:
                holding = [one for one in image.defaults if one.holds(version) and "{version}" not in one.image]
                assert len(holding) == 1, (known.name, image.name, version.original)


def test_every_default_is_an_image_of_some_version() -> None:
    for known in own_knowledge().operators:
        for image in known.images:
            for default in image.defaults:
                assert default.ends
                assert all(Constraint(default.versions).holds(end) for end in default.ends), default
                missing = any(setter.part == "tag" for setter in image.setters)
                assert all(parse_reference(default.of(end), default_tag="x" * missing) for end in default.ends)


def test_the_inventorys_own_files_win(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text(
        "apiVersion: airbundle.dev/v1\nkind: Bundle\nmetadata: {name: x, version: 1.0.0}\nimages: [redis:7]\n"
        "operators: [one.yaml, two.yaml]\n"
    )
    text = (
        "apiVersion: airbundle.dev/v1\nkind: OperatorKnowledge\noperators:\n"
        "  - name: cloudnative-pg\n    repositories: [ours/cnpg]\n    images:\n      - name: PostgreSQL\n"
        "        defaults: [{versions: 1.30.x, image: 'ours/pg:%s'}]\n"
    )
    (tmp_path / "one.yaml").write_text(text % 1)
    (tmp_path / "two.yaml").write_text(text % 2)
    knowledge = knowledge_for(open_inventory(tmp_path))
    scanned = operator_images(knowledge, [operator("ours/cnpg:1.30.0"), resource("postgresql.cnpg.io/Cluster")])
    assert [str(one.image) for one in scanned.sightings if one.certainty == "certain"] == ["docker.io/ours/pg:2"]

    (tmp_path / "two.yaml").write_text("kind: nothing\n")
    with pytest.raises(DocumentError, match=r"two\.yaml"):
        knowledge_for(open_inventory(tmp_path))
