"""Pruning against real registries, and killed at each of its steps."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import ServerConfig, fingerprint, parse_config
from airbundle.errors import CheckFailed, DocumentError, Unreachable
from airbundle.installer import files as files_module
from airbundle.installer import served as served_module
from airbundle.installer.embedded import CONFIG, served_bundles
from airbundle.installer.files import write_file
from airbundle.installer.journal import Journal
from airbundle.installer.load import load
from airbundle.installer.placed import Recorder
from airbundle.installer.prune import Pruning, plan_prune, prune
from airbundle.installer.prune_registry import NOT_OURS, SINGLE
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.steps import plan_of
from airbundle.installer.target import Target, parse_target
from airbundle.progress import SILENT
from airbundle.store.reader import open_bundle
from airbundle.transfer.repository import Repository
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.bundles import SERIAL
from tests.support.images import Artifact, index, referrer, tiny_image
from tests.support.process import program
from tests.support.registries import Registry, run_registry
from tests.support.registry3 import MISSING, registry3
from tests.support.storage import Storage

STAYS = tiny_image("stays")
SHARED = tiny_image("shared")
MULTI = [index([SHARED, tiny_image(f"multi{number}", platform="linux/arm64")]) for number in range(4)]
REDIS = [tiny_image(f"redis{number}") for number in range(4)]
SBOM = referrer(REDIS[0].descriptor)


def images_of(number: int) -> dict[str, Artifact]:
    """Return the images of version 1.`number`: one of its own, one that moves its tag, one that is always there."""
    return {
        f"docker.io/library/redis:7.{number}": REDIS[number],
        "docker.io/library/multi:1": MULTI[number],
        "docker.io/library/stays:1": STAYS,
    }


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, release_key: Key) -> list[Path]:
    """Versions 1.0.0 to 1.3.0."""
    directory = tmp_path_factory.mktemp("bundles")
    return [
        sign_and_write(
            directory / f"test-1.{number}.0.airbundle",
            content(
                images_of(number),
                referrers={"docker.io/library/redis:7.0": [SBOM]} if number == 0 else {},
                signer=release_key.signer,
                version=f"1.{number}.0",
                serial=SERIAL + number,
            ),
            release_key,
        )
        for number in range(4)
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, release_key: Key) -> list[Path]:
    """Two versions of little."""
    directory = tmp_path_factory.mktemp("small")
    made = [
        content({"docker.io/library/redis:7.0": REDIS[0]}, referrers={"docker.io/library/redis:7.0": [SBOM]}),
        content({"docker.io/library/redis:7.1": REDIS[1]}, version="1.1.0", serial=SERIAL + 1),
    ]
    return [sign_and_write(directory / f"{number}.airbundle", each, release_key) for number, each in enumerate(made)]


@dataclass
class Site:
    """A site whose registry is another one; nothing of it runs."""

    state: StateDirectory
    target: Target

    def install(self, path: Path, *, journal: bool = True) -> None:
        """Do what an install does with registry, copy and state."""
        writer = Journal(self.state.journal)
        with self.state.locked("test"), open_bundle([path]) as bundle, self.target.client() as client:
            statement = sha256(bundle.statement_raw)
            title = f"{bundle.statement.name} {bundle.statement.version}"
            writer.note("install", info={"statement": statement, "bundle": title})
            writer.note("load", "begin", info={"registry": self.target.url, "prefix": self.target.prefix})
            recorder = Recorder(writer, self.target.url) if journal else None
            plan = plan_of(bundle, self.target.prefix)
            load(bundle, plan, client, self.target.host, reporter=SILENT, recorder=recorder)
            copy = self.state.directory("bundles") / path.name
            copy.write_bytes(path.read_bytes())
            made = InstalledBundle(
                name=bundle.statement.name,
                version=bundle.statement.version,
                serial=bundle.statement.serial,
                statement=statement,
                file=copy.name,
                verified=fingerprint(copy.stat()),
            )
            self._write(self._installed().with_bundle(made))
            writer.note("install", "done")

    def _installed(self) -> Installed:
        url = self.target.url
        return replace(self.state.read(), mode="url", registry=url, registry_here=url, prefix=self.target.prefix)

    def _write(self, installed: Installed) -> None:
        config = ServerConfig(tuple(served_bundles(self.state, installed)))
        write_file(self.state.directory("server") / CONFIG, config.to_bytes())
        self.state.write(installed)

    def load(self, path: Path) -> None:
        """Do what `airbundle load` does."""
        writer = Journal(self.state.journal)
        with open_bundle([path]) as bundle, self.target.client() as client:
            statement = bundle.statement
            info = {"statement": sha256(bundle.statement_raw), "bundle": f"{statement.name} {statement.version}"}
            writer.note("load", info=info)
            with writer.step("load", registry=self.target.url):
                plan = plan_of(bundle, self.target.prefix)
                recorder = Recorder(writer, self.target.url)
                load(bundle, plan, client, self.target.host, reporter=SILENT, recorder=recorder)

    def prune(self, keep: int = 2) -> Pruning:
        """Prune."""
        return prune(self.state, keep, SILENT)

    def name(self, repository: str) -> str:
        """Return the name of a repository at the registry."""
        return "/".join(part for part in (self.target.prefix, "docker.io/library", repository) if part)

    def has(self, repository: str, ref: str) -> str | None:
        """Return the digest that a tag or digest has at the registry."""
        with self.target.client() as client:
            return client.repository(f"{self.target.host}/{self.name(repository)}").has_manifest(ref)

    def put(self, registry: Registry, repository: str, artifact: Artifact, *tags: str) -> None:
        """Let somebody else put something there."""
        artifact.put(Storage(registry.storage), self.name(repository), *tags)

    def facts(self, registry: Registry) -> dict[str, Any]:
        """Return what a prune changes: the registry's manifests and tags, state, configuration and files."""
        base = registry.storage / "docker/registry/v2/repositories" / self.target.prefix
        raw = self.state.path("server", CONFIG).read_bytes()
        return {
            "registry": sorted(str(Path(top).relative_to(base)) for top, _, names in os.walk(base) if "link" in names),
            "state": [bundle.version for bundle in self.state.read().bundles],
            "served": [each.volumes[0].name for each in parse_config(raw, where="x").bundles],
            "files": sorted(path.name for path in self.state.bundles.iterdir()),
        }


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Registry, str], Site]:
    def made(registry: Registry, prefix: str = "") -> Site:
        target = parse_target(registry.url, prefix=prefix, ca_file=registry.ca_file)
        return Site(StateDirectory(tmp_path / f"state{prefix}"), target)

    return made


Make = Callable[..., Site]


@pytest.fixture(params=[2, 3])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """registry:2 and 3, that let delete."""
    binary = registry3() if request.param == 3 else None
    if request.param == 3 and binary is None:
        pytest.skip(MISSING)
    with run_registry(tmp_path / "registry", binary=binary) as running:
        yield running


def test_what_only_dropped_bundles_had_goes_and_all_else_stays(
    bundles: list[Path], registry: Registry, make: Make
) -> None:
    site = make(registry)
    theirs = tiny_image("theirs")
    site.put(registry, "redis", theirs, "before")
    site.put(registry, "stays", STAYS, "1")
    for path in bundles[:3]:
        site.install(path)
    before = site.facts(registry)
    plan = plan_prune(site.state, 2, SILENT)
    assert site.facts(registry) == before
    assert [version.kept for version in plan.versions] == [True, True, False]
    done = site.prune()
    assert done.registry is not None and plan.registry is not None
    assert (done.registry.tags, done.registry.manifests) == (plan.registry.tags, plan.registry.manifests)
    assert done.registry.deleted == len(plan.registry.manifests) and not done.warnings
    assert done.freed >= bundles[0].stat().st_size and done.files == (bundles[0].name,)
    facts = site.facts(registry)
    assert (facts["state"], facts["files"]) == (["1.2.0", "1.1.0"], [bundles[1].name, bundles[2].name])
    assert facts["served"] == [bundles[2].name, bundles[1].name]
    hexed = REDIS[0].digest[7:]
    for ref in ("7.0", REDIS[0].digest, SBOM.digest, f"sha256-{hexed}", f"sha256-{hexed}.sig"):
        assert site.has("redis", ref) is None
    assert site.has("multi", MULTI[0].digest) is None
    assert site.has("multi", MULTI[0].children[1].digest) is None
    # What the next version has, too, and what others put there.
    assert site.has("multi", SHARED.digest) and site.has("multi", "1") == MULTI[2].digest
    assert site.has("redis", "before") == theirs.digest
    assert site.has("redis", "7.1") == REDIS[1].digest and site.has("redis", f"sha256-{REDIS[1].digest[7:]}.sig")
    assert site.has("stays", "1") == STAYS.digest
    # Loading what stays finds all of it there.
    for path in bundles[1:3]:
        with open_bundle([path]) as bundle, site.target.client() as client:
            result = load(bundle, plan_of(bundle, ""), client, site.target.host, reporter=SILENT)
        assert result.sent == result.manifests == 0
    again = site.prune()
    assert not again.changes and not again.changed
    # It may come back.
    site.install(bundles[0])
    assert site.has("redis", "7.0") == REDIS[0].digest
    assert [version.kept for version in plan_prune(site.state, 2, SILENT).versions] == [True, True, True]


def test_a_version_that_failed_at_its_site_goes_before_those_that_were_up(
    bundles: list[Path], tmp_path: Path, make: Make
) -> None:
    with run_registry(tmp_path / "registry") as registry:
        site = make(registry)
        for path in bundles[:3]:
            site.install(path)
        site.install(bundles[1])  # its names are those of 1.1.0 again
        newest = {each.version: each for each in site.state.read().bundles}
        berlin = SiteState(site.state, "berlin")
        for number, version in enumerate(("1.0.0", "1.1.0", "1.2.0", "1.1.0"), 1):
            each = newest[version]
            berlin.write(Deployment(number, each.name, version, each.serial, each.statement, "", version != "1.2.0"))
        done = site.prune(keep=2)
        assert [(each.bundle.version, each.kept, each.failed) for each in done.versions] == [
            ("1.1.0", True, False),
            ("1.2.0", False, True),
            ("1.0.0", True, False),
        ]
        assert site.facts(registry)["files"] == [bundles[0].name, bundles[1].name]
        # What a site needs is not known where its records are broken.
        (berlin.root / "deployments" / "0002.json").write_text("{")
        with pytest.raises(DocumentError) as caught:
            site.prune(keep=1)
        assert caught.value.outcome == "unchanged"


@pytest.mark.parametrize("version", [2, 3])
def test_garbage_collection_frees_what_only_dropped_bundles_had(
    version: int, bundles: list[Path], tmp_path: Path, make: Make
) -> None:
    binary = registry3() if version == 3 else Path(program("docker-registry", "docker-registry"))
    if binary is None:
        pytest.skip(MISSING)
    with run_registry(tmp_path / "registry", binary=binary) as registry:
        site = make(registry)
        for path in bundles[:3]:
            site.install(path)
        site.prune()
        # As docs/install.md has it.
        config = str(tmp_path / "registry/registry.yml")
        subprocess.run([str(binary), "garbage-collect", config], check=True, capture_output=True)
        storage = Storage(registry.storage)
        assert not storage.blob_path(REDIS[0].digest).exists()
        assert not any(storage.blob_path(blob.descriptor.digest).exists() for blob in REDIS[0].blobs[1:])
        for path in bundles[1:3]:
            with open_bundle([path]) as bundle, site.target.client() as client:
                plan = plan_of(bundle, "")
                result = load(bundle, plan, client, site.target.host, reporter=SILENT)
                assert all(storage.blob_path(task.blob.digest).exists() for task in plan.blobs)
            assert result.sent == result.manifests == 0


def test_a_tag_of_others_keeps_what_it_leads_to(bundles: list[Path], registry: Registry, make: Make) -> None:
    site = make(registry)
    for path in bundles[:2]:
        site.install(path)
    site.put(registry, "redis", REDIS[0], "prod")
    site.put(registry, "multi", MULTI[0], "prod")
    done = site.prune(keep=1)
    assert site.has("redis", "prod") == REDIS[0].digest
    assert site.has("redis", f"sha256-{REDIS[0].digest[7:]}.sig")
    assert site.has("multi", MULTI[0].children[1].digest) == MULTI[0].children[1].digest
    assert done.registry is not None
    # registry:2 can't delete a tag and leave its manifest.
    single = done.registry.stays.get(SINGLE, [])
    assert (site.has("redis", "7.0") is None) != (f"{site.name('redis')}:7.0" in single)


def test_what_was_there_before_stays(bundles: list[Path], registry: Registry, make: Make) -> None:
    site = make(registry)
    site.put(registry, "redis", REDIS[0], "7.0")
    site.put(registry, "multi", MULTI[3], "1")
    for path in bundles[:2]:
        site.install(path)
    done = site.prune(keep=1)
    assert site.has("redis", "7.0") == REDIS[0].digest
    assert site.has("multi", MULTI[3].digest) == MULTI[3].digest
    assert done.registry is not None and f"{site.name('redis')}:7.0" in done.registry.stays[NOT_OURS]


def test_without_a_word_in_the_journal_nothing_is_removed(bundles: list[Path], registry: Registry, make: Make) -> None:
    """As with what an older airbundle has loaded."""
    site = make(registry)
    for path in bundles[:2]:
        site.install(path, journal=False)
    before = site.facts(registry)["registry"]
    done = site.prune(keep=1)
    assert done.registry is not None and done.registry.deleted == 0
    assert f"{site.name('redis')}:7.0" in done.registry.stays[NOT_OURS]
    assert site.facts(registry)["registry"] == before
    assert site.facts(registry)["files"] == [bundles[1].name]


def test_what_a_loaded_bundle_may_need_stays(bundles: list[Path], registry: Registry, make: Make) -> None:
    site = make(registry)
    site.install(bundles[0])
    site.install(bundles[1])
    site.load(bundles[3])
    done = site.prune(keep=1)
    assert done.registry is not None and done.registry.unknown == ("test 1.3.0",)
    assert site.has("redis", "7.0") and site.has("multi", "1") == MULTI[3].digest
    site.install(bundles[3])
    done = site.prune(keep=1)
    assert done.registry is not None and done.registry.unknown == ()
    assert site.has("redis", "7.0") is None and site.has("redis", "7.1") is None
    assert site.has("redis", "7.3") == REDIS[3].digest and site.has("multi", "1") == MULTI[3].digest


@pytest.mark.parametrize("version", [2, 3])
def test_a_registry_that_allows_no_deleting(version: int, bundles: list[Path], tmp_path: Path, make: Make) -> None:
    binary = registry3() if version == 3 else None
    if version == 3 and binary is None:
        pytest.skip(MISSING)
    with run_registry(tmp_path / "registry", binary=binary, delete=False) as registry:
        site = make(registry)
        for path in bundles[:3]:
            site.install(path)
        done = site.prune()
        assert done.registry is not None and done.registry.refused and done.registry.deleted == 0
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in done.warnings[0]
        assert site.facts(registry)["files"] == [bundles[1].name, bundles[2].name]
        assert site.has("redis", "7.0") == REDIS[0].digest
    with run_registry(tmp_path / "allowing", binary=binary, storage=registry.storage) as allowing:
        for path in (site.state.journal, site.state.path("state.json")):
            path.write_text(path.read_text().replace(registry.url, allowing.url))
        site.target = parse_target(allowing.url)
        done = site.prune()
        assert done.changed and not done.warnings
        assert site.has("redis", "7.0") is None and site.has("redis", "7.1") == REDIS[1].digest


def test_a_registry_that_is_gone_leaves_all_as_it_was(bundles: list[Path], tmp_path: Path, make: Make) -> None:
    with run_registry(tmp_path / "registry") as registry:
        site = make(registry)
        for path in bundles[:2]:
            site.install(path)
        before = site.facts(registry)
    with pytest.raises(Unreachable) as raised, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRBUNDLE_RETRY_SECONDS", "0")
        site.prune(keep=1)
    assert (raised.value.exit_code, raised.value.outcome) == (6, "unchanged")
    assert site.facts(registry) == before


def test_what_was_loaded_with_another_prefix_stays_with_its_bundle(
    bundles: list[Path], plain_registry: Registry, make: Make
) -> None:
    site = make(plain_registry, "one")
    site.install(bundles[0])
    site.install(bundles[1])
    site.target = replace(site.target, prefix="other")
    site.install(bundles[2])
    site.prune(keep=2)
    assert site.has("redis", "7.2") == REDIS[2].digest
    site.target = replace(site.target, prefix="one")
    assert site.has("redis", "7.1") == REDIS[1].digest and site.has("redis", "7.0") is None


def test_a_registry_that_fails_half_way(
    bundles: list[Path], plain_registry: Registry, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = installed(make, plain_registry, "half", bundles[:2])
    real, left = Repository.delete_manifest, [3]

    def failing(repository: Repository, reference: str) -> bool:
        left[0] -= 1
        if left[0] < 0:
            raise Unreachable("the line is cut", side="site")
        return real(repository, reference)

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "delete_manifest", failing)
        with pytest.raises(Unreachable) as raised:
            site.prune(keep=1)
    assert (raised.value.exit_code, raised.value.outcome) == (6, "partial")
    assert site.facts(plain_registry)["state"] == ["1.1.0", "1.0.0"]
    done = site.prune(keep=1)
    assert done.changed and site.has("redis", "7.0") is None
    assert site.facts(plain_registry)["files"] == [bundles[1].name]
    assert done.registry is not None and NOT_OURS not in done.registry.stays


def test_a_copy_that_stays_must_be_there(bundles: list[Path], plain_registry: Registry, make: Make) -> None:
    site = make(plain_registry, "damaged")
    for path in bundles[:2]:
        site.install(path)
    before = site.facts(plain_registry)
    copy = site.state.bundles / bundles[1].name
    whole = copy.read_bytes()
    copy.write_bytes(whole[:4096])
    with pytest.raises(CheckFailed, match="not all there"):
        site.prune(keep=1)
    assert site.facts(plain_registry) == before
    copy.write_bytes(whole)
    # One that goes may be as it likes.
    (site.state.bundles / bundles[0].name).unlink()
    assert site.prune(keep=1).changed
    assert site.facts(plain_registry)["state"] == ["1.1.0"]


class Effects:
    """Counts what changes anything, and has the process killed before the one of a given number."""

    def __init__(self, fatal: int) -> None:
        self._left = fatal

    def count(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Count each call of a function."""
        real = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.count()
            return real(*args, **options)

        setattr(owner, name, counted)


def killed(site: Site, fatal: int) -> bool:
    """Prune in a process that is killed before its effect number `fatal`; tell whether it came to that."""
    child = os.fork()
    if not child:
        try:
            effects = Effects(fatal)
            effects.around(Journal, "note")
            effects.around(Repository, "delete_manifest")
            effects.around(served_module, "write_file")
            effects.around(StateDirectory, "write")
            effects.around(Path, "replace")
            effects.around(Path, "unlink")
            effects.around(files_module, "sync_directory")
            site.prune(keep=1)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def installed(make: Make, registry: Registry, prefix: str, bundles: list[Path]) -> Site:
    """Return a site with bundles."""
    site = make(registry, prefix)
    for path in bundles:
        site.install(path)
    return site


def test_killed_at_any_moment_the_same_again_ends_the_same(
    small: list[Path], plain_registry: Registry, make: Make
) -> None:
    whole = installed(make, plain_registry, "whole", small)
    whole.prune(keep=1)
    expected, count = whole.facts(plain_registry), 0
    while killed(site := installed(make, plain_registry, f"killed{count}", small), count):
        site.prune(keep=1)
        assert site.facts(plain_registry) == expected, count
        assert not site.prune(keep=1).changes
        count += 1
    assert site.facts(plain_registry) == expected
    assert count > 12


def test_killed_again_and_again_it_comes_to_its_end(bundles: list[Path], plain_registry: Registry, make: Make) -> None:
    whole = installed(make, plain_registry, "straight", bundles[:3])
    whole.prune(keep=1)
    site, count = installed(make, plain_registry, "again", bundles[:3]), 0
    while killed(site, count):
        count += 1
    assert site.facts(plain_registry) == whole.facts(plain_registry)
    assert count > 8
