"""The releases that a bundle carries, in the order in which they are deployed."""

from __future__ import annotations

from airbundle.bundle.index import ref_of
from airbundle.bundle.oci import MANIFEST_LIMIT, Descriptor, parse_manifest
from airbundle.bundle.release import find_circle
from airbundle.bundle.release_artifact import DESCRIPTION_LIMIT, DESCRIPTION_TYPE, KIND, CarriedRelease, read_carried
from airbundle.errors import VerificationError
from airbundle.store.reader import BundleFile


def carried_releases(bundle: BundleFile) -> list[CarriedRelease]:
    """Return the releases of a bundle, each after all that it needs; those that wait for nothing come by name.

    Raises:
        VerificationError: a release is not as airbundle writes it, stands twice, needs one that isn't there, or they
            need each other in a circle.
    """
    found = [_read(bundle, root) for root in bundle.roots(KIND)]
    by_name = {carried.release.name: carried for carried in found}
    if len(by_name) != len(found):
        raise VerificationError(f"{bundle.path.name}: a release stands twice")
    needs = {name: carried.release.needs for name, carried in by_name.items()}
    unknown = sorted({need for each in needs.values() for need in each} - by_name.keys())
    circle = find_circle(needs)
    if unknown or circle:
        why = f"a release needs {', '.join(unknown)}, which isn't there" if unknown else f"circle {' → '.join(circle)}"
        raise VerificationError(f"{bundle.path.name}: {why}")
    ordered: dict[str, CarriedRelease] = {}
    while len(ordered) < len(by_name):
        ready = sorted(name for name in by_name.keys() - ordered.keys() if ordered.keys() >= set(needs[name]))
        ordered.update({name: by_name[name] for name in ready})
    return list(ordered.values())


def _read(bundle: BundleFile, root: Descriptor) -> CarriedRelease:
    where = f"{bundle.path.name} {ref_of(root)}"
    manifest = parse_manifest(bundle.read_small(root.digest, MANIFEST_LIMIT), what=where)
    if manifest.config is None or manifest.config.media_type != DESCRIPTION_TYPE:
        found = manifest.config.media_type if manifest.config else "no config"
        raise VerificationError(f"{where}: found {found!r}, expected {DESCRIPTION_TYPE} as its config")
    raw = bundle.read_small(manifest.config.digest, DESCRIPTION_LIMIT)
    return read_carried(raw, manifest.layers, where=where)
