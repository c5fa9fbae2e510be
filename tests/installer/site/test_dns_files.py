"""installer.site.dns_files: files for the site's own DNS server follow its zones."""

from __future__ import annotations

from pathlib import Path

from airbundle.deploy.zone import Zone
from airbundle.installer.site.dns_files import DIRECTORY, dns_files, file_changes, stale_files, write_dns_files
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory

SHOP, OTHER = (Zone(name, {f"www.{name}": ("10.1.2.3",)}) for name in ("shop.internal", "other.internal"))


def make(tmp_path: Path) -> SiteState:
    (tmp_path / "state").mkdir()
    return SiteState(StateDirectory(tmp_path / "state"), "berlin")


def put(site: SiteState, *zones: Zone) -> list[str]:
    """Write the files for zones; return those that there are then."""
    write_dns_files(site, dns_files(site, zones), stale_files(site, zones))
    return sorted(path.name for path in (site.root / DIRECTORY).iterdir())


def test_a_plan_says_which_files_are_new(tmp_path: Path) -> None:
    site = make(tmp_path)

    def planned(*zones: Zone) -> dict[str, str]:
        return {Path(each.what).name: each.action for each in file_changes(site, zones)}

    assert planned(SHOP) == {"hosts": "create", "shop.internal.zone": "create"}
    put(site, SHOP)
    assert planned(SHOP) == {}
    assert planned(OTHER) == {"hosts": "change", "other.internal.zone": "create", "shop.internal.zone": "delete"}


def test_a_changed_zone_leaves_no_files_of_the_old_one(tmp_path: Path) -> None:
    site = make(tmp_path)
    assert stale_files(site, [SHOP]) == []
    assert put(site, SHOP) == ["hosts", "shop.internal.zone"]
    assert (dns_files(site, [SHOP]), stale_files(site, [SHOP])) == ({}, [])
    (site.root / DIRECTORY / "notes.txt").write_text("somebody's own")
    assert stale_files(site, [OTHER]) == ["shop.internal.zone"]
    assert put(site, OTHER) == ["hosts", "notes.txt", "other.internal.zone"]
    assert put(site) == ["notes.txt"]
