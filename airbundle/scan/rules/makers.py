"""Who makes Secrets, ConfigMaps, ServiceAccounts and claims: renders, cert-manager, operators, jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airbundle.scan.model import Manifest, Origin
from airbundle.scan.rules.needs import home_of, volume_claims
from airbundle.scan.rules.scene import Scene, entries, mapping

Made = tuple[str, str, str]
"""Kind, namespace (empty: any), name."""

_CLUSTERS_OWN = frozenset({"kube-root-ca.crt", "extension-apiserver-authentication", "openshift-service-ca.crt"})
_CERTIFICATE_ANNOTATIONS = ("cert-manager.io/cluster-issuer", "cert-manager.io/issuer", "kubernetes.io/tls-acme")
_COPIED = ("reflector.v1.k8s.emberstack.com/reflection-allowed", "replicator.v1.mittwald.de/replicate-to")


class Makers:
    """What is made by somebody, and the texts that tell of things made by jobs."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._made: set[Made] = {("Secret", namespace, name) for namespace, name in scene.secrets}
        for manifest in scene.manifests:
            self._made.update(_made_by(manifest))
        self._namespaces: dict[tuple[str, str], set[str]] = {}
        for kind, namespace, name in self._made:
            self._namespaces.setdefault((kind, name), set()).add(namespace)

    def has(self, kind: str, namespace: str, name: str) -> bool:
        """Whether somebody makes the object; in any namespace, when the one asked for isn't known."""
        found = self._namespaces.get((kind, name), set())
        if namespace in found or "" in found or (not namespace and bool(found)):
            return True
        if (kind == "ConfigMap" and name in _CLUSTERS_OWN) or (kind == "ServiceAccount" and name == "default"):
            return True
        return namespace == "kube-system" or self._is_told_of(kind, name)

    def elsewhere(self, kind: str, name: str) -> list[str]:
        """Return the namespaces that have an object of this name."""
        return sorted(self._namespaces.get((kind, name), set()))

    def _is_told_of(self, kind: str, name: str) -> bool:
        """Whether a program is told the name of an object, or may write it: then it makes it, as webhooks do."""
        if kind not in {"Secret", "ConfigMap"}:
            return False
        for text in self._scene.texts:
            if name in text.value:
                if text.source in {"argument", "environment"}:
                    return True
                if text.source == "config" and "kubectl" in text.value:
                    return True
        return any(name in names for names in self._writable)

    def has_job(self, origin: Origin, kind: str) -> bool:
        """Whether a release has a job, and a role that may make objects of this kind."""
        resource = f"{kind.lower()}s"
        return any(job.origin == origin for job in self._scene.by_kind.get("Job", ())) and any(
            resource in (rule.get("resources") or ()) and {"create", "*"} & {str(v) for v in rule.get("verbs") or ()}
            for role in ("Role", "ClusterRole")
            for manifest in self._scene.by_kind.get(role, ())
            if manifest.origin == origin
            for rule in entries(manifest.body.get("rules"))
        )

    @property
    def _writable(self) -> Iterator[set[str]]:
        for kind in ("Role", "ClusterRole"):
            for manifest in self._scene.by_kind.get(kind, ()):
                for rule in entries(manifest.body.get("rules")):
                    verbs = rule.get("verbs")
                    if isinstance(verbs, list) and {"create", "update", "patch", "*"} & {str(verb) for verb in verbs}:
                        yield {str(name) for name in rule.get("resourceNames") or ()}


def _made_by(manifest: Manifest) -> Iterator[Made]:
    kind, home, name = manifest.kind, manifest.namespace, manifest.name
    if kind in {"Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim"}:
        annotations = mapping(manifest.metadata.get("annotations"))
        yield kind, "" if any(key in annotations for key in _COPIED) else home, name
    elif kind == "StatefulSet":
        yield from (("PersistentVolumeClaim", home, claim) for claim in volume_claims(manifest))
    elif kind in {"Ingress", "Gateway"}:
        yield from _certificates_of(manifest)
    else:
        maker = _OPERATORS.get((manifest.api_version.partition("/")[0], kind))
        if maker:
            for made_kind, made_name in maker(name, mapping(manifest.body.get("spec"))):
                yield made_kind, home_of(manifest), made_name


def _certificates_of(manifest: Manifest) -> Iterator[Made]:
    """cert-manager makes the Secrets of annotated Ingresses and Gateways."""
    annotations = mapping(manifest.metadata.get("annotations"))
    if not any(key in annotations for key in _CERTIFICATE_ANNOTATIONS):
        return
    spec = mapping(manifest.body.get("spec"))
    for entry in entries(spec.get("tls")):
        yield "Secret", manifest.namespace, str(entry.get("secretName", ""))
    for listener in entries(spec.get("listeners")):
        for reference in entries(mapping(listener.get("tls")).get("certificateRefs")):
            yield "Secret", manifest.namespace, str(reference.get("name", ""))


Maker = Callable[[str, Mapping[str, Any]], Iterator[tuple[str, str]]]


def _secrets(*suffixes: str) -> Maker:
    """Secrets that an operator names after its custom resource."""

    def made(name: str, _spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        return (("Secret", name + suffix) for suffix in suffixes)

    return made


def _field(*path: str, kind: str = "Secret", own_name: bool = True) -> Maker:
    """An object whose name stands in a field, else is that of the custom resource."""

    def made(name: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        value: object = spec
        for key in path:
            value = mapping(value).get(key)
        if isinstance(value, str) and value:
            yield kind, value
        elif own_name:
            yield kind, name

    return made


def _cloudnative_pg(name: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from (("Secret", name + suffix) for suffix in ("-app", "-ca", "-server", "-replication"))
    if spec.get("enableSuperuserAccess") is True:
        yield "Secret", f"{name}-superuser"
    yield "ServiceAccount", name
    yield "ConfigMap", "cnpg-default-monitoring"
    yield "Secret", "cnpg-default-monitoring"


def _pooler(name: str, _spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", name


def _bundle(name: str, _spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from (("ConfigMap", name), ("Secret", name))


def _zalando(name: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for user in ("postgres", "standby", *mapping(spec.get("users"))):
        yield "Secret", f"{str(user).replace('_', '-')}.{name}.credentials.postgresql.acid.zalan.do"


def _crunchy(name: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    users = [str(user.get("name", "")) for user in entries(spec.get("users"))]
    yield from (("Secret", f"{name}-pguser-{user}") for user in (name, *users))
    yield "Secret", f"{name}-cluster-cert"


_OPERATORS: Mapping[tuple[str, str], Maker] = {
    ("postgresql.cnpg.io", "Cluster"): _cloudnative_pg,
    ("postgresql.cnpg.io", "Pooler"): _pooler,
    ("cert-manager.io", "Certificate"): _field("secretName"),
    ("cert-manager.io", "Issuer"): _field("acme", "privateKeySecretRef", "name", own_name=False),
    ("cert-manager.io", "ClusterIssuer"): _field("acme", "privateKeySecretRef", "name", own_name=False),
    ("trust.cert-manager.io", "Bundle"): _bundle,
    ("external-secrets.io", "ExternalSecret"): _field("target", "name"),
    ("external-secrets.io", "ClusterExternalSecret"): _field("externalSecretName"),
    ("bitnami.com", "SealedSecret"): _field("template", "metadata", "name"),
    ("secrets.hashicorp.com", "VaultStaticSecret"): _field("destination", "name"),
    ("secrets.hashicorp.com", "VaultDynamicSecret"): _field("destination", "name"),
    ("secrets.hashicorp.com", "VaultPKISecret"): _field("destination", "name"),
    ("objectbucket.io", "ObjectBucketClaim"): _bundle,
    ("minio.min.io", "Tenant"): _secrets("-tls", "-client-tls"),
    ("rabbitmq.com", "RabbitmqCluster"): _secrets("-default-user", "-erlang-cookie"),
    ("kafka.strimzi.io", "Kafka"): _secrets("-cluster-ca-cert", "-clients-ca-cert"),
    ("kafka.strimzi.io", "KafkaUser"): _secrets(""),
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"): _secrets(
        "-es-elastic-user", "-es-http-certs-public", "-es-http-certs-internal"
    ),
    ("kibana.k8s.elastic.co", "Kibana"): _secrets("-kb-http-certs-public"),
    ("acid.zalan.do", "postgresql"): _zalando,
    ("postgres-operator.crunchydata.com", "PostgresCluster"): _crunchy,
    ("k8s.keycloak.org", "Keycloak"): _secrets("-initial-admin"),
    ("grafana.integreatly.org", "Grafana"): _secrets("-admin-credentials"),
    ("pxc.percona.com", "PerconaXtraDBCluster"): _field("secretsName"),
    ("psmdb.percona.com", "PerconaServerMongoDB"): _field("secrets", "users"),
    ("monitoring.coreos.com", "Alertmanager"): _secrets("-generated"),
}
