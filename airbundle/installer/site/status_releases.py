"""`airbundle status` at a site: whether a release is there as it was deployed."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import replace

from airbundle.deploy.helm_history import DEPLOYED
from airbundle.errors import Finding
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease
from airbundle.installer.site.drift import Drift, drifts
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_lasting import lasting_of
from airbundle.installer.site.release_tracks import Track, Tracks
from airbundle.installer.site.release_up import leaving
from airbundle.installer.site.step import SiteRun

_SHOWN = 10
_LASTING = "was not as it was applied when all of it came up, and is so still: a controller sets it, or a person had"
_AGAIN = "install the bundle again, which puts it back"
_RESTORE = "airbundle rollback, which restores them; or install a version that takes them as they are"
_AGREED = "install the bundle again with --yes, which puts it back"
_ADMINISTRATOR = "it was handed over: let the administrator run apply.sh of the newest handoff again"


def release_findings(
    run: SiteRun, helm: SiteHelm, release: DeployedRelease, states: MutableMapping[str, str]
) -> Iterator[Finding]:
    """Yield what is not well of a release.

    Args:
        run: of the site.
        helm: of the same.
        release: as it was recorded.
        states: gets how it is, by its name: `up`, `changed`, or `gone`.
    """
    where = f"release/{release.name}"
    track = Tracks(run.site_state, release.name).read()
    findings = list(_of_helm(helm, release, track)) if release.kind == "chart" else []
    if track.restoring:
        findings.append(Finding("its data are yet to be restored", where=where, code="data", hint=_RESTORE))
    handed_over = release.kind == HANDED_OVER
    found = list(drifts(run.cluster, run.site_state, release)) if release.manifest or handed_over else []
    lasting = lasting_of(found, track)
    found = [each for each in found if each not in lasting]
    for each in lasting:
        yield replace(_told(f"{each.key.title} {_LASTING}", each, where), severity="warning")
    hint = _ADMINISTRATOR if handed_over else _AGAIN if release.kind == "chart" else _AGREED
    gone = [each for each in found if each.gone]
    lasts = len(release.objects) - len(leaving(run.site_state, release))
    if 0 < lasts <= len(gone):
        states[release.name] = "gone"
        yield Finding(
            "the release is gone", where=where, code="release", hint=_ADMINISTRATOR if handed_over else _AGAIN
        )
        return
    findings += [_of_drift(each, where, hint) for each in found[:_SHOWN]]
    if len(found) > _SHOWN:
        findings.append(Finding(f"{len(found) - _SHOWN} more objects are not as they were applied", where=where))
    states[release.name] = "changed" if findings else "up, handed over" if handed_over else "up"
    yield from findings


def _of_drift(drift: Drift, where: str, hint: str) -> Finding:
    if drift.gone:
        return Finding(f"{drift.key.title} is gone", where=where, code="object", hint=hint)
    return _told(f"{drift.key.title} was edited", drift, where, hint)


def _told(what: str, drift: Drift, where: str, hint: str = "") -> Finding:
    return Finding(what, where=where, code="object", found=drift.found, expected=drift.expected, hint=hint)


def _of_helm(helm: SiteHelm, release: DeployedRelease, track: Track) -> Iterator[Finding]:
    where, hint = f"release/{release.name}", _AGAIN
    history = helm.releases.history(release.namespace, release.name)
    if not history:
        yield Finding("helm knows no such release", where=where, code="release", hint=hint)
        return
    newest = history[-1]
    if newest.status != DEPLOYED:
        yield Finding("helm did not finish with it", where=where, code="release", found=newest.status, hint=hint)
    elif newest.number != release.revision and track.tried and track.took(track.tried, newest.number):
        yield Finding(
            "an install has deployed it since, which has not come to its end",
            where=where,
            code="release",
            hint="let it end, or run the same command again",
        )
    elif newest.number != release.revision:
        yield Finding(
            "somebody else has deployed it since: its values may be others",
            where=where,
            code="values",
            found=f"revision {newest.number}",
            expected=f"revision {release.revision}",
            hint=hint,
        )
