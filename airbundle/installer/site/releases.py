"""The releases of a bundle as steps of a site's install."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from airbundle.bundle.release import Release
from airbundle.installer.releases import carried_releases
from airbundle.installer.render import check_site, chosen_release
from airbundle.installer.site.handed_over import HandedOverStep
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_material import Materials
from airbundle.installer.site.release_step import ReleaseStep
from airbundle.installer.site.release_works import Check, ReleaseWorks
from airbundle.installer.site.step import SiteRun, Step


@contextmanager
def release_steps(
    run: SiteRun,
    needs: Sequence[str],
    check: Check | None = None,
    also: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[list[Step]]:
    """Give the steps of the bundle's releases that are switched on, in the order of their needs.

    Args:
        run: what all steps share.
        needs: names of the steps that each release waits for.
        check: runs the declared checks of a release once it is up.
        also: release → names of further steps that it waits for.

    Raises:
        DocumentError: the site file does not go with the bundle.
        VerificationError: a release is not as airbundle writes it.
    """
    carried = carried_releases(run.trusted.bundle)
    check_site(run.site, carried, run.trusted.bundle.lock.site)
    chosen = [(each, chosen_release(each.release, run.site)) for each in carried]
    on = {release.name for _, release in chosen if release.enabled}
    # Where nothing was installed yet, looking makes nothing: the bundle's helm goes into a private directory then.
    tools = run.state.directory("bin") if run.state.is_begun else None
    with Materials(run.trusted, run.site, run.cluster, tools) as materials, SiteHelm(run) as helm:
        works = ReleaseWorks(run, materials, helm, check)
        yield [
            _kind_of_step(release, run)(
                works,
                each,
                release,
                [
                    *needs,
                    *(f"release/{need}" for need in release.needs if need in on),
                    *(also or {}).get(release.name, ()),
                ],
            )
            for each, release in chosen
            if release.enabled
        ]


def _kind_of_step(release: Release, run: SiteRun) -> Callable[..., Step]:
    choice = run.site.site.releases.get(release.name)
    return HandedOverStep if choice is not None and choice.handed_over else ReleaseStep
