"""The fields of `site.yaml`, and how they become a `Site`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from airbundle.bundle import terms
from airbundle.bundle.fields import AnyScalar, Field, Flag, ListOf, MapOf, Record, Text, When
from airbundle.bundle.own_name_fields import OWN_NAME
from airbundle.bundle.own_names import VALUE_LIMIT
from airbundle.bundle.reading import Reading, Values
from airbundle.bundle.release import RELEASE_NAME
from airbundle.bundle.site import (
    ISSUER,
    ClusterTarget,
    NodeAccess,
    RegistryAuth,
    RegistryTarget,
    ReleaseChoice,
    Site,
    SiteCa,
    SiteDns,
    SiteSecret,
)
from airbundle.bundle.yamldoc import load
from airbundle.errors import UsageError


def _check_target(text: str) -> None:
    """Refuse what is meant as an address and is none: no name ends in a number (RFC 3696, section 2)."""
    if ":" not in text and not text.rpartition(".")[2].isdigit():
        return
    try:
        ip_address(text)
    except ValueError:
        raise UsageError(f"{text} is no IP address") from None


_ADDRESS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*"
_LONGEST_NAME = 253
_PART = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_RECORD_PART = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_TARGET = Text("an IP address or a DNS name", rf"{_ADDRESS}|{_PART}(?:\.{_PART})*", check=_check_target, limit=253)
_RECORD_NAME = Text(
    "a name in the zone, such as registry, *.apps or @", rf"@|(?:\*\.)?{_RECORD_PART}(?:\.{_RECORD_PART})*", limit=253
)
_SECRET_SOURCE = Text(
    "random, random:LENGTH, prompt, env:NAME or file:PATH",
    r"random(?::[1-9][0-9]{0,3})?|prompt|env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s].*",
    # A secret's value may have been written here by mistake.
    secret=True,
)
_KUBE_NAME = Text("a Kubernetes name", r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", limit=253)

_CLUSTER = Record(
    "cluster",
    {
        "context": Field(Text("a context's name", r"\S+"), "The context in the kubeconfig"),
        "kubeconfig": Field(terms.ANY_PATH, "A kubeconfig; else as kubectl finds it"),
        "uid": Field(
            Text("a UID", r"[0-9a-fA-F-]{8,64}"), "The uid of the namespace kube-system; another one stops everything"
        ),
    },
)
_AUTH = Record(
    "auth",
    {
        "username": Field(
            Text("a user's name, without its password", r"[^\s:]+", secret=True), "The user", required=True
        ),
        "password": Field(Text("text", secret=True), "The password; better in a file"),
        "passwordFile": Field(terms.ANY_PATH, "A file whose first line is the password"),
    },
    one_of=("password", "passwordFile"),
    secret=True,
)
_REGISTRY = Record(
    "registry",
    {
        "mode": Field(
            terms.one_of("embedded", "container", "external"),
            "embedded: airbundle's own server; container: registry:2 or 3 in the Docker engine; external: one at `url`",
        ),
        "url": Field(terms.URL, "The registry's URL, as the nodes reach it; by default https://registry.<domain>:5443"),
        "prefix": Field(
            Text("a path of lower-case words, such as mirror/prod", r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*", empty=True),
            "A path before all names in the registry",
        ),
        "auth": Field(_AUTH, "How airbundle logs in at an external registry"),
        "ca": Field(terms.ANY_PATH, "The CA of an external registry, a PEM file"),
    },
    goes_with={"url": ("mode",), "auth": ("mode",)},
    whens=(
        When("mode", "external", needs=("url",)),
        When("mode", "embedded", excludes=("auth",)),
        When("mode", "container", excludes=("auth",)),
    ),
)
_NODES = Record(
    "nodes",
    {
        "runtime": Field(
            terms.one_of("containerd", "k3s", "rke2", "crio", "docker"),
            "Their container runtime; containerd by default",
        ),
        "access": Field(
            terms.one_of("local", "ssh", "daemonset", "manual"),
            "How their configuration is written; local by default, manual: you run what --handoff writes",
        ),
        "hosts": Field(ListOf(Text("a host, or user@host", r"\S+"), unique=True), "The nodes, for access by ssh"),
        "restart": Field(
            terms.one_of("manual", "rolling"),
            "Who restarts the runtime: you, or airbundle, each node in turn being cordoned and uncordoned",
        ),
        "loggedIn": Field(
            Flag(), "true: nodes have logins of their own at an external registry that lets nobody pull without one"
        ),
    },
    whens=(When("access", "ssh", needs=("hosts",)),),
)
_DNS = Record(
    "dns",
    {
        "zone": Field(terms.DNS_NAME, "The internal zone", required=True),
        "records": Field(
            MapOf(_RECORD_NAME, ListOf(_TARGET, least=1, single=True)),
            "Name → an address, a list of addresses, or another name",
        ),
        "forward": Field(ListOf(_TARGET, unique=True), "Resolvers for all other names"),
    },
)
_RELEASE_CHOICE = Record(
    "a release",
    {
        "enabled": Field(Flag(), "Whether it is deployed here"),
        "namespace": Field(terms.dns_label("a namespace"), "The namespace it is deployed into here"),
        "timeout": Field(terms.DURATION, "How long it may take here"),
        "handedOver": Field(
            Flag(), "Whether an administrator deploys it, by the files of `install --handoff`; it is waited for"
        ),
    },
)
_SECRET = Record(
    "a secret",
    {
        "name": Field(_KUBE_NAME, "The Secret's name", required=True),
        "namespace": Field(terms.dns_label("a namespace"), "Its namespace", required=True),
        "keys": Field(
            MapOf(Text("a key", r"[A-Za-z0-9._-]+", limit=253), _SECRET_SOURCE, secret=True),
            "Its keys, and where each value comes from; a value is made once and never again",
            required=True,
        ),
    },
    secret=True,
)
SITE = Record(
    "the site file",
    {
        "apiVersion": Field(terms.one_of(terms.API_VERSION), "The form of this document", required=True),
        "kind": Field(terms.one_of("Site"), "Site", required=True),
        "metadata": Field(
            Record("metadata", {"name": Field(terms.dns_label("the site's name"), "The site's name", required=True)}),
            "The site's name",
            required=True,
        ),
        "cluster": Field(_CLUSTER, "The cluster"),
        "domain": Field(terms.DNS_NAME, "The domain of everything inside; the registry is registry.<domain>"),
        "registry": Field(_REGISTRY, "The private registry"),
        "nodes": Field(_NODES, "The cluster's nodes"),
        "ca": Field(
            Record(
                "ca",
                {
                    "mode": Field(terms.one_of("site", "bundled", "external"), "As in bundle.yaml, where it differs"),
                    "permitted": Field(ListOf(terms.PERMITTED, unique=True), "Names and networks it may vouch for"),
                    "issuer": Field(_KUBE_NAME, f"cert-manager's ClusterIssuer of this CA; {ISSUER} by default"),
                },
            ),
            "The internal CA",
        ),
        "dns": Field(_DNS, "The internal zone"),
        "storageClass": Field(_KUBE_NAME, "The StorageClass of volumes; else the cluster's default"),
        "releases": Field(MapOf(RELEASE_NAME, _RELEASE_CHOICE), "What is different here about releases of the bundle"),
        "values": Field(
            MapOf(RELEASE_NAME, ListOf(terms.ANY_PATH, least=1, single=True)),
            "Release → values file or files of this site, which win over those of the bundle",
        ),
        "names": Field(
            MapOf(OWN_NAME, AnyScalar(VALUE_LIMIT)),
            "What the bundle's own names stand for here; `airbundle inspect` lists those that it asks for",
        ),
        "secrets": Field(ListOf(_SECRET), "Secrets that must be there before releases are deployed"),
    },
)


def read_site(raw: bytes, where: str) -> Site:
    """Read `site.yaml`. Raises DocumentError with every finding."""
    reading = Reading(load(raw, where=where))
    top = reading.record(SITE)
    metadata = top.record("metadata")
    site = Site(
        name=metadata.text("name") if metadata else "",
        cluster=_cluster(top.record("cluster")),
        domain=top.text("domain"),
        registry=_registry(top.record("registry")),
        nodes=_nodes(top.record("nodes")),
        ca=_ca(top.record("ca")),
        dns=_dns(top.record("dns")),
        storage_class=top.text("storageClass"),
        releases={name: _choice(values) for name, values in top.mapping("releases").items()},
        values=_lists(top.mapping("values")),
        secrets=tuple(_secret(values) for values in top.records("secrets")),
        names=dict(top.mapping("names")),
        where=where,
    )
    _refuse_doubles(site, reading)
    _refuse_records(site, top.record("dns"), reading)
    reading.finish("`airbundle schema site` is for editors, `airbundle init DIR --site` writes one to start from")
    return site


def _cluster(values: Values | None) -> ClusterTarget:
    if values is None:
        return ClusterTarget()
    return ClusterTarget(values.text("context"), values.text("kubeconfig"), values.text("uid"))


def _registry(values: Values | None) -> RegistryTarget:
    if values is None:
        return RegistryTarget()
    auth = values.record("auth")
    login = RegistryAuth(auth.text("username"), auth.text("password"), auth.text("passwordFile")) if auth else None
    return RegistryTarget(
        values.text("mode", "embedded"), values.text("url"), values.text("prefix"), values.text("ca"), login
    )


def _nodes(values: Values | None) -> NodeAccess:
    if values is None:
        return NodeAccess()
    return NodeAccess(
        values.text("runtime", "containerd"),
        values.text("access", "local"),
        values.texts("hosts"),
        values.text("restart", "manual"),
        values.flag("loggedIn", False),
    )


def _ca(values: Values | None) -> SiteCa:
    if values is None:
        return SiteCa()
    return SiteCa(values.text("mode"), values.texts("permitted"), values.text("issuer", ISSUER))


def _dns(values: Values | None) -> SiteDns:
    if values is None:
        return SiteDns()
    return SiteDns(values.text("zone"), _lists(values.mapping("records")), values.texts("forward"))


def _choice(values: Values) -> ReleaseChoice:
    enabled = values.flag("enabled", True) if "enabled" in values else None
    return ReleaseChoice(enabled, values.text("namespace"), values.text("timeout"), values.flag("handedOver", False))


def _lists(found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(items) for name, items in found.items()}


def _secret(values: Values) -> SiteSecret:
    return SiteSecret(values.text("name"), values.text("namespace"), dict(values.mapping("keys")), values.where)


def _refuse_records(site: Site, values: Values | None, reading: Reading) -> None:
    """Tell records that no server could answer with: several names, an alias of the zone itself, names too long."""
    for name, targets in site.dns.records.items():
        where = f"{values.place('records') if values else site.where}.{name}"
        other = [target for target in targets if not _is_address(target)]
        if other and len(targets) > 1:
            reading.wrong("wrong value", where, found=", ".join(targets)[:300], expected="addresses, or one name")
        elif other and name == "@":
            reading.wrong("wrong value", where, found=other[0], expected="addresses: a zone is no alias")
        if len(f"{name}.{site.dns.zone}") > _LONGEST_NAME:
            reading.wrong("wrong value", where, expected=f"at most {_LONGEST_NAME} characters with the zone's name")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _refuse_doubles(site: Site, reading: Reading) -> None:
    seen: dict[tuple[str, str], str] = {}
    for secret in site.secrets:
        first = seen.setdefault((secret.namespace, secret.name), secret.where)
        if first != secret.where:
            message = f"the secret {secret.namespace}/{secret.name} stands twice"
            reading.wrong(message, secret.where, code="double", found=f"the first at {first}")
