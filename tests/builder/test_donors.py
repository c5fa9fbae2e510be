"""Earlier bundles that give: the installer is believed only when our own key has signed it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.builder.donors import Donors
from airbundle.builder.installer_parts import own_part
from airbundle.builder.installer_zip import kept_zip
from airbundle.bundle.lock import InstallerPart, Lock
from airbundle.crypto.keys import Signer, generate_key, load_signer
from airbundle.errors import MissingContent
from airbundle.store.cache import Cache
from airbundle.store.plan import plan_bundle
from airbundle.store.verified import VerifiedRecords
from tests.builder.test_reuse import flip
from tests.support.bundles import Made, lock_of, locked, make, write_bundle
from tests.support.images import tiny_image

ZIP = b"PK the zip" * 1000
WHEEL = InstallerPart("none_such-1.0-py3-none-any.whl", "sha256:" + "ab" * 32, 100)


def new_signer(path: Path) -> Signer:
    path.write_bytes(generate_key(b"secret")[0])
    path.chmod(0o600)
    return load_signer(str(path), lambda: b"secret")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("key") / "release.key")


@pytest.fixture
def lock() -> Lock:
    image = tiny_image("redis")
    made = lock_of([locked("docker.io/library/redis:7.2", image)])
    return replace(made, installer=(own_part(), WHEEL), installer_version="1.0")


@pytest.fixture
def donors(tmp_path: Path, lock: Lock, signer: Signer) -> Iterator[Donors]:
    """One bundle with that lock, signed by that key."""
    made = content(lock)
    statement = plan_bundle(made.content, installer=ZIP).statement
    signatures = [(signer.public_key.key_id, signer.sign(statement))]
    write_bundle(tmp_path / "x.airbundle", made, installer=ZIP, signatures=signatures)
    with Donors(VerifiedRecords(tmp_path / "records")) as found:
        found.add_path(tmp_path / "x.airbundle")
        yield found


def content(lock: Lock) -> Made:
    return make([tiny_image("redis")], lock.roots, lock=lock)


def test_what_our_key_has_signed_is_taken(donors: Donors, lock: Lock, signer: Signer) -> None:
    assert donors.installer(lock, signer.public_key) == ZIP


def test_another_key_or_lock_gives_nothing(tmp_path: Path, donors: Donors, lock: Lock, signer: Signer) -> None:
    assert donors.installer(lock, new_signer(tmp_path / "other.key").public_key) is None
    assert donors.installer(replace(lock, installer=(own_part(),)), signer.public_key) is None
    assert donors.installer(replace(lock, installer_version="1.1"), signer.public_key) is None


def test_a_damaged_one_gives_nothing(tmp_path: Path, donors: Donors, lock: Lock, signer: Signer) -> None:
    flip(tmp_path / "x.airbundle", os.path.getsize(tmp_path / "x.airbundle") - 10)
    assert donors.installer(lock, signer.public_key) is None


def test_a_zip_that_was_given_is_kept(tmp_path: Path, lock: Lock) -> None:
    cache = Cache(tmp_path / "cache")
    assert kept_zip(lock.installer, cache, lambda: ZIP) == ZIP
    assert kept_zip(lock.installer, cache) == ZIP  # and nothing is asked for
    kept = next(cache.root.glob("installer-*.zip"))
    flip(kept, 5)
    with pytest.raises(MissingContent, match="none_such"):  # what was changed is not believed
        kept_zip(lock.installer, cache)


def test_an_installer_of_another_airbundle_is_refused(tmp_path: Path) -> None:
    part = replace(own_part(), digest="sha256:" + "cd" * 32)
    with pytest.raises(MissingContent, match="another airbundle"):
        kept_zip([part], Cache(tmp_path / "cache"), lambda: ZIP)


def test_what_is_no_kept_zip_is_not_read(tmp_path: Path) -> None:
    """Nor waited for: a pipe that nobody writes to, a file that has no end."""
    part = own_part()
    cache = Cache(tmp_path / "cache")
    assert kept_zip([part, WHEEL], cache, lambda: ZIP) == ZIP
    path = next(cache.root.glob("installer-*.zip"))
    path.unlink()
    os.mkfifo(path)
    assert kept_zip([part, WHEEL], cache, lambda: ZIP) == ZIP
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert kept_zip([part, WHEEL], cache, lambda: ZIP) == ZIP
