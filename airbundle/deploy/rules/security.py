"""Pod Security levels of namespaces against the pods that go into them.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (v1.33).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airbundle.deploy.facts import Body, SiteFacts
from airbundle.deploy.rules.catalogue import told
from airbundle.deploy.templates import PodTemplate, containers_of, name_of, template_of
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules.scene import entries, mapping

_ENFORCE = "pod-security.kubernetes.io/enforce"
_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_SYSCTLS = frozenset(
    f"{area}.{name}"
    for area, names in {
        "kernel": "shm_rmid_forced",
        "net.ipv4": "ip_local_port_range ip_unprivileged_port_start tcp_syncookies ping_group_range "
        "ip_local_reserved_ports tcp_keepalive_time tcp_fin_timeout tcp_keepalive_intvl tcp_keepalive_probes",
    }.items()
    for name in names.split()
)
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_SECCOMP = frozenset({"RuntimeDefault", "Localhost"})
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
Broken = Iterator[tuple[str, str]]
"""Field and what is there."""


def find(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the pods that the level of their namespace refuses."""
    levels = {name_of(each): _level(each) for each in facts.all("Namespace")}
    levels.update({each.name: _level(each.body) for each in wanted.of_kind("Namespace") if _level(each.body)})
    for _, manifest in wanted.acting:
        template = template_of(manifest)
        level = levels.get(manifest.namespace, "")
        if template is None or level not in {"baseline", "restricted"}:
            continue
        broken = list(baseline(template))
        broken += restricted(template) if level == "restricted" else []
        if broken:
            shown = "; ".join(f"{field}: {what}" for field, what in broken[:6])
            more = f" and {len(broken) - 6} more" if len(broken) > 6 else ""
            yield told(
                "pod-security",
                f"the namespace {manifest.namespace} takes pods of level {level} only, and refuses these",
                where=f"{manifest}: {template.path}",
                found=(shown + more)[:800],
                expected=level,
                hint=f"set the securityContext in the site's values, or label the namespace {_ENFORCE}=privileged",
            )


def _level(namespace: Body) -> str:
    return str(mapping(mapping(namespace.get("metadata")).get("labels")).get(_ENFORCE) or "")


def baseline(template: PodTemplate) -> Broken:
    """Yield what the level baseline forbids."""
    spec = template.spec
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name) is True:
            yield name, "true"
    for number, volume in enumerate(entries(spec.get("volumes"))):
        if "hostPath" in volume:
            yield f"volumes[{number}]", "hostPath"
    for number, sysctl in enumerate(entries(mapping(spec.get("securityContext")).get("sysctls"))):
        if sysctl.get("name") not in _SYSCTLS:
            yield f"securityContext.sysctls[{number}]", str(sysctl.get("name"))
    for key, value in template.annotations.items():
        allowed = str(value) in {"", "runtime/default"} or str(value).startswith("localhost/")
        if str(key).startswith(_APPARMOR) and not allowed:
            yield f"annotation {key}", str(value)
    yield from _of_context("securityContext", mapping(spec.get("securityContext")))
    for place, container in containers_of(spec):
        yield from _of_container(place, container)


def _of_container(place: str, container: Body) -> Broken:
    context = mapping(container.get("securityContext"))
    if context.get("privileged") is True:
        yield f"{place}.securityContext.privileged", "true"
    added = _texts(mapping(context.get("capabilities")).get("add"))
    if added - _CAPABILITIES:
        yield f"{place}.securityContext.capabilities.add", ", ".join(sorted(added - _CAPABILITIES))
    if context.get("procMount") not in (None, "", "Default"):
        yield f"{place}.securityContext.procMount", str(context["procMount"])
    for number, port in enumerate(entries(container.get("ports"))):
        if port.get("hostPort"):
            yield f"{place}.ports[{number}].hostPort", str(port["hostPort"])
    yield from _of_context(f"{place}.securityContext", context)


def _of_context(where: str, context: Mapping[str, Any]) -> Broken:
    options = mapping(context.get("seLinuxOptions"))
    if str(options.get("type") or "") not in _SELINUX or options.get("user") or options.get("role"):
        yield f"{where}.seLinuxOptions", "type, user or role"
    for field in ("seccompProfile", "appArmorProfile"):
        if mapping(context.get(field)).get("type") == "Unconfined":
            yield f"{where}.{field}", "Unconfined"


def restricted(template: PodTemplate) -> Broken:
    """Yield what the level restricted forbids beyond baseline."""
    spec, pod = template.spec, mapping(template.spec.get("securityContext"))
    for number, volume in enumerate(entries(spec.get("volumes"))):
        kinds = set(volume) - {"name"} - _VOLUMES - {"hostPath"}
        if kinds:
            yield f"volumes[{number}]", ", ".join(sorted(map(str, kinds)))
    if pod.get("runAsUser") == 0:
        yield "securityContext.runAsUser", "0"
    for place, container in containers_of(spec):
        context = mapping(container.get("securityContext"))
        where = f"{place}.securityContext"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{where}.allowPrivilegeEscalation", "not false"
        if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"{where}.runAsNonRoot", "not true"
        if context.get("runAsUser") == 0:
            yield f"{where}.runAsUser", "0"
        profile = mapping(context.get("seccompProfile")) or mapping(pod.get("seccompProfile"))
        if profile.get("type") not in _SECCOMP:
            yield f"{where}.seccompProfile", "not set"
        capabilities = mapping(context.get("capabilities"))
        if "ALL" not in _texts(capabilities.get("drop")):
            yield f"{where}.capabilities.drop", "not ALL"
        added = _texts(capabilities.get("add")) - {"NET_BIND_SERVICE"}
        if added & _CAPABILITIES:
            yield f"{where}.capabilities.add", ", ".join(sorted(added & _CAPABILITIES))


def _texts(value: object) -> set[str]:
    return {str(each) for each in value} if isinstance(value, list) else set()
