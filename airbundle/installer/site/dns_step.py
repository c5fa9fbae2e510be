"""Step `dns`: the site's zones are served by the cluster's CoreDNS, and lie as files for the site's own server.

The registry's name is always among them, so that pods find it. When CoreDNS does not answer as it is told to, its
configuration is put back at once: one that it can't read would keep it from starting again.
"""

from __future__ import annotations

from collections.abc import Sequence

from airbundle.deploy.zone import Zone, zones_of
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.site.dns_check import check_from_host, check_from_pod, touch_coredns
from airbundle.installer.site.dns_config import DnsConfig, change_config, changes, put_text, read_config, wanted_text
from airbundle.installer.site.dns_files import dns_files, file_changes, stale_files, write_dns_files
from airbundle.installer.site.node_facts import registry_addresses, registry_name
from airbundle.installer.site.step import Change, SiteRun
from airbundle.progress import Phase

NAME = "dns"


class DnsStep:
    """The step; see the module."""

    name = NAME
    needs: tuple[str, ...] = ()

    def __init__(self, run: SiteRun) -> None:
        self._run = run

    def plan(self) -> Sequence[Change]:
        """Return how CoreDNS's configuration would change, and the files that would.

        Raises:
            SiteError: CoreDNS can't have these zones; says why.
        """
        zones, config = zones_at(self._run), read_config(self._run)
        found = file_changes(self._run.site_state, zones)
        if not config.form:
            return found
        old, new = wanted_text(self._run, config, zones)
        return [*changes(config, old, new), *found]

    def run(self, phase: Phase) -> bool:
        """Serve the zones, and see that they are. See `Step.run`.

        Raises:
            SiteError: CoreDNS can't have these zones, or does not answer; then it is as it was (`rolled-back`).
        """
        zones, config = zones_at(self._run), read_config(self._run)
        files, stale = dns_files(self._run.site_state, zones), stale_files(self._run.site_state, zones)
        write_dns_files(self._run.site_state, files, stale)
        if not config.form:
            if zones:
                self._run.reporter.warn(_UNKNOWN)
            return bool(files or stale)
        old, new = wanted_text(self._run, config, zones)
        with phase.item(config.key.title, 0):
            if old != new:
                change_config(self._run, config, old, new)
                touch_coredns(self._run, new)
            try:
                self._check(zones)
            except SiteError as error:
                if old == new:
                    raise
                self._put_back(config, old, new, error)
        return bool(files or stale) or old != new

    def _check(self, zones: Sequence[Zone]) -> None:
        check_from_pod(self._run, zones)
        findings = check_from_host(self._run, zones, registry_name(self._run))
        for finding in findings:
            if finding.severity == "warning":
                self._run.reporter.warn(str(finding))
        wrong = [finding for finding in findings if finding.severity == "error"]
        if wrong:
            raise SiteError("CoreDNS does not answer as it is told to", findings=wrong)

    def _put_back(self, config: DnsConfig, old: str, new: str, error: SiteError) -> None:
        put_text(self._run, config, old, new)
        touch_coredns(self._run, old)
        raise SiteError(
            f"{error.problem}; it was put back as it was",
            outcome="rolled-back",
            hint=error.hint,
            findings=error.findings,
        )


def zones_at(run: SiteRun) -> tuple[Zone, ...]:
    """Return the zones that a site serves. Raises UsageError for records that can't be."""
    return zones_of(run.site.site.dns, registry_name(run), registry_addresses(run))


def dns_findings(run: SiteRun) -> list[Finding]:
    """Return what stands in the way of the site's zones; reads only.

    Raises:
        Unauthorized, RemoteError: CoreDNS's configuration can't be read.
    """
    findings = []
    config = read_config(run)
    try:
        zones = zones_at(run)
        if config.form:
            wanted_text(run, config, zones)
    except AirbundleError as error:
        return [Finding(error.problem, where=NAME, code="dns", hint=error.hint)]
    if zones and not config.form:
        findings.append(Finding(_UNKNOWN, where=NAME, code="dns", severity="warning"))
    name = registry_name(run)
    zone = run.site.site.dns.zone
    hidden = zone and name.endswith(f".{zone}") and not any(each.addresses(name) for each in zones)
    if hidden:
        findings.append(
            Finding(
                f"the zone {zone} has no address for the registry, {name}, and hides what other servers know of it",
                where=NAME,
                code="dns-registry",
                hint=f"add it to `dns.records`: {name[: -len(zone) - 1]}: ADDRESS",
            )
        )
    return findings


_UNKNOWN = (
    "the cluster has no ConfigMap kube-system/coredns with a Corefile, so its DNS is not airbundle's to change: "
    "give it the zone by the files in the site's directory dns"
)
