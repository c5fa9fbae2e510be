"""Takes one release away that a site has and is not to have any more; its data stays."""

from __future__ import annotations

from airbundle.deploy.keeping import is_ours
from airbundle.deploy.objects import NAMESPACE, ObjectKey, apply_order, parse_key
from airbundle.installer.removed import Removed
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease
from airbundle.installer.site.kept_data import KeptData
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.undo_helm import uninstall_release

WAIT = 60.0


def remove_release(run: SiteRun, release: DeployedRelease, *, delete_data: bool = False) -> Removed:
    """Take a release away and record that. Namespaces stay: `uninstall` takes those away that airbundle made.

    Args:
        run: of which cluster, state, journal and reporter are used.
        release: as it was recorded.
        delete_data: whether what holds data goes, too.

    Raises:
        SiteError, RemoteError: a part could not be taken away; the release stays recorded.
    """
    if release.kind == HANDED_OVER:
        run.site_state.drop(release.name)
        return Removed(kept=[f"release {release.name}: it was handed over; the administrator's undo.sh takes it away"])
    spaces = {release.namespace, *(parse_key(text).namespace for text in release.objects)} - {""}
    done, data = Removed(), KeptData(run.cluster, spaces)
    with run.journal.step(f"remove/{release.name}"):
        if release.kind == "chart":
            with SiteHelm(run) as helm:
                gone, kept = uninstall_release(
                    lambda: helm.releases,
                    run.cluster,
                    data,
                    release.namespace,
                    release.name,
                    delete_data=delete_data,
                    wait=WAIT,
                )
            done.removed += [f"release {release.name}"] if gone else []
            done.kept += [f"{key.title}: {why}" for key, why in kept]
        latest = run.site_state.latest()
        others = {
            text for each in (latest.releases if latest else ()) if each.name != release.name for text in each.objects
        }
        keys = [parse_key(text) for text in release.objects if text not in others]
        for key in sorted(keys, key=lambda each: (-apply_order(each.kind), each)):
            if key.kind != NAMESPACE:
                _remove(run, key, data, done, delete_data=delete_data)
        run.site_state.drop(release.name)
        Tracks(run.site_state, release.name).forget()
    return done


def _remove(run: SiteRun, key: ObjectKey, data: KeptData, done: Removed, *, delete_data: bool) -> None:
    live = run.cluster.get(key)
    if live is None or not is_ours(live):
        return
    why = "" if delete_data else data.why(key, live)
    if why:
        done.kept.append(f"{key.title}: {why}")
    elif run.cluster.delete(key, wait=WAIT):
        done.removed.append(key.title)
