"""Whether a text can be an image, how surely; and images whose parts stand apart.

The grammar is that of `bundle.reference`; it takes almost any word for a repository of Docker Hub. What is added here
is judgement: which texts people write for images, and which they write for other things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from airbundle.bundle.chart_yaml import text_of
from airbundle.bundle.digest import is_digest
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import UsageError, VerificationError

Form = Literal["full", "tagged", "hosted", "bare"]
"""`full`: host and tag, or a digest; `tagged`: a tag but no host; `hosted`: a host but no tag; `bare`: neither."""

_LENGTH_LIMIT = 600
_SCHEMES = frozenset({"docker", "docker-pullable", "docker-image", "containerd", "cri-o", "oci"})
_KNOWN_HOSTS = re.compile(
    r"(?:.+\.)?(?:docker\.io|docker\.com|quay\.io|ghcr\.io|gcr\.io|pkg\.dev|registry\.k8s\.io|mcr\.microsoft\.com"
    r"|azurecr\.(?:io|cn|us)|amazonaws\.com(?:\.cn)?|public\.ecr\.aws|icr\.io|nvcr\.io|lscr\.io|docker\.elastic\.co"
    r"|registry\.access\.redhat\.com|registry\.redhat\.io|registry\.gitlab\.com|cgr\.dev|rancher\.com|ocir\.io"
    r"|container-registry\.oracle\.com|aliyuncs\.com|jfrog\.io|docker\.[a-z.-]+|registry\.[a-z0-9.-]+|oci\.[a-z.-]+)"
)
# Names of objects, labels and API groups look like hosts with paths.
_NO_REGISTRY = re.compile(
    r"(?:.+\.)?(?:kubernetes\.io|k8s\.io|x-k8s\.io|github\.com|githubusercontent\.com|helm\.sh|golang\.org|gopkg\.in|json-schema\.org|w3\.org|openshift\.io|coreos\.com|istio\.io"
    r"|cert-manager\.io|fluxcd\.io|argoproj\.io|opencontainers\.org)"
)
_SERVICE = re.compile(r".+\.(?:svc|cluster\.local)")
_API_VERSION = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]+)?")
_FILE_ENDINGS = (
    "yaml|yml|json|toml|ini|conf|cfg|properties|txt|md|sh|bash|py|js|ts|go|rb|rs|java|xml|html|css|log|sock|pid|pem"
    "|crt|cer|key|csr|p12|jks|png|jpg|jpeg|svg|gif|ico|webp|tgz|tar|gz|zip|zst|iso|img|qcow2|raw|vmdk|so|exe|jar|war"
    "|sql|db|lock|tpl|gotmpl|tmpl|j2|hcl|tf|env|csv|lua|vcl|pdf"
)
_FILE = re.compile(rf"\.(?:{_FILE_ENDINGS})$", re.IGNORECASE)
_NEVER = re.compile(
    r"[\s{}$<>*?|\\\"'`,;=&()^%!~#]"  # templates, globs, lists, assignments, shell, URLs' queries
    r"|^[./~-]|^\W|//|\.\.|/$|:$|^[a-z]+:/"
    r"|^(?:[0-9]+(?:\.[0-9]+)*)(?::[0-9]+)?(?:/[0-9]+)?$"  # numbers, versions, IPv4 with port or mask
    r"|^[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?$|^[0-9]{4}-[0-9]{2}-[0-9]{2}T"  # times
    r"|^[^/]*\.[^/]*:[0-9]{1,5}$"  # a host and its port
)
_MEDIA = re.compile(r"(?:application|text|image|audio|video|font|multipart|message|model)/[\w.+-]+(?:;.*)?")
_DIGIT = re.compile(r"[0-9]")
_PORT_LIKE = re.compile(r"[0-9]{3,5}")
_VERSION_LIKE = re.compile(r"(?i)v?[0-9]+(?:[._-][0-9a-z]+)*|(?:release|stable|edge|latest|main|master|nightly)[\w.-]*")
_DOTTED_VERSION = re.compile(r"(?i)(?:[a-z]+[-_.])*?v?[0-9]+\.[0-9]+[\w.-]*|release\.[0-9][\w.-]*")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_NO_WORDS = frozenset({"auto", "none", "null", "true", "false", "default", "yes", "no", "on", "off", "latest", "n/a"})
_HEX = re.compile(r"[0-9a-f]{64}")
# Official images that charts and operators name without a host or an organisation.
_OFFICIAL = """
    alpine almalinux amazoncorretto archlinux bash busybox caddy cassandra clickhouse consul couchdb curl debian
    docker eclipse-mosquitto eclipse-temurin elasticsearch emqx erlang fedora fluentd gcc ghost golang gradle
    grafana haproxy hello-world httpd influxdb kibana kong logstash mariadb maven memcached mongo mongo-express
    mysql nats neo4j nextcloud nginx node openjdk percona perl php postgres python rabbitmq redis registry
    rocket.chat rockylinux ruby rust solr sonarqube telegraf tomcat traefik ubuntu valkey varnish vault wordpress
    zookeeper
"""
_LIBRARY = frozenset(_OFFICIAL.split())


@dataclass(frozen=True)
class Spelled:
    """An image as somebody wrote it.

    Attributes:
        written: the text; several values put together stand as what they make.
        unmistakable: nothing else is written so: full forms of a plausible host, digests.
        telling: a person would take it for an image even where nothing says so: `org/app:1.2`, `redis:7.2`.
    """

    image: Reference
    written: str
    form: Form
    unmistakable: bool
    telling: bool

    @property
    def pinned(self) -> bool:
        """Whether a tag or a digest was written."""
        return self.form in {"full", "tagged"}


def as_image(text: object) -> Spelled | None:
    """Return the image that a text may be, or None when it surely is none.

    Args:
        text: any value; only text can be an image. Quotes and blanks around it don't count, nor a scheme such as
            `docker://`; `https://` does.
    """
    if not isinstance(text, str) or not 2 <= len(text) <= _LENGTH_LIMIT:
        return None
    written = text.strip().strip("\"'`").strip()
    scheme, mark, rest = written.partition("://")
    if mark and scheme in _SCHEMES:
        written = rest
    if _is_none(written):
        return None
    try:
        image = parse_reference(written)
    except UsageError:
        return None
    spelled = _judged(image, written)
    if spelled is not None and scheme == "oci":  # charts and other artifacts are named so, too
        return replace(spelled, unmistakable=False, telling=False)
    if spelled is not None and mark and spelled.pinned:
        return replace(spelled, telling=True)
    return spelled


def joined(
    registry: object = None,
    repository: object = None,
    tag: object = None,
    digest: object = None,
    name: object = None,
) -> Spelled | None:
    """Put together what stands in two to five values, as charts and operators do.

    Args:
        registry: `quay.io`, `https://quay.io/`, `quay.io/org`; left out where the repository has a host already.
        repository: `org/app`, `quay.io/org/app`, `app:1.2`; its own tag and digest count before the others.
        tag: text or number; may begin with `:`, hold `@sha256:…`, or be a digest.
        digest: with or without `sha256:`; anything else is left out.
        name: the last component, where the repository is an organisation's only.

    Returns:
        the image, or None when there is no repository, or the parts make no reference.
    """
    base = _path(repository)
    last = _path(name)
    if last and base.rpartition("/")[2] != last:
        base = f"{base}/{last}" if base else last
    if not base:
        return None
    base, own_tag, own_digest = _taken_apart(base)
    host = _path(registry)
    if host and not _has_host(base) and not f"{base}/".startswith(f"{host}/"):
        base = f"{host}/{base}"
    first_tag, first_digest = _tag_and_digest(tag)
    wanted_digest = own_digest or first_digest or _digest(digest)
    wanted_tag = own_tag or first_tag
    written = base + (f":{wanted_tag}" if wanted_tag else "") + (f"@{wanted_digest}" if wanted_digest else "")
    return as_image(written)


def is_version(text: str) -> bool:
    """Tell whether a text looks like the version that a tag would be."""
    return _VERSION_LIKE.fullmatch(text) is not None


def scalar_text(value: object) -> str:
    """Return a scalar as helm prints it; empty for nothing, lists and mappings."""
    try:
        return text_of(value, what="value").strip()
    except VerificationError:
        return ""


def _is_none(written: str) -> bool:
    if len(written) < 2 or written.lower() in _NO_WORDS:
        return True
    if written.startswith("["):  # an IPv6 host
        return "]" not in written or "/" not in written.partition("]")[2]
    if _NEVER.search(written) or _MEDIA.fullmatch(written):
        return True
    name, _, digest = written.partition("@")
    if digest:
        return not is_digest(digest)
    if written.count(":") > 2:  # more than a port and a tag: addresses, class paths, ARNs
        return True
    last = name.rpartition("/")[2]
    path, _, tag = last.partition(":")
    return bool(_FILE.search(path) or (not tag and _FILE.search(last)) or _ADDRESS.fullmatch(tag))


def _judged(image: Reference, written: str) -> Spelled | None:
    hosted = _has_host(written)
    host = image.registry.partition(":")[0].lower()
    known = _KNOWN_HOSTS.fullmatch(host) is not None
    if hosted and not known and (_NO_REGISTRY.fullmatch(host) or not _names_a_host(image.registry)):
        return None
    pinned = bool(image.digest) or ":" in written.rpartition("/")[2]
    form: Form = ("full" if pinned else "hosted") if hosted else ("tagged" if pinned else "bare")
    if image.digest:
        form = "full"
    if form == "full":
        sure = bool(image.digest) or known or _plausible(image, host)
        return Spelled(image, written, form, sure, telling=sure)
    return Spelled(image, written, form, unmistakable=False, telling=form == "tagged" and _telling(image, written))


def _names_a_host(registry: str) -> bool:
    """Whether it is more than a word in upper case, such as `REGISTRY/app`."""
    return any(mark in registry for mark in ".:[") or registry == "localhost"


def _plausible(image: Reference, host: str) -> bool:
    """Whether a host that nobody knows may be a registry, and the tag a tag."""
    if "_" in host or _FILE.search(host) or _PORT_LIKE.fullmatch(image.tag):
        return False
    if _SERVICE.fullmatch(host) and "registry" not in host:
        return False
    with_port = ":" in image.registry
    if host == "localhost" or host.startswith("[") or _ADDRESS.fullmatch(host):
        return with_port or is_version(image.tag)
    if _API_VERSION.fullmatch(image.repository.rpartition("/")[2]):
        return False
    return with_port or _DIGIT.search(image.tag) is not None or is_version(image.tag)


def _telling(image: Reference, written: str) -> bool:
    if _ADDRESS.fullmatch(image.tag):
        return False
    if "/" in written:
        return _DOTTED_VERSION.fullmatch(image.tag) is not None
    name = image.repository.rpartition("/")[2]
    return name in _LIBRARY and _VERSION_LIKE.match(image.tag) is not None and not _PORT_LIKE.fullmatch(image.tag)


def is_official(image: Reference) -> bool:
    """Tell whether it is one of the well-known official images of Docker Hub, such as `redis`."""
    return image.repository.startswith("library/") and image.repository[8:] in _LIBRARY


def _has_host(text: str) -> bool:
    first, slash, _ = text.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def _path(value: object) -> str:
    text = scalar_text(value)
    if "://" in text:
        text = text.partition("://")[2]
    return text.strip("/ ")


def _taken_apart(base: str) -> tuple[str, str, str]:
    rest, _, digest = base.partition("@")
    head, colon, tag = rest.rpartition(":")
    if colon and "/" not in tag:
        return head, tag, _digest(digest)
    return rest, "", _digest(digest)


def _tag_and_digest(value: object) -> tuple[str, str]:
    text = scalar_text(value).lstrip(":")
    if _digest(text) and (":" in text or text.startswith("@")):
        return "", _digest(text)
    tag, _, digest = text.partition("@")
    return tag, _digest(digest)


def _digest(value: object) -> str:
    text = scalar_text(value).lstrip("@").lower()
    if _HEX.fullmatch(text):
        text = f"sha256:{text}"
    elif text.startswith("sha256-"):
        text = f"sha256:{text[7:]}"
    return text if is_digest(text) else ""
