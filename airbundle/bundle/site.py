"""`site.yaml`: what the operator says about the disconnected side (design §8), as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

SITE_NAME = "site.yaml"
ISSUER = "airbundle-ca"
"""What the ClusterIssuer is called where the site file says nothing."""

SiteValue = Union[str, int, float, bool]
"""What a name of a bundle's own may stand for."""


@dataclass(frozen=True)
class ClusterTarget:
    """The cluster: how it is reached, and the uid of kube-system that proves it is the right one."""

    context: str = ""
    kubeconfig: str = ""
    uid: str = ""


@dataclass(frozen=True)
class RegistryAuth:
    """How the installer logs in to an external registry; the password itself, or a file whose first line it is."""

    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""


@dataclass(frozen=True)
class RegistryTarget:
    """The private registry: `embedded`, `container` or `external`; `ca` is a PEM file of an external one's CA."""

    mode: str = "embedded"
    url: str = ""
    prefix: str = ""
    ca: str = ""
    auth: RegistryAuth | None = None


@dataclass(frozen=True)
class NodeAccess:
    """The cluster's nodes: their container runtime, and how their configuration is reached.

    `logged_in`: they have logins of their own at an external registry that lets nobody pull without one.
    """

    runtime: str = "containerd"
    access: str = "local"
    hosts: tuple[str, ...] = ()
    restart: str = "manual"
    logged_in: bool = False


@dataclass(frozen=True)
class SiteCa:
    """The internal CA at this site, what it may vouch for, and the name of cert-manager's ClusterIssuer of it."""

    mode: str = ""
    permitted: tuple[str, ...] = ()
    issuer: str = ISSUER


@dataclass(frozen=True)
class SiteDns:
    """The internal zone: its records (name → addresses or one name), and whom to ask for all else."""

    zone: str = ""
    records: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forward: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReleaseChoice:
    """What the site says about a release of the bundle; None and "" leave it as the bundle has it.

    `handed_over`: an administrator deploys it, by the files of `install --handoff`; airbundle waits for it.
    """

    enabled: bool | None = None
    namespace: str = ""
    timeout: str = ""
    handed_over: bool = False


@dataclass(frozen=True)
class SiteSecret:
    """A Secret to be there: key → `random`, `random:LENGTH`, `prompt`, `env:NAME` or `file:PATH`."""

    name: str
    namespace: str
    keys: Mapping[str, str]
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Site:
    """A whole site file. Paths are relative to its directory, or absolute.

    `names`: what the bundle's own names stand for here (`own_names`).
    """

    name: str
    cluster: ClusterTarget = ClusterTarget()
    domain: str = ""
    registry: RegistryTarget = RegistryTarget()
    nodes: NodeAccess = NodeAccess()
    ca: SiteCa = SiteCa()
    dns: SiteDns = SiteDns()
    storage_class: str = ""
    releases: Mapping[str, ReleaseChoice] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: tuple[SiteSecret, ...] = ()
    names: Mapping[str, SiteValue] = field(default_factory=dict)
    where: str = field(default=SITE_NAME, compare=False)


def parse_site(raw: bytes, *, where: str = SITE_NAME) -> Site:
    """Read `site.yaml`; local files are not touched.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: it does not parse; every finding is listed, with line, field, found and expected.
    """
    # The description of the fields is needed by those who read, not by those who only hold a site.
    from airbundle.bundle.site_fields import read_site

    return read_site(raw, where)
